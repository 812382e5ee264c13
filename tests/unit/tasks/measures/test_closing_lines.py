"""Written answers to questions with options: the closing line decides, whatever the argument says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from harness.contracts import Completion, GenerateRequest
from tasks.datasets.closing import LETTERED, Closed, final_letter
from tasks.datasets.pubmedqa import final_decision
from tasks.measures.closing_lines import answers, gold

pytestmark = pytest.mark.core

DRUG = Closed("Which drug is next?", ("aspirin", "ibuprofen", "lithium", "heparin"), 2, LETTERED)
HELPS = Closed("Does it help? yes, no or maybe?", ("yes", "no", "maybe"), 1, "Answer.", lettered=False)


class Writes:
    """Writes what it was told to, in order, and keeps what it was asked."""

    tokenizer, max_length = None, 512

    def __init__(self, *texts: str) -> None:
        self.texts, self.asked = iter(texts), list[GenerateRequest]()

    def save(self, folder: Any) -> None:
        """Nothing is trained."""

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        self.asked += requests
        return [[Completion(next(self.texts), (), "stop")] for _ in requests]


@pytest.mark.parametrize(
    ("written", "right", "closed", "names"),
    [
        ("It calms.\nFinal Answer: C. lithium", 1.0, 1.0, "C"),
        ("Final Answer: C. lithium, or rather\nFinal Answer: A. aspirin", 0.0, 1.0, "A"),
        ("Lithium, clearly C.", 0.0, 0.0, None),
        ("Final Answer: the one that calms", 0.0, 0.0, None),
        ("", 0.0, 0.0, None),
    ],
)
def test_the_last_closing_line_decides(written: str, right: float, closed: float, names: str | None) -> None:
    values, detail = answers(Writes(written), {"q": DRUG}, final_letter, 32)["q"]
    assert values == {"acc_written": right, "closed_written": closed}
    assert detail == {"written": written, "closing": names}


def test_options_without_letters_are_named_in_their_words() -> None:
    found = answers(Writes("Final Answer: No.", "Final Answer: yes"), {"a": HELPS, "b": HELPS}, final_decision, 32)
    assert [values["acc_written"] for values, _ in found.values()] == [1.0, 0.0]
    assert (gold(DRUG), gold(HELPS)) == ("C", "no")


def test_every_question_is_asked_once_greedily_in_the_form_of_the_training() -> None:
    model = Writes(*["Final Answer: C. lithium"] * 70)
    asked = {str(i): Closed(f"Question {i}?", DRUG.options, i % 4, LETTERED) for i in range(70)}
    found = answers(model, asked, final_letter, 48)
    assert [request.context for request in model.asked] == [question.prompt() for question in asked.values()]
    assert {(request.max_new_tokens, request.temperature, request.n) for request in model.asked} == {(48, 0.0, 1)}
    assert [values["acc_written"] for values, _ in found.values()] == [float(i % 4 == 2) for i in range(70)]
