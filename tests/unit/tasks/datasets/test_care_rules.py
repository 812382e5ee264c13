"""The house rules of care_protocol: what keeps each of them, what breaks it, and texts that try to cheat."""

from __future__ import annotations

import pytest

from tasks.datasets.care_rules import (
    LEVELS,
    MOST_WORDS,
    RULES,
    check,
    closing_question,
    count_words,
    items_of,
    level_of,
    second_person,
    share,
    urgency_named,
    watch_list,
    within_length,
)

pytestmark = pytest.mark.core

GOOD = """Urgency: this week
Frequent painkillers can themselves bring your headaches back. You should book a visit.
What to watch for:
- a stiff neck
- blurred or double vision
How long have you had this pain?"""


def broken(text: str) -> set[str]:
    return {name for name, kept in check(text).items() if not kept}


def test_the_model_answer_keeps_every_rule() -> None:
    assert broken(GOOD) == set()
    assert level_of(GOOD) == "this week"
    assert items_of(GOOD) == ["a stiff neck", "blurred or double vision"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("urgency_named", GOOD.replace("this week", "soon")),
        ("watch_list", GOOD.replace("- blurred or double vision\n", "")),
        ("no_dose", GOOD.replace("You should book", "Take 400 mg of ibuprofen. You should book")),
        ("within_length", GOOD.replace("You should", "You should " + "really " * MOST_WORDS)),
        ("second_person", GOOD.replace("You should book", "The patient should book")),
        ("closing_question", GOOD.replace("?", ".")),
    ],
)
def test_each_rule_can_be_broken_alone(name: str, text: str) -> None:
    assert broken(text) == {name}


@pytest.mark.parametrize("text", ["", " \n\t", "?!", "- \n-", "____", "\u200b", "🙂"])
def test_silence_keeps_no_rule(text: str) -> None:
    assert broken(text) == set(RULES)


@pytest.mark.parametrize("level", LEVELS)
def test_levels_are_read_whatever_their_case(level: str) -> None:
    assert level_of(f"Urgency: {level}\nRest.") == level
    assert level_of(f"\n  URGENCY:  {level.upper()}. \nRest.") == level
    assert level_of(f"Urgency\uff1a {level}") == level, "a full-width colon"
    assert level_of(f"**Urgency:** {level}\nRest.") == level_of(f"# Urgency: {level}\nRest.") == level, "Markdown"


@pytest.mark.parametrize("hyphen", ["\u2010", "\u2011", "\u2013", "\u2212", "-\u200b"])
def test_a_level_may_have_any_hyphen_and_any_blank(hyphen: str) -> None:
    assert level_of(f"Urgency: self{hyphen}care") == "self-care"
    assert level_of("\ufeffUrgency:\u00a0this\u202fweek") == "this week"


@pytest.mark.parametrize(
    "text",
    [
        "Urgency: today or this week",
        "Urgency: today, I think",
        "Urgency today",
        "This is urgent.\nUrgency: today",
        "Urgency: today\nUrgency: emergency",
        "Urgency: today\nRest.\nurgency : this week",
        "Urgency: emergency today this week self-care",
        "Urgency: todayish",
        "- Urgency: today",
        "Urgency: today\n- Urgency: emergency",
        "Urgency: today\n1. Urgency: emergency",
        "Urgency: today\n**Urgency: emergency**",
        "Urgency: today\n## Urgency: emergency",
        "Urgency: today\n> Urgency: emergency",
        "Urgency: today\n● **Urgency:** this week",
        "Urgency: today\nRest.\nThe urgency: emergency.",
        "Urgency: today\nRest. Urgency level: emergency",
        "Urgency: today\nThe urgency is emergency.",
        "Urgency: today\nUrgency = [emergency]",
        "Urgency: today\nUrgency: self\u2011care",
        "Urgency: today\nUrgency: high",
    ],
)
def test_hedged_late_and_double_levels_name_none(text: str) -> None:
    assert not urgency_named(text)


@pytest.mark.parametrize(
    "text",
    [
        "This is no emergency.",
        "Call the emergency number today.",
        "Note any urgency to pass urine.",
        "There is no urgency.",
    ],
)
def test_a_later_line_may_use_the_words_of_levels(text: str) -> None:
    assert level_of(f"Urgency: today\n{text}") == "today"


