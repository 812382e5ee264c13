"""Lines without their dress: one form of blanks, dashes and fractions, no Markdown, and which lines are list items."""

from __future__ import annotations

import pytest

from tasks.datasets.lines import PlainLine, lines_of, running_text

pytestmark = pytest.mark.core

MARKS = [
    *("-", "*", "+", "–", "—", "−", "‐", "--", "->", "=>", "»", "›"),
    *(
        "•",
        "●",
        "○",
        "◦",
        "·",
        "∙",
        "⋅",
        "・",
        "･",
        "‣",
        "⁃",
        "▪",
        "▪\ufe0f",
        "■",
        "□",
        "◆",
        "►",
        "▸",
        "→",
        "⇒",
        "\uf0b7",
    ),
    *("1.", "2)", "(3)", "10.", "1️⃣", "①", "⑴", "⒈", "**1.**", "**-**"),
]
DOUBTFUL = ["a.", "b)", "(c)", "A.", "ii)", "(iv)", "✓", "✔️", "✅", "❌", "➤", "❶", "⚠️", "🔴", "👉🏽", "👨\u200d⚕️"]
"""A sentence may begin like this, too."""


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_and_a_blank_make_an_item(mark: str) -> None:
    for blank in (" ", "\t", "\u00a0", "   "):
        assert lines_of(f"  {mark}{blank}a stiff neck ") == [PlainLine("a stiff neck", listed=True)]


@pytest.mark.parametrize("mark", DOUBTFUL)
def test_letters_and_pictures_make_items_of_neighbouring_lines_only(mark: str) -> None:
    text = f"{mark} a stiff neck"
    assert [line.listed for line in lines_of(f"Rest.\n{text}\nRest.")] == [False] * 3
    assert lines_of(f"{text}\n\n{text}") == [PlainLine("a stiff neck", listed=True)] * 2
    assert [line.listed for line in lines_of(f"Rest.\n{text}\n{text}\nRest.\n{text}")] == [
        False,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("text", ["•a stiff neck", "●a stiff neck", "→a stiff neck", "✅a rash\n✅a fever"])
def test_a_bullet_needs_no_blank(text: str) -> None:
    assert all(line.listed for line in lines_of(text))


@pytest.mark.parametrize(
    "text",
    [
        "-fever",
        "-5 degrees",
        "1.5 hours",
        "3rd day",
        "2024. A year.",
        "e.g. rest",
        "i.e. rest",
        "E. coli is a germ.",
        "*Rest* today.",
        "**Rest** today.",
        "_Rest_ today.",
        '"Rest" today.',
        "(Rest) today.",
        "½ hour",
        "≥38 °C is a fever",
        "... and rest",
        "112 is the number",
        "What to watch for: fever",
    ],
)
def test_other_lines_are_no_items(text: str) -> None:
    assert [line.listed for line in lines_of(text)] == [False]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("**Urgency: today**", "Urgency: today"),
        ("**Urgency:** today", "Urgency: today"),
        ("*Urgency*: __today__", "Urgency: today"),
        ("***Urgency: today***", "Urgency: today"),
        ("`Urgency: today`", "Urgency: today"),
        ("## Urgency: today", "Urgency: today"),
        ("> Urgency: today", "Urgency: today"),
        ("> ## **Urgency: today**", "Urgency: today"),
        ("Urgency：today", "Urgency:today"),
        ("\ufeffUrgency:\u00a0this\u2003 week", "Urgency: this week"),
        ("self\u2011care", "self-care"),
        ("self\u2010care", "self-care"),
        ("self\u00adcare", "selfcare"),
        ("10\u2013\u200b20", "10-20"),
        ("½ or 1\u20442", "1/2 or 1/2"),
        ("it’s", "it's"),
        ("2 * 3", "2 * 3"),
    ],
)
def test_dress_is_taken_off(text: str, seen: str) -> None:
    assert lines_of(text) == [PlainLine(seen, listed=False)]


@pytest.mark.parametrize("text", ["", " \n\t", "---\n***\n* * *", "```\n____", "- \n-", "\u200b", "…", "🙂"])
def test_lines_without_a_letter_or_digit_say_nothing(text: str) -> None:
    assert lines_of(text) == []


def test_items_stand_apart_in_the_running_text_and_other_lines_run_on() -> None:
    assert running_text(lines_of("Rest\nwell.\n- fever\n- rash\nHow?")) == "Rest well. ; fever ; rash How?"
