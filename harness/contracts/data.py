"""Where labels and evaluation items come from: sources, data sets, pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from harness.contracts.values import Pair, Prompt, Ratings, Spans, Verifier

SourceKind = Literal["hub", "folder", "sample", "file"]


@runtime_checkable
class Source(Protocol):
    """Where rows come from: the hub, a folder, or the sample that ships in the wheel."""

    @property
    def kind(self) -> SourceKind: ...

    def describe(self) -> str:
        """One line that names the source and its revision. Tables never mix sources with different lines."""
        ...

    def announce(self) -> str:
        """One line for the user that names the source, and why it was chosen if the user named none."""
        ...

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        """All rows of one split. Raises HarnessError naming data set, split and place if they cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Dataset:
    """A public data set under its three addresses.

    `folder` is its name below `--data PATH` and in the shipped sample. `hub` is its address on the hub, with `config`
    if the data set there has configurations, or with `hub_folder` if it consists of several folders of files. `splits`
    maps our names of splits (`pool`, `eval`) to the names of the files and of the hub; `hub_splits` maps them to the
    hub's names if these differ from the files'.
    """

    folder: str
    hub: str
    config: str | None = None
    splits: Mapping[str, str] = field(default_factory=lambda: {"pool": "train", "eval": "test"})
    hub_splits: Mapping[str, str] = field(default_factory=dict)
    hub_folder: str | None = None
    own: bool = False
    """Whether the data are the user's own: their folder may then be the folder that `--data` names."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many rows of a split were read, how many were left out for each reason, and the first row of each reason."""

    rows: int
    reasons: Mapping[str, int]
    examples: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a user says of their own rows, and what the study's tokenizer does."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """The user's name of each column, by ours (`{"chosen": "better"}`); others are found by their usual names."""
    split_file: str | None = None
    """A file that names the held-out rows."""
    control: frozenset[str] = frozenset()
    """Texts of the tokenizer's control tokens."""
    fold: tuple[int, int] | None = None
    """(The part of the pairs that is held out, counted from 0; the number of parts). None: pairs are divided once."""
    without: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Ids of pairs that the study's model or lengths make useless, by reason."""


@runtime_checkable
class Pool(Protocol):
    """A source of labels. It is constructed without arguments, and every method receives the source to read."""

    name: ClassVar[str]
    licence: ClassVar[str]
    dataset: ClassVar[Dataset]

    def revision(self, source: Source) -> str:
        """Hash of the data and of the templates that turn rows into prompts."""
        ...

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        """Every labelled pair of a split; empty when the pool has none."""
        ...

    def questions(self, source: Source) -> Mapping[str, str]:
        """Bare question text of every training row by pair or prompt id, for the leak gate."""
        ...

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Every prompt of the training split, labelled or not; the draw keeps them disjoint from the pairs."""
        ...

    def groups(self, source: Source) -> Ratings:
        """Opinions by group; empty when the pool has none."""
        ...

    def verifier(self, source: Source) -> Verifier | None:
        """`GoldAnswers` of the training prompts, or None. Only `GoldAnswers` can be passed to the process that fits."""
        ...


@runtime_checkable
class CountsRows(Protocol):
    """Implemented by a pool that leaves rows out, to say how many and why."""

    def left_out(self, source: Source, split: str = "pool") -> LeftOut:
        """How many rows a split holds, and which of them are left out."""
        ...


@runtime_checkable
class OwnRows(Protocol):
    """Implemented by a pool of the user's own rows, so that the user can say how to read them."""

    def reading(self, how: Reading) -> Pool:
        """The same pool, its rows read as `how` says."""
        ...

    def notes(self, source: Source) -> Sequence[str]:
        """Lines for people: how the rows were divided, and what is odd about them."""
        ...


@runtime_checkable
class DividesInFolds(Protocol):
    """Implemented by a pool whose pairs can be divided into folds, each held out once (`Reading.fold`)."""

    @property
    def folds(self) -> int | None:
        """The number of folds, or None if the pairs are divided once."""
        ...

    def holding_out(self, fold: int) -> Pool:
        """The same pool with the same folds, of which `fold` (from 0) is held out."""
        ...

    def every(self, source: Source) -> Sequence[Pair]:
        """All pairs, in an order that does not depend on how they are divided."""
        ...

    def undivided(self, source: Source) -> int | None:
        """The number of pairs, or None if the data themselves say which pairs are held out."""
        ...


@runtime_checkable
class DeclaresSpans(Protocol):
    """Implemented by a pool whose answers have no final-answer marker: `spans = "positional"`. Others have `marker`."""

    spans: ClassVar[Spans]
