"""Multiple choice, written out: the model answers greedily in the study's own chat form, and its closing line is read.

The shares of `tasks.measures.rotations` ask what a model holds likely. Here it must say so: an answer that never comes
to a closing line is wrong, whatever the model would have preferred.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.contracts import GenerateRequest, Generates
from tasks.datasets.closing import LETTERS, Closed

METRICS: Mapping[str, str] = {
    "acc_written": "share of questions whose written answer closes with the gold option; only with --generate",
    "closed_written": "share of written answers that close with some option; only with --generate",
}

BATCH = 64
"""Questions that are asked in one call; engines make batches of their own from them."""

Found = tuple[dict[str, float], dict[str, Any]]
"""Metrics of a question, and what its row tells in detail."""


def answers(
    aligned: Generates,
    asked: Mapping[str, Closed],
    named: Callable[[str], str | None],
    new_tokens: int,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> dict[str, Found]:
    """Each question's written answer with its metrics, by id. Options keep the order and the letters of the data.

    `named` finds which option a closing line names; a greedy answer has at most `new_tokens` tokens.
    """
    identities, found = list(asked), dict[str, Found]()
    for start in range(0, len(identities), BATCH):
        some = identities[start : start + BATCH]
        progress("write answers", start, len(identities))
        wanted = [GenerateRequest(asked[one].prompt(), max_new_tokens=new_tokens) for one in some]
        for identity, (written,) in zip(some, aligned.generate(wanted), strict=True):
            closing = named(written.text)
            values = {
                "acc_written": float(closing == gold(asked[identity])),
                "closed_written": float(closing is not None),
            }
            found[identity] = values, {"written": written.text, "closing": closing}
    return found


def gold(question: Closed) -> str:
    """What a closing line must name: the gold option's letter, or its words where options have no letters."""
    return LETTERS[question.gold] if question.lettered else question.options[question.gold]
