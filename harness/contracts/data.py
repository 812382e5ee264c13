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
        """One line: what this is, and its revision; tables never mix sources with different lines."""
        ...

    def announce(self) -> str:
        """One line for people: the source, and why it was chosen where nobody asked for it."""
        ...

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        """All rows of one split. Raises HarnessError naming data set, split and place if they cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Dataset:
    """A public data set under its three addresses.

    `folder` is its name below `--data PATH` and in the shipped sample; `hub` its address on the hub, with `config`, or
    with `hub_folder` where the data set there is several folders of files and declares no configurations;
    `splits` maps our split names (`pool`, `eval`) to the files' and the hub's, `hub_splits` to the hub's where those
    are others.
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
    """Which part of the pairs is held out, from 0, and of how many; None: they are divided once."""
    without: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Ids of pairs that the study's model or lengths make useless, by reason."""


@runtime_checkable
class Pool(Protocol):
    """A source of labels. Constructed without arguments; every method is given the source to read."""

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
        """`GoldAnswers` of the training prompts, or None. A verifier that is no data cannot be handed to a fit."""
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
    """A pool whose pairs may be divided so that every one is held out once, by `Reading.fold`."""

    @property
    def folds(self) -> int | None:
        """How many folds it is read in; None where its pairs are divided once."""
        ...

    def holding_out(self, fold: int) -> Pool:
        """The same pool, read in as many folds, with another one held out."""
        ...

    def every(self, source: Source) -> Sequence[Pair]:
        """All pairs, in one order however they are divided."""
        ...

    def undivided(self, source: Source) -> int | None:
        """How many pairs there are where nothing says which are held out; None where something does."""
        ...


@runtime_checkable
class DeclaresSpans(Protocol):
    """Implemented by a pool whose answers have no final-answer marker: `spans = "positional"`. Others have `marker`."""

    spans: ClassVar[Spans]