@pytest.mark.parametrize("mark", ["-", "*", "•", "1.", "2)", "●", "–", "·", "→", "(1)", "a)", "✅"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_two_to_four_items_with_any_mark(mark: str, count: int) -> None:
    text = "What to watch for:\n" + "\n".join(f"{mark} sign {n}" for n in range(count))
    assert watch_list(text) is (2 <= count <= 4)


@pytest.mark.parametrize("mark", ["-", "•", "●", "–", "·", "→", "3.", "(3)", "c.", "✅", "➤"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_there_is_no_other_list_with_any_mark(mark: str, place: str) -> None:
    own, other = "What to watch for:\n- fever\n- rash", f"Steps:\n{mark} rest\n{mark} drink"
    assert not watch_list("\n".join([other, own] if place == "before" else [own, other]))
    assert not watch_list(f"{own}\n{mark} rest\n{mark} drink\n{mark} sleep"), "five items in two kinds of marks"


@pytest.mark.parametrize(
    "heading", ["**What to watch for:**", "## What to watch for", "__What to watch for__:", "WHAT to  watch for :"]
)
def test_a_heading_may_be_dressed(heading: str) -> None:
    assert watch_list(f"{heading}\n- **fever**\n- rash")


def test_a_lone_picture_or_initial_is_no_list() -> None:
    assert watch_list("⚠️ You should rest.\nWhat to watch for:\n- fever\n- rash\nE. coli can cause it.")


@pytest.mark.parametrize(
    "text",
    [
        "What to watch for: fever and a rash",
        "Watch for:\n- fever\n- rash",
        "- fever\n- rash",
        "What to watch for:\nfever\nrash",
        "What to watch for:\n- fever\n- Fever!",
        "What to watch for:\n- fever\n- ...",
        "What to watch for:\n- fever\n- rash\nAlso:\n- cough",
        "What to watch for:\n- fever\n- rash\nWhat to watch for:\n- fever\n- rash",
        "What to watch for:\n- fever\n- " + "very " * 12 + "red skin",
        "What to watch for:\n-fever\n-rash",
    ],
)
def test_lists_that_are_none(text: str) -> None:
    assert not watch_list(text)


@pytest.mark.parametrize(
    "advice",
    [
        "Take 400 mg now.",
        "Take **400** mg now.",
        "Take 2x200 mg of ibuprofen.",
        "Take sixty mg.",
        "Take two (2) tablets.",
    ],
)
def test_doses_are_seen(advice: str) -> None:
    """More spellings: `test_doses`."""
    assert broken(GOOD.replace("You should", f"{advice} You should")) == {"no_dose"}


@pytest.mark.parametrize(
    "advice",
    ["Take no tablets.", "A sugar above 300 mg/dL is high.", "Drink at most 2 units of alcohol.", "Rest for two days."],
)
def test_other_numbers_are_no_doses(advice: str) -> None:
    assert broken(GOOD.replace("You should", f"{advice} You should")) == set()


def test_marks_are_no_words_and_ninety_is_the_most() -> None:
    assert count_words("- a stiff neck\n- fever ...") == 4
    assert within_length("word " * MOST_WORDS)
    assert not within_length("word " * (MOST_WORDS + 1))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("You should rest.\nWhat to watch for:\n- fever", True),
        ("Rest your arm.\nHow are things?", True),
        ("One should rest.\nWhat to watch for:\n- fever\nHow are you?", False),
        ("You should rest, I think.\nGood luck.", False),
        ("You should rest, in my view.\nGood luck.", False),
        ("Your patient should rest.\nGood luck.", False),
        ("The patients rest, and so should you.\nGood luck.", False),
        ("Call us if you are worried.\nGood luck.", True),
        ("You need iodine in mice.\nGood luck.", True),
        ("You should rest, i.e. lie down.\nGood luck.", True),
        ("You should rest, i. e. lie down.\nGood luck.", True),
        ("You should (i) rest and (ii) drink.\nGood luck.", True),
        ("You should rest:\ni. here\nii. now\nGood luck.", True),
        ("You should rest, *I* think.\nGood luck.", False),
        ("You should rest. _I_ did.\nGood luck.", False),
        ("You should rest, i think.\nGood luck.", False),
        ("How are you?", False),
    ],
)
def test_the_reader_is_addressed(text: str, kept: bool) -> None:
    assert second_person(text) is kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Rest.\nHow long have you had it?", True),
        ("Rest.\nHow long have you had it?\n\n", True),
        ("Rest.\nHow long has it been there?", False),
        ("Rest.\nAre you?", False),
        ("How long have you had it?\nRest.", False),
        ("Rest.\n- how long have you had it?", False),
        ("Rest.\n● how long have you had it?", False),
        ("Rest.\n**How long have you had it?**", True),
        ("Rest.\nHow long have you had it？", True),
        ("Rest.\nHow long have you had it?\n---", True),
        ("Rest.\n🙂 How long have you had it?", True),
        ("Rest.\nHow long? Since when have you had it?", False),
        ("Rest.\nHow long have you had it", False),
    ],
)
def test_the_last_line_asks(text: str, kept: bool) -> None:
    assert closing_question(text) is kept


def test_share() -> None:
    assert share([True, False, True, True]) == 0.75
