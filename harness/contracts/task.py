"""Tasks: what is scored, with what, and the rows that come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from harness.contracts.data import Dataset, Pool, Source
from harness.contracts.judge import Judge
from harness.contracts.model import Aligned, Capability
from harness.contracts.values import Messages, Pair, Ratings


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One evaluated item: its value in each metric, and the texts with which somebody can check it."""

    id: str
    unit: str
    """The independent unit that the item belongs to; intervals and tests resample units."""
    values: Mapping[str, float]
    """By metric. A metric that does not apply to the item is left out."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Prompt, answer, gold: JSON values only."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A metric of the whole set that is not a mean over rows, with its 95 % interval over units."""

    value: float
    ci95: tuple[float, float] | None
    """None where the data do not allow one."""
    n: int
    """Independent units behind it."""


@dataclass(frozen=True, slots=True)
class Scores:
    """A task's result: one row for each item; `notes` are figures of the data and not of the model."""

    rows: tuple[SampleRow, ...]
    notes: Mapping[str, float] = field(default_factory=dict)
    whole: Mapping[str, Whole] = field(default_factory=dict)
    """Metrics of the whole set, under other names than the rows' (a fit over all rows)."""


@dataclass(frozen=True, slots=True)
class EvalContext:
    """Everything that a task receives beside the model."""

    source: Source
    limit: int | None
    """Score only the first `limit` items; None: all items."""
    num_fewshot: int
    """How many of `demonstrations` to show before each item."""
    seed: int
    demonstrations: tuple[Pair, ...] = ()
    """The cell's own labelled pairs, for few-shot prompts."""
    track: str = "labels"
    pool: Pool | None = None
    """The pool that the cell trains on; held-out pairs for preference accuracy come from its `eval` split."""
    judge: Judge | None = None
    """Constructed and given its tools; None where the task is not judged."""
    baseline: Mapping[str, SampleRow] | None = None
    """Rows, by id, of the run that answers are judged against; None means the task's own reference outputs, if any."""
    base: Mapping[str, SampleRow] | None = None
    """The base model's rows on the same items, by id, for ratios to it; None while base itself is scored."""
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    groups: Ratings = field(default_factory=dict)
    """The cell's target groups with the ratings that were bought; a task about groups scores the rest of theirs."""
    auxiliary: Ratings = field(default_factory=dict)
    """The cell's other groups: a question that stands here was seen with other groups' answers."""
    new_tokens: int = 256
    """The study's longest sample, in tokens."""
    generate: bool = False
    """Whether a task that scores given options is to have the answer written too (`WritesOnRequest`)."""
    training_pairs: tuple[Pair, ...] = ()
    """The whole labelled pool less the evaluation items: shortcut classifiers are fitted on it."""


@runtime_checkable
class Task(Protocol):
    """What is scored. A task is constructed without arguments and never sees an aligner."""

    name: ClassVar[str]
    paper: ClassVar[str]
    licence: ClassVar[str]
    main_metric: ClassVar[str]
    metrics: ClassVar[Mapping[str, str]]
    """Every metric with a one-line meaning."""
    default_pool: ClassVar[str]
    requires: ClassVar[frozenset[Capability]]
    """Everything that a fitted model must be able to do. A model that cannot is refused before anything runs."""
    accepts: ClassVar[frozenset[Capability]]
    """What the task uses if the model can do it. If the task requires nothing, the model needs one of these."""

    def revision(self, source: Source) -> str:
        """Hash of the evaluation data and of the prompt template."""
        ...

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """Text of every evaluated item by id, for the leak gate."""
        ...

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """Ask the model about every item and score its answers, one row for each item."""
        ...


@runtime_checkable
class Family(Protocol):
    """Implemented by a class that stands for many tasks or judges, of which the user names one behind a colon.

    `--task lm_eval:arc_easy` is the class called `lm_eval`, asked for `arc_easy`.
    """

    @classmethod
    def named(cls, argument: str) -> type:
        """The class for this argument, whose `name` is the full name. Raises HarnessError for an unknown argument."""
        ...


@runtime_checkable
class Judged(Protocol):
    """Implemented by a task whose answers a judge compares."""

    default_judge: ClassVar[str]
    """The judge that is asked if the user names none."""


@runtime_checkable
class JudgedOnRequest(Protocol):
    """Implemented by a task that has figures of its own and can be judged too, if the user names a judge."""

    judged_metric: ClassVar[str]
    """The metric that the judge's verdicts give."""


@runtime_checkable
class WritesOnRequest(Protocol):
    """Implemented by a task that scores given options, and can have the answer written too, if the user asks for it."""

    written_metrics: ClassVar[frozenset[str]]
    """Those of its metrics that it gives only then, and only for a model that can write."""


@runtime_checkable
class NeedsControl(Protocol):
    """Implemented by a task on which a method may beat base without learning anything from its labels.

    A verdict then needs a run of the same method on shuffled labels, and the method must beat both.
    """

    null_by: ClassVar[Literal["shuffled"]]


@runtime_checkable
class HasNoReferences(Protocol):
    """Implemented by a judged task that has no outputs of its own with which answers could be compared."""

    reference_baseline: ClassVar[str]
    """What the baseline `reference` means for this task: `base`, the base model's answers."""


@runtime_checkable
class TakesOutputs(Protocol):
    """Implemented by a task that can score the answers of another model from a file."""

    def prompts(self, source: Source, limit: int | None) -> Mapping[str, Messages]:
        """The conversation of each item, by id, without demonstrations. The file must have one answer to each."""
        ...


@runtime_checkable
class HasDataset(Protocol):
    """Implemented by a task whose evaluation data are another data set than the pool's."""

    dataset: ClassVar[Dataset]


@runtime_checkable
class NamesMetricsLater(Protocol):
    """Implemented by a task whose results may hold metrics that `metrics` cannot name beforehand."""

    later_metrics: ClassVar[str]
    """Where their names come from."""


@runtime_checkable
class HasFallingMetrics(Protocol):
    """Implemented by a task with metrics of which a lower value is better; of all others a higher value is."""

    lower_is_better: ClassVar[frozenset[str]]


@runtime_checkable
class HasGradedMetrics(Protocol):
    """Implemented by a task with metrics of which an item has a degree between 0 and 1, and is not right or wrong.

    Degrees differ less from model to model than right and wrong do, and a plan needs fewer units to tell them apart.
    """

    graded_metrics: ClassVar[frozenset[str]]


@runtime_checkable
class HasUnits(Protocol):
    """Implemented by a task several of whose items, of different texts, may stem from one independent unit."""

    def units(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """The unit of every item behind the main metric by id, as its row will name it."""
        ...


@runtime_checkable
class HasRelativeMetrics(Protocol):
    """Implemented by a task with metrics that are read against the base model, of which base itself has one half."""

    relative_to_base: ClassVar[frozenset[str]]


@runtime_checkable
class HasParityMetric(Protocol):
    """Implemented by a task for which other tools print another figure, which is the main metric on track `parity`."""

    parity_metric: ClassVar[str]


@runtime_checkable
class FollowsPool(Protocol):
    """Implemented by a task that scores held-out items of whichever pool a cell trains on."""

    def for_pool(self, pool: Pool) -> Task:
        """The task on this pool's items."""
        ...
