"""What a leaderboard is made of. The fields documented here are those of the JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from harness.stats import Estimate

GAINED = "pref_gain"
"""The main metric that is read against base itself, whose own value is one half by definition."""
HEADLINE = {GAINED: ("pref_written", "win_rate")}
"""Metrics that stand in the main table beside the main one: a log-ratio says nothing of what a model writes."""
RowVerdict = Literal["better", "worse", "cannot tell"]
Role = Literal["base", "method", "control", "outputs"]
"""What a control reaches is no finding: it learns nothing from the labels, or does without a part of a method
(`MethodRow.ablation`). Outputs are another model's, from a file."""
ABLATIONS = frozenset({("weights", "random"), ("weights", "length"), ("optimise", "none")})
"""Settings that take a part out of a method and leave it the labels: what gem scores by, and gem's second phase."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all records of a table share. Two records that differ in any field never stand in one table."""

    task: str
    task_revision: str
    main_metric: str
    judge: str | None
    judge_version: str | None
    baseline: str | None
    limit: int | None
    num_fewshot: int
    generate: bool
    source: str
    pool: str
    pool_revision: str
    model: str
    weights_hash: str
    precision: str
    device: str
    backend: str
    lora: dict[str, Any]
    lengths: dict[str, int]
    preset: str
    labels: int
    prompts: int
    batch: int
    min_steps: int
    selection: str
    tune: int
    track: str
    cap_flops: float | None
    profile: str | None
    draw_seeds: tuple[int, ...]
    """Every row was fitted on these draws."""
    pairs_hash: str | None = None
    """sha256 over the labelled pairs of those draws; None when no record names any."""
    model_hash: str | None = None
    """sha256 over all that loading the model reads: weights, chat template, tokenizer, settings."""
    folds: int | None = None
    """Every pair was held out once, by one of so many fits; None where the pairs were divided once."""
    null_by: str | None = None
    """The control that a row must beat beside base before it has a verdict: `shuffled`, its own on shuffled labels."""
    judge_hash: str | None = None
    """sha256 over what the judge's verdicts rest on beside its version: models, endpoint, prompts."""

    @property
    def asked(self) -> str:
        """The task, against whose answers it was judged, and by whom: what a title begins with."""
        against = f" against {self.baseline}" if self.baseline else ""
        judge = f" by judge {self.judge}" if self.judge else ""
        return f"{self.task}{against}{judge}"

    def key(self, without: Iterable[str] = ()) -> str:
        """Canonical text of the fields, less some."""
        left_out = set(without)
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}
        return json.dumps(kept, sort_keys=True, default=str)


@dataclass(frozen=True, slots=True)
class Versus:
    """A row against the base model, or against its own control, on the same items."""

    difference: float
    """Mean of the row minus mean of base, over items."""
    ci95: tuple[float, float] | None
    """None below two units and where both agree on every unit (nothing to resample)."""
    p: float | None
    """Two-sided sign-flip p-value over units, not adjusted; None on degenerate rows, which are not tested."""
    n_units: int
    mdd: float | None
    """Smallest detectable difference: what the test would find four times in five, for the main metric at Holm's first
    step. None on degenerate rows and where no difference, however large, would be found."""


@dataclass(frozen=True, slots=True)
class Between:
    """Two rows of a table on the same items: a metric of the first less that of the second, mostly the main one."""

    first: str
    """Label of a method's row."""
    second: str
    """Label of another method's row, or of a control of the first."""
    own_control: bool
    """Whether the second is the first on shuffled labels, with a swapped context, or less a part of it."""
    draws: tuple[int, ...]
    """The draws that both have a sound run of: the comparison is on these alone."""
    versus: Versus
    p_holm: float | None
    """Adjusted over the table's pairs of methods, or over the figures of one pair of rows (`OnFigure`); else None."""
    new_draws_ci95: tuple[float, float] | None
    """The difference for new questions and new draws of the labels; None below three draws that both ran on."""


