"""Rows as a prompt, a better answer and a worse answer each; rows that give no pair are counted and named.

The layouts of rows are those of `tasks.datasets.layouts`, on the hub as in a folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.contracts import Dataset, HarnessError, Messages, Pair
from harness.util.hashes import content_hash
from tasks.datasets.layouts import Sides, prompt_in, sides
from tasks.datasets.turns import Unusable, is_null

ULTRAFEEDBACK = Dataset(folder="ultrafeedback", hub="trl-lib/ultrafeedback_binarized")
HH_HARMLESS = Dataset(folder="hh_harmless", hub="Anthropic/hh-rlhf", hub_folder="harmless-base")
OWN_PAIRS = Dataset(folder="pairs", hub="", own=True)
"""The data set of the user's own rows."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Labelled:
    """The pairs of a split, and how many rows gave none, by reason."""

    pairs: tuple[Pair, ...]
    dropped: Mapping[str, int]
    examples: Mapping[str, str] = field(default_factory=dict)
    """The first row that was left out for each reason: place, row, field and value."""
    rows: int = 0
    """How many rows were read."""


def read_pairs(rows: Iterable[Row], place: str) -> Labelled:
    """The pairs of rows in any of the layouts. Raises HarnessError naming `place` and row where no row gives one."""
    made = Gathered(place)
    for row in rows:
        with made.row():
            made.add(sides(row), row.get("cluster"))
    return made.labelled()


class Gathered:
    """Pairs as rows give them, and why other rows give none."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._rows = 0
        self._pairs: dict[str, Pair] = {}
        self._dropped: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    @contextmanager
    def row(self) -> Iterator[None]:
        """Count a row; whatever makes it unusable is noted instead of raised."""
        self._rows += 1
        try:
            yield
        except Unusable as error:
            self.drop(error.reason, f"row {self._rows}: {error}")

    def drop(self, reason: str, says: str, count: int = 1) -> None:
        """Note that rows give no pair."""
        self._dropped[reason] += count
        self._examples.setdefault(reason, f"{self._place} {says}")

    def add(self, found: Sides, cluster: object = None) -> Pair:
        """The pair of a row; one that stood before is not counted again."""
        pair = pair_of(found, cluster)
        if pair.id in self._pairs:
            self.drop("repeated", f"row {self._rows}: the same pair stood before")
        return self._pairs.setdefault(pair.id, pair)

    def labelled(self) -> Labelled:
        """All of it. Raises HarnessError where there were rows, and no pair."""
        dropped = dict(sorted(self._dropped.items()))
        if self._rows and not self._pairs:
            counts = ", ".join(f"{reason} {count}" for reason, count in dropped.items())
            first = next(iter(self._examples.values()))
            raise HarnessError(f"none of {self._rows} rows gives a pair ({counts}); the first: {first}")
        return Labelled(tuple(self._pairs.values()), dropped, self._examples, self._rows)


def asked(prompt: Messages) -> str:
    """The user's turns of a prompt, for the leak gate."""
    return "\n".join(message.content for message in prompt if message.role == "user")


def prompt_of(value: Any, place: str) -> Messages:
    """A text, a list of messages or a transcript as messages; the open "Assistant:" that ends a transcript is no turn.

    Raises HarnessError naming `place` where it is neither.
    """
    try:
        return prompt_in({"prompt": value}, ()) or ()
    except Unusable as error:
        raise HarnessError(f"{place} is malformed: {error}") from error


def pair_of(found: Sides, cluster: object = None) -> Pair:
    """A pair under a hash of its texts; without a cluster's name, pairs of one prompt are one cluster."""
    identity = content_hash([asdict(message) for message in found.prompt], found.chosen, found.rejected)[:16]
    if is_null(cluster) or cluster == "":  # 0 is a name like any other
        cluster = content_hash([asdict(message) for message in found.prompt])[:16]
    return Pair(identity, found.prompt, found.chosen, found.rejected, str(cluster))
