"""An honest task on rows of its own, and copies of it that each break one promise: what the kit must tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar

from harness.contracts import (
    Aligned,
    Capability,
    ChooseRequest,
    Dataset,
    EvalContext,
    SampleRow,
    Scores,
    Source,
    Task,
    able_to,
    user,
)
from harness.util.hashes import content_hash

LABELS = ("hill", "lake")


class HonestTask:
    """Which of two words fits a town?"""

    name: ClassVar[str] = "honest"
    paper: ClassVar[str] = ""
    licence: ClassVar[str] = "CC0"
    main_metric: ClassVar[str] = "acc"
    metrics: ClassVar[Mapping[str, str]] = {"acc": "share of right answers", "margin": "log-probability of the first"}
    default_pool: ClassVar[str] = "honest"
    requires: ClassVar[frozenset[Capability]] = frozenset({"choose"})
    accepts: ClassVar[frozenset[Capability]] = frozenset()
    dataset: ClassVar[Dataset] = Dataset(folder="towns", hub="")

    def rows(self, source: Source, limit: int | None) -> Sequence[Mapping[str, Any]]:
        return source.rows(self.dataset, "eval")[:limit]

    def revision(self, source: Source) -> str:
        return content_hash([dict(row) for row in self.rows(source, None)])

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        return {row["id"]: row["question"] for row in self.rows(source, limit)}

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        rows = self.rows(ctx.source, ctx.limit)
        chooser = able_to("choose", aligned, by=self.name)
        answers = chooser.choose([ChooseRequest(user(row["question"]), LABELS, LABELS) for row in rows])
        return Scores(tuple(self.row(row, answer) for row, answer in zip(rows, answers, strict=True)))

    def row(self, row: Mapping[str, Any], answer: Sequence[float]) -> SampleRow:
        gold = LABELS[len(row["right"]) % 2]
        values = {"acc": float(LABELS[answer.index(max(answer))] == gold), "margin": answer[0]}
        return SampleRow(row["id"], row["id"], values, {"prompt": row["question"], "gold": row["right"]})


class Misspelt(HonestTask):
    """Returns `accuracy` where `acc` is declared."""

    name = "misspelt"

    def row(self, row: Mapping[str, Any], answer: Sequence[float]) -> SampleRow:
        found = super().row(row, answer)
        return replace(found, values={"accuracy": found.values["acc"], "margin": found.values["margin"]})


class Promising(HonestTask):
    """Declares what it never returns."""

    name = "promising"
    metrics: ClassVar[Mapping[str, str]] = {**HonestTask.metrics, "f1": "never computed"}


class SameIds(HonestTask):
    """Calls all rows alike."""

    name = "same-ids"

    def row(self, row: Mapping[str, Any], answer: Sequence[float]) -> SampleRow:
        return replace(super().row(row, answer), id="row")


class OtherUnits(HonestTask):
    """States a unit for all items that no row names."""

    name = "other-units"

    def units(self, source: Source, limit: int | None) -> Mapping[str, str]:
        return dict.fromkeys(self.questions(source, limit), "town")


class Unheard(HonestTask):
    """Has degrees of a metric that it does not declare."""

    name = "unheard"
    graded_metrics: ClassVar[frozenset[str]] = frozenset({"f1"})


class Related(HonestTask):
    """Reads a metric against base that it does not declare."""

    name = "related"
    relative_to_base: ClassVar[frozenset[str]] = frozenset({"gain"})


class Infinite(HonestTask):
    """Has margins without end."""

    name = "infinite"

    def row(self, row: Mapping[str, Any], answer: Sequence[float]) -> SampleRow:
        found = super().row(row, answer)
        return replace(found, values={**found.values, "margin": float("inf")})


class Deaf(HonestTask):
    """Asks the model and scores something else."""

    name = "deaf"

    def row(self, row: Mapping[str, Any], answer: Sequence[float]) -> SampleRow:
        return super().row(row, [-1.0, -2.0])


class Moody(HonestTask):
    """Scores by a running number."""

    name = "moody"
    turns = count()

    def row(self, row: Mapping[str, Any], answer: Sequence[float]) -> SampleRow:
        found = super().row(row, answer)
        return replace(found, values={**found.values, "margin": float(next(self.turns))})


class Limitless(HonestTask):
    """Scores everything, whatever the limit."""

    name = "limitless"

    def rows(self, source: Source, limit: int | None) -> Sequence[Mapping[str, Any]]:
        return super().rows(source, None)


class Modest(HonestTask):
    """Says that it needs less than it does."""

    name = "modest"
    requires = frozenset()
    accepts = frozenset({"choose", "prefer"})


class Stale(HonestTask):
    """Hashes the questions and not the answers."""

    name = "stale"

    def revision(self, source: Source) -> str:
        return content_hash(dict(self.questions(source, None)))


class Peeking(HonestTask):
    """Reads what methods train on."""

    name = "peeking"

    def rows(self, source: Source, limit: int | None) -> Sequence[Mapping[str, Any]]:
        assert source.rows(self.dataset, "pool")
        return super().rows(source, limit)


BROKEN: Mapping[type[Task], str] = {
    Misspelt: "metrics_declared",
    Promising: "metrics_returned",
    Unheard: "metrics_declared",
    Related: "metrics_declared",
    SameIds: "ids_unique",
    OtherUnits: "ids_unique",
    Infinite: "values_finite",
    Deaf: "model_matters",
    Moody: "same_twice",
    Limitless: "limit",
    Modest: "requires_honest",
    Stale: "revision_follows_data",
    Peeking: "pool_split_unread",
}