@dataclass(frozen=True, slots=True)
class OnFigure:
    """A method less its own control on a metric that is not the main one."""

    metric: str
    between: Between
    """Its p is adjusted over all such metrics of the two rows."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a row."""

    score: Estimate
    seed_sd: float | None
    """Standard deviation of the seeds' means; None below two seeds."""
    versus_base: Versus | None
    """Against the base model on the same items; None on the base row and where the base or the items are missing."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Means over the runs of the row's scored seeds (over all its runs when none was scored); memory is the largest.

    Where there are folds, a run is the fit of one fold, and a seed is all of them.
    """

    labels: float
    auxiliary_labels: float
    prompts: float
    generated_tokens: float
    forward_tokens: float
    trained_tokens: float
    optimizer_steps: float
    flops: float
    """FLOPs of the fit."""
    inference_flops: float
    fit_seconds: float
    evaluate_seconds: float
    total_seconds: float
    lost_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class MethodRow:
    """One method in one configuration, over its seeds."""

    label: str
    """`gem`, or `gem [weights=random]`."""
    aligner: str
    version: str
    changed: dict[str, Any]
    role: Role
    degenerate: bool
    """Whether no seed is sound in all its folds: such a row has no p and no verdict."""
    seeds: tuple[tuple[int, int], ...]
    """(draw seed, training seed) of the records, each once."""
    n_scored: int
    """Seeds behind the score: those that did not fail, in no fold, and whose samples can be read, less the degenerate
    ones and those past the cap where another is sound."""
    n_draws: int
    """Draws of those seeds."""
    status: str
    """The most severe status of the row's records: `ok`, `degenerate`, `over_cap` or `failed`."""
    statuses: dict[str, int]
    """Status -> number of records: seeds, times folds where there are any."""
    metrics: dict[str, Metric]
    p_holm: float | None
    """p of the main metric, adjusted by Holm's method over the table's family: methods that are not degenerate, and
    have their control where the table asks for it. Beside a control it is the larger p of the two comparisons."""
    verdict: RowVerdict | None
    """Against base (and the control, in the same direction) at 5 % after adjustment; None on rows outside the family
    and where a comparison is missing."""
    cost: Cost | None
    """None of outputs from a file: nobody here knows it."""
    liveness: dict[str, float]
    """Means over seeds of the figures that show the method did its work."""
    records: tuple[str, ...]
    scored: tuple[str, ...]
    """Those of the records that the score is of."""
    remarks: tuple[str, ...]
    """Reasons of degenerate and failed seeds, unreadable samples, and why a comparison is missing."""
    versus_control: Versus | None = None
    """The main metric against the same method on shuffled labels, where the table asks for that control."""
    new_draws_ci95: tuple[float, float] | None = None
    """The main metric's difference to base, for new questions and new draws of the labels; None below three draws."""

    @property
    def ablation(self) -> bool:
        """Whether it is a control of one part of its own method, and learns from the labels as that method does."""
        part_is_out = any(self.changed.get(name) == value for name, value in ABLATIONS)
        return self.role == "control" and part_is_out and self.changed.get("labels") != "shuffled"

    @property
    def in_family(self) -> bool:
        """Whether the row's difference to base is a claim that is tested."""
        return self.role == "method" and not self.degenerate


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the table's records were made; every field lists the distinct values."""

    commits: tuple[str, ...]
    """Git commits, ` (dirty)` behind those with uncommitted changes."""
    devices: tuple[str, ...]
    threads: tuple[int, ...]
    platforms: tuple[str, ...]
    pythons: tuple[str, ...]
    packages: dict[str, tuple[str, ...]]
    first: str
    """When the oldest record was made."""
    last: str


@dataclass(frozen=True, slots=True)
class JudgeFigure:
    """What `judge check` found of the table's judge, in the version that scored it, on one set of labelled pairs."""

    set: str
    labelled_by: str
    pairs: int
    answered: int
    """Pairs with a verdict."""
    agreement: Estimate | None
    """With the labels; None where the judge had no verdict."""
    null_win_rate: float | None
    """How often a constant answer beats the better one."""
    fails: tuple[str, ...]
    first_position: float | None = None
    """Share of single-order verdicts for the answer that stood first; 0.5 is no bias."""
    flips: float | None = None
    """Share of pairs whose verdict changes when the answers change places."""
    longer: float | None = None
    """Share of verdicts for the longer answer, where people saw no tie."""
    longer_people: float | None = None
    """The same of people's own verdicts on these pairs."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: base first, then by score, then what has no score."""

    setting: Setting
    rows: tuple[MethodRow, ...]
    n_units: int
    """Units behind the main metric: independent ones, or, where there are folds, ones that share their models' data."""
    mdd: float | None
    """The largest of the rows' smallest detectable differences: a smaller true difference may well go unseen."""
    family: int
    """Rows whose p-values Holm's method adjusts together."""
    notes: dict[str, tuple[float, float]]
    """Figures of the data (chance level, shortcut controls): least and greatest over the records."""
    provenance: Provenance
    warnings: tuple[str, ...] = field(default=())
    judge: tuple[JudgeFigure, ...] = field(default=())
    """Empty where no judge scored the table, or where the one that did was not measured."""
    lower_is_better: tuple[str, ...] = field(default=())
    """Metrics of which less is better; of all others more is."""
    between: tuple[Between, ...] = field(default=())
    """Methods beside their own controls, then every pair of methods, up to 20 of them (`leaderboards.between`)."""
    on_other_figures: tuple[OnFigure, ...] = field(default=())
    """Methods beside their own controls on the metrics that are not the main one."""

    @property
    def headline(self) -> list[str]:
        """Metrics that belong beside the main one, as far as any row has them."""
        names = HEADLINE.get(self.setting.main_metric, ())
        return [name for name in names if any(name in row.metrics for row in self.rows)]

    def row(self, label: str) -> MethodRow:
        """The row of that label. Raises KeyError."""
        return {row.label: row for row in self.rows}[label]
