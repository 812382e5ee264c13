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
    no_dose,
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


@pytest.mark.parametrize("text", ["", " \n\t", "?!", "- \n-"])
def test_silence_keeps_no_rule(text: str) -> None:
    assert broken(text) == set(RULES)


@pytest.mark.parametrize("level", LEVELS)
def test_levels_are_read_whatever_their_case(level: str) -> None:
    assert level_of(f"Urgency: {level}\nRest.") == level
    assert level_of(f"\n  URGENCY:  {level.upper()}. \nRest.") == level
    assert level_of(f"Urgency\uff1a {level}") == level, "a full-width colon"


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
        "**Urgency: today**",
    ],
)
def test_hedged_late_and_double_levels_name_none(text: str) -> None:
    assert not urgency_named(text)


@pytest.mark.parametrize("mark", ["-", "*", "•", "1.", "2)"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_two_to_four_items_with_any_mark(mark: str, count: int) -> None:
    text = "What to watch for:\n" + "\n".join(f"{mark} sign {n}" for n in range(count))
    assert watch_list(text) is (2 <= count <= 4)


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
    "text",
    [
        "Take 400 mg now.",
        "Take 400mg now.",
        "Take 1,000 mg now.",
        "Take 10-20 mg now.",
        "Take ４００ ｍｇ now.",
        "Take 0.5 g now.",
        "Take 50 µg now.",
        "Take two tablets now.",
        "Take half a tablet now.",
        "Take one or two pills now.",
        "Take a tablet now.",
        "Take five hundred milligrams now.",
        "Give 5 ml of syrup.",
        "Give one teaspoon.",
        "Use four puffs.",
        "Use ten drops.",
        "Inject 12 units.",
        "Take 10 mg per kg.",
    ],
)
def test_doses_are_seen(text: str) -> None:
    assert not no_dose(text)


@pytest.mark.parametrize(
    "text",
    [
        "Take no tablets before you are seen.",
        "A sugar above 300 mg/dL for two days is high.",
        "A sugar above 300 mg per decilitre is high.",
        "Bring your tablets within two hours.",
        "Two days of rest and 30 minutes of walking help.",
        "Drink half a glass of water every ten minutes.",
        "The next tablet can wait.",
        "Ask before you take ibuprofen.",
    ],
)
def test_other_numbers_are_no_doses(text: str) -> None:
    assert no_dose(text)


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
        ("Rest.\nHow long? Since when have you had it?", False),
        ("Rest.\nHow long have you had it", False),
    ],
)
def test_the_last_line_asks(text: str, kept: bool) -> None:
    assert closing_question(text) is kept


def test_share() -> None:
    assert share([True, False, True, True]) == 0.75
