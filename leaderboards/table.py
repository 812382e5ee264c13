"""What a leaderboard is made of. The fields documented here are those of the JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from harness.stats import Estimate, Paired

Verdict = Literal["better", "worse", "cannot tell"]


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

    def key(self, without: Iterable[str] = ()) -> str:
        """Canonical text of the fields, less some."""
        kept = {name: value for name, value in asdict(self).items() if name not in set(without)}
        return json.dumps(kept, sort_keys=True, default=str)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a row."""

    score: Estimate
    seed_sd: float | None
    """Standard deviation of the seeds' means; None below two seeds."""
    versus_base: Paired | None
    """Against the base model on the same items; None on the base row and where the base or the items are missing."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Means over the row's scored seeds (over all its seeds when none was scored); memory is the largest."""

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
class Row:
    """One method in one configuration, over its seeds."""

    label: str
    """`gem`, or `gem [weights=random]`."""
    aligner: str
    version: str
    changed: dict[str, Any]
    seeds: tuple[tuple[int, int], ...]
    """(draw seed, training seed) of every record."""
    n_scored: int
    """Seeds behind the score: those that did not fail and whose samples can be read."""
    status: str
    """The most severe status of the row's records: `ok`, `degenerate` or `failed`."""
    statuses: dict[str, int]
    """Status -> number of seeds."""
    metrics: dict[str, Metric]
    p_holm: float | None
    """p of the main metric, adjusted by Holm's method over the table's rows."""
    verdict: Verdict | None
    """Against base at 5 % after adjustment; None on the base row and where there is no comparison."""
    cost: Cost
    liveness: dict[str, float]
    """Means over seeds of the figures that show the method did its work."""
    records: tuple[str, ...]
    remarks: tuple[str, ...]
    """Reasons of degenerate and failed seeds, unreadable samples, and why a comparison is missing."""


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


@dataclass(frozen=True, slots=True)
class Table:
    """A table: base first, then by score, then what has no score."""

    setting: Setting
    rows: tuple[Row, ...]
    n_units: int
    """Independent units behind the main metric."""
    mdd: float | None
    """The largest minimal detectable difference among the rows: a smaller true difference may well go unseen."""
    notes: dict[str, tuple[float, float]]
    """Figures of the data (chance level, shortcut controls): least and greatest over the records."""
    provenance: Provenance
    warnings: tuple[str, ...] = field(default=())
    judge: tuple[JudgeFigure, ...] = field(default=())
    """Empty where no judge scored the table, or where the one that did was not measured."""

    def row(self, label: str) -> Row:
        """The row of that label. Raises KeyError."""
        return {row.label: row for row in self.rows}[label]
