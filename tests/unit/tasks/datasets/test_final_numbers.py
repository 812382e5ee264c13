"""The number that an answer comes to, in every dress that was met."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tasks.datasets.final_numbers import closing_line, final_number, number_in_any_dress

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    "text",
    [
        "So the answer is 1250.",
        "So it costs $1,250.00.",
        "So it costs \\$1250.",
        "So it costs \\$1{,}250.00",
        "It is 1 250 euros.",
        "It is 1\u202f250 euros.",
        "It is $1\\,250$.",
        "The answer is $\\boxed{1250}$.",
        "\\boxed{\\$1,250.00}, which is 5 times as much as before.",
        "\\boxed{\\text{1250 dollars}}",
        "\\boxed{x = 1250}",
        "The answer is $\\frac{2500}{2}$",
        "It is 2500/2.",
        "**Final Answer: 1,250**\nIt took 3 steps.",
        "Final Answer: 250 * 5 = $1250.00",
        "Final Answer: $\\boxed{1250}$",
        "#### 1250",
        "The area is 1250 m^2",
        "The area is $1250 m^{2}$.",
    ],
)
def test_one_number_in_every_dress(text: str) -> None:
    assert number_in_any_dress(text) == 1250


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("No number at all.", None),
        ("Final Answer: none. It was 12.", Fraction(12)),
        ("It fell to -5 degrees.", Fraction(-5)),
        ("It fell to $-5$.", Fraction(-5)),
        ("Choose from 3-5", Fraction(5)),
        ("a half: .5", Fraction(1, 2)),
        ("18 in 2 days", Fraction(2)),
        ("1, 250", Fraction(250)),
        ("10000 500", Fraction(500)),
        ("\\boxed{7} and then \\boxed{8}", Fraction(8)),
        ("\\boxed{seven} of 8", Fraction(8)),
        ("Final Answer: 3\nFinal Answer: 4", Fraction(4)),
    ],
)
def test_what_else_a_text_may_end_with(text: str, value: Fraction | None) -> None:
    assert number_in_any_dress(text) == value


def test_the_pools_reading_stays_strict_about_the_place() -> None:
    assert final_number("It costs $18.00.") is None
    assert final_number("Final Answer: $18.00.") == 18


def test_the_last_closing_line_counts_to_its_end() -> None:
    assert closing_line("Final Answer: x\n**Final Answer:** \\frac{1}{2}\nmore") == "** \\frac{1}{2}"
    assert closing_line("nothing") is None
