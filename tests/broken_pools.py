"""An honest pool on rows of its own, and copies of it that each break one promise: what the kit must tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

from harness.contracts import (
    Dataset,
    HarnessError,
    Pair,
    Pool,
    Prompt,
    Rating,
    Ratings,
    Source,
    SourceKind,
    Verifier,
    user,
)
from harness.util.hashes import content_hash


class Towns:
    """A source of made-up questions: 12 to train on, 6 to ask."""

    kind: SourceKind = "folder"

    def describe(self) -> str:
        return "towns"

    def announce(self) -> str:
        return "towns"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        sizes = {"pool": range(12), "eval": range(12, 18)}
        if split not in sizes:
            raise HarnessError(f"towns have no split {split!r}; expected pool or eval")
        return [
            {"id": f"t{n}", "question": f"What lies north of town {n}?", "right": f"Hill {n}.", "wrong": f"Lake {n}."}
            for n in sizes[split]
        ]


class HonestPool:
    """The right answer against the wrong one."""

    name: ClassVar[str] = "honest"
    licence: ClassVar[str] = "CC0"
    dataset: ClassVar[Dataset] = Dataset(folder="towns", hub="")

    def revision(self, source: Source) -> str:
        given = self.groups(source)
        groups = {group: [asdict(r) for r in ratings] for group, ratings in given.items()}
        return content_hash([asdict(pair) for pair in self.pairs(source)], groups)

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        return [self.pair(row, place) for place, row in enumerate(source.rows(self.dataset, split))]

    def pair(self, row: Mapping[str, Any], place: int) -> Pair:
        return Pair(row["id"], user(row["question"]), row["right"], row["wrong"])

    def questions(self, source: Source) -> Mapping[str, str]:
        return {row["id"]: row["question"] for row in source.rows(self.dataset, "pool")}

    def prompts(self, source: Source) -> Sequence[Prompt]:
        return [Prompt(row["id"], user(row["question"])) for row in source.rows(self.dataset, "pool")]

    def groups(self, source: Source) -> Ratings:
        rows = source.rows(self.dataset, "pool")
        return {"north": tuple(Rating(row["id"], row["question"], ("hill", "lake"), (0.75, 0.25)) for row in rows)}

    def verifier(self, source: Source) -> Verifier | None:
        gold = {row["id"]: row["right"] for row in source.rows(self.dataset, "pool")}
        return lambda prompt_id, completion: float(gold[prompt_id] in completion)


def reading_towns(kind: type[Any], *methods: str) -> type[Any]:
    """The class with methods that pass over the source that they are given: what it knows is its code's."""

    def reads(name: str) -> Any:
        return lambda self, source, *rest: getattr(kind, name)(self, Towns(), *rest)

    return type("InCode", (kind,), {name: reads(name) for name in methods})


class SameIds(HonestPool):
    """Names pairs by their first words."""

    name = "same-ids"

    def pair(self, row: Mapping[str, Any], place: int) -> Pair:
        return replace(super().pair(row, place), id=row["question"][:4])


class Numbers(HonestPool):
    """Names pairs by their place."""

    name = "numbers"

    def pair(self, row: Mapping[str, Any], place: int) -> Pair:
        return replace(super().pair(row, place), id=f"p{place}", cluster=row["id"])


class Moody(HonestPool):
    """Changes sides with every reading."""

    name = "moody"
    readings: ClassVar[list[int]] = []

    def prompts(self, source: Source) -> Sequence[Prompt]:
        self.readings.append(1)
        return list(super().prompts(source))[: 6 + len(self.readings) % 3]


class OneSide(HonestPool):
    """Has the same answer on both sides."""

    name = "one-side"

    def pair(self, row: Mapping[str, Any], place: int) -> Pair:
        return replace(super().pair(row, place), rejected=row["right"])


class Silent(HonestPool):
    """Does not say what its last row asks."""

    name = "silent"

    def questions(self, source: Source) -> Mapping[str, str]:
        return dict(list(super().questions(source).items())[:-1])


class Spoken(HonestPool):
    """Gives the prompts of its pairs again behind a system message, under ids of their own: no draw can tell them."""

    name = "spoken"

    def prompts(self, source: Source) -> Sequence[Prompt]:
        rows = source.rows(self.dataset, "pool")
        return [Prompt(f"p-{row['id']}", user(row["question"], system="Be brief.")) for row in rows]


class Stale(HonestPool):
    """Hashes the questions and not the answers."""

    name = "stale"

    def revision(self, source: Source) -> str:
        return content_hash(dict(self.questions(source)))


class Mixed(HonestPool):
    """Holds out what it trains on."""

    name = "mixed"

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        return super().pairs(source, "pool")


class Generous(HonestPool):
    """Pays for prompts that it does not know."""

    name = "generous"

    def verifier(self, source: Source) -> Verifier | None:
        return lambda prompt_id, completion: 1.0


class Loud(HonestPool):
    """Has shares that sum to more than one."""

    name = "loud"

    def groups(self, source: Source) -> Ratings:
        return {
            name: tuple(replace(r, probabilities=(0.75, 0.75)) for r in found)
            for name, found in super().groups(source).items()
        }


BROKEN: Mapping[type[Pool], str] = {
    SameIds: "ids_unique",
    Numbers: "ids_stable",
    Moody: "same_twice",
    OneSide: "sides_differ",
    Silent: "questions_cover",
    Spoken: "prompts_apart",
    Stale: "revision_follows_data",
    Mixed: "splits_apart",
    Generous: "verifier",
    Loud: "groups_valid",
}
