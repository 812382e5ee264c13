"""What the tests of results that choose ask, and of what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.contracts import ChooseRequest, Rating, user
from harness.opinions.results import GroupAligned

OPTIONS = ("Acceptable", "Not acceptable")
LISTED = "Question: Is it right?\nOptions: A. Acceptable B. Not acceptable\nAnswer:"
RATING = Rating("q", LISTED, OPTIONS, (0.25, 0.75))


class FakeModel:
    """Only what these results ask of a language model."""

    tokenizer = None
    max_length = 64

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)


def aligned(predictor: Any) -> GroupAligned:
    model: Any = FakeModel()
    return GroupAligned(model, "test", predictor)


def ask(prompt: str = LISTED, options: tuple[str, ...] = OPTIONS, group: str | None = None) -> ChooseRequest:
    return ChooseRequest(user(prompt), tuple("ABCDEF"[: len(options)]), options, group)
