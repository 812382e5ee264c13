"""Task `unseen_sums`: the sums that the pool `sums_in_words` holds out, asked as they are asked there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import ClassVar

from harness.contracts import (
    Aligned,
    Capability,
    Completion,
    EvalContext,
    GenerateRequest,
    SampleRow,
    Scores,
    Source,
    Task,
    able_to,
    user,
)
from harness.hookspecs import hookimpl
from harness_examples.sums_in_words import WORDS, Sum, ends_in, hashed, sums

LONGEST = 24
"""The largest number of tokens of an answer."""


class UnseenSums:
    """Sums in words, answered by greedy decoding. An answer is right if its last word is the right number."""

    name: ClassVar[str] = "unseen_sums"
    paper: ClassVar[str] = ""
    licence: ClassVar[str] = "Apache-2.0"
    main_metric: ClassVar[str] = "right"
    metrics: ClassVar[Mapping[str, str]] = {
        "right": "share of answers that end in the right sum",
        "ended": f"share of answers that end by themselves within {LONGEST} tokens",
    }
    default_pool: ClassVar[str] = "sums_in_words"
    requires: ClassVar[frozenset[Capability]] = frozenset({"generate"})
    accepts: ClassVar[frozenset[Capability]] = frozenset()

    def revision(self, source: Source) -> str:
        """Hash of every question with its answer, and of how they are asked."""
        asked = [[one.question, WORDS[one.a + one.b]] for one in items(None)]
        return hashlib.sha256(json.dumps([asked, LONGEST]).encode()).hexdigest()

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """The questions without instructions."""
        return {one.id: one.question for one in items(limit)}

    def units(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """The two orders of a sum are one independent unit."""
        return {one.id: one.unit for one in items(limit)}

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """Return one row for each sum. Raises HarnessError for a model that does not generate."""
        model = able_to("generate", aligned, by=self.name)
        asked = items(ctx.limit)
        answers = model.generate([GenerateRequest(user(one.question), LONGEST) for one in asked])
        return Scores(tuple(row(one, answer) for one, (answer,) in zip(asked, answers, strict=True)))


def items(limit: int | None) -> list[Sum]:
    """The first `limit` held-out sums, in an order that mixes small and large ones."""
    return sorted(sums("eval"), key=lambda one: hashed(one.id))[:limit]


def row(asked: Sum, answer: Completion) -> SampleRow:
    """What is kept of one answer."""
    values = {
        "right": ends_in(WORDS[asked.a + asked.b], answer.text),
        "ended": float(answer.finish == "stop"),
    }
    detail = {"prompt": asked.question, "output": answer.text}
    return SampleRow(asked.id, asked.unit, values, detail)


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """What this module adds to the harness."""
    return [UnseenSums]
