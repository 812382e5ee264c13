"""Schema of a run's record: the only thing that leaderboards read.

`FORMAT` rises when a field changes meaning. A record is written once, atomically, beside `samples.parquet`,
`adapter/` and `log.jsonl`, whose hashes it holds; its own stands in `seal`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import BASE, Budget

FORMAT = 2

Status = Literal["ok", "degenerate", "over_cap", "failed"]
"""`degenerate`: below the method's floor of life; `over_cap`: the method went on after the cap on compute."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(_Frozen):
    """A metric over independent units: mean, 95 % interval (None where there is none), number of units."""

    mean: float
    ci95: tuple[float, float] | None
    n: int
    whole: bool = False
    """One figure for the whole set with an interval of its own: `mean` is no mean over rows."""

    @property
    def without_width(self) -> bool:
        """Whether the interval claims certainty, as it does of a value by definition."""
        return self.ci95 is not None and self.ci95[1] - self.ci95[0] <= 1e-12


class Seconds(_Frozen):
    """Wall-clock seconds by phase; `total` is their sum and counts resumed parts once.

    `load` is reading the model, in the process that fits and in the one that evaluates, and putting the adapter on it.
    """

    load: float
    fit: float
    evaluate: float
    total: float


class Inference(_Frozen):
    """What evaluation cost, apart from training."""

    generated_tokens: int = 0
    forward_tokens: int = 0
    flops: float = 0.0


class Lost(_Frozen):
    """Work that a crash threw away and a resume did again."""

    restarts: int = 0
    seconds: float = 0.0


class Spent(_Frozen):
    """Full cost of a cell."""

    labels: int
    auxiliary_labels: int
    prompts: int
    generated_tokens: int
    forward_tokens: int
    trained_tokens: int
    optimizer_steps: int
    flops: float
    seconds: Seconds
    peak_memory_bytes: int
    inference: Inference
    lost: Lost


class AlignerInfo(_Frozen):
    """Which method ran, with every hyper-parameter and the figures that show it was alive."""

    name: str
    version: str
    paper: str
    fit_id: str
    config: dict[str, Any]
    changed: dict[str, Any] = Field(default_factory=dict)
    """The hyper-parameters that somebody changed from the method's defaults: they name a row of a table."""
    trials: tuple[dict[str, Any], ...] = ()
    """What `--tune` compared: config, mean score, score of each fold; `config` holds the best."""
    liveness: dict[str, float] = Field(default_factory=dict)
    adapter_hash: str | None = None
    """sha256 over the adapter's tensors; None for aligners that train nothing."""
    parameter_change: float | None = None
    """L2 norm of the adapter's effective weight change."""
    without_effect: bool = False
    """Whether the fitted adapter left every item's answer as base gives it."""


class TaskInfo(_Frozen):
    """What was scored."""

    name: str
    revision: str
    main_metric: str
    limit: int | None
    num_fewshot: int
    generate: bool = False
    """Whether answers to questions with options were written, too."""
    n_items: int
    judge: str | None = None
    judge_version: str | None = None
    baseline: str | None = None
    """What answers were judged against: `reference` (the task's own), `base`, a run's id; None: nothing is judged."""
    null_by: Literal["shuffled"] | None = None
    """The control that a verdict needs beside base; None where base says what a method scores that learnt nothing."""
    notes: dict[str, float] = Field(default_factory=dict)
    lower_is_better: tuple[str, ...] = ()
    """Metrics of which less is better; of all others more is."""
    relative_to_base: tuple[str, ...] = ()
    """Metrics that are read against base, whose own value on every item is one half by definition."""

    def halves(self, aligner: str) -> frozenset[str]:
        """Metrics of which a model has one half by definition: base of those that are read against it.

        Older records name none; the main metric of a task that needs a control is one.
        """
        if aligner != BASE:
            return frozenset()
        return frozenset({*self.relative_to_base, *([self.main_metric] if self.null_by else [])})


class ModelInfo(_Frozen):
    """The base model."""

    name: str
    weights_hash: str
    parameters: int
    precision: str
    device: str
    backend: str
    """What the result was asked with."""
    fit_backend: str | None = None
    """What the fit ran on; None where nothing is fitted."""
    engines: dict[str, str] = {}
    """What computed each part of the answers, and how it was checked, where a backend has several parts."""
    warnings: tuple[str, ...] = ()
    """What makes it doubtful that these are the fitted model's answers."""
    lora: dict[str, Any]
    lengths: dict[str, int]
    trust_remote_code: bool = False


class FoldInfo(_Frozen):
    """Which part of the pairs a cell held out, where every part is held out once."""

    index: int
    """From 0."""
    of: int


class DataInfo(_Frozen):
    """Where labels came from and what the leak gate dropped."""

    source: str
    pool: str
    pool_revision: str
    pair_ids: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    rating_ids: dict[str, list[str]] = Field(default_factory=dict)
    """Questions whose ratings were bought, by target group."""
    auxiliary_groups: tuple[str, ...] = ()
    fold: FoldInfo | None = None
    """None: the pairs are divided once."""
    shuffled_labels: bool = False
    """A control: half of the pairs were handed to the aligner with chosen and rejected swapped."""
    dropped_leaks: tuple[str, ...] = ()
    rows: int = 0
    """Rows of the training split that were read; 0 where the pool does not count them."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """How many of them give no pair, by reason; `leak`: what stands in the evaluation."""
    dropped_held_out: dict[str, int] = Field(default_factory=dict)
    """The same of the held-out split, where the task is scored on it and the data have one of their own."""
    clipped: dict[str, float] = Field(default_factory=dict)
    """Shares of the labelled pairs: `prompts` and `answers` that are cut to the study's lengths, `equal_pairs`.

    `pool_prompts` and `pool_answers`: the same shares of the pool, where its pairs decided the lengths.
    """
    warnings: tuple[str, ...] = ()


class BudgetInfo(Budget):
    """The budget of the cell, and the profile that set it."""

    profile: str | None = None


class SeedInfo(_Frozen):
    """The two seeds of a cell."""

    draw: int
    training: int


class Manifest(_Frozen):
    """Everything needed to know what produced the record."""

    format: int = FORMAT
    created: str
    command: tuple[str, ...]
    packages: dict[str, str]
    plugins: dict[str, str]
    """Plug-in name -> distribution and version of every plug-in the run used."""
    platform: str
    python: str
    device: str
    threads: int
    git_commit: str | None
    """The commit that holds the code that ran; None where it was installed."""
    git_dirty: bool | None
    code_files: str | None = None
    """sha256 over the installed files, where no commit holds them."""
    code_url: str | None = None
    """Where pip says that the installed files came from, with the commit or hash that it noted."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """What was asked for, resolved: `run --config` reads it, and comes to the same id. Empty in older records."""
    decisive: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Everything that decides the outcome, whose hash is the run's id: `fit`, `answers`, `judgement`."""
    compared: dict[str, dict[str, str]] = Field(default_factory=dict)
    """The runs whose answers this one was held against (`base`, `baseline`): id, and sha256 of their samples."""
    also_read: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Splits that only the evaluation read: where they are, and the hash of their rows."""
    files: dict[str, str] = Field(default_factory=dict)
    """sha256 of every file beside the record, by its path in the run's folder."""


class OutputsInfo(_Frozen):
    """Where answers of another model came from: nobody here trained it or asked it, so `spent` says nothing of it."""

    generator: str
    """Who wrote them, as the file says."""
    file: str
    """The file's name, without the folder."""
    sha256: str


class Failure(_Frozen):
    """Why a cell failed."""

    reason: str
    traceback: str


class Record(_Frozen):
    """One cell: one aligner, one draw, one training seed, one task."""

    id: str
    status: Status
    reason: str | None = None
    failure: Failure | None = None
    aligner: AlignerInfo
    task: TaskInfo
    model: ModelInfo
    data: DataInfo
    budget: BudgetInfo
    spent: Spent
    scores: dict[str, Score]
    manifest: Manifest
    seed: SeedInfo
    outputs: OutputsInfo | None = None
    """None: a model was asked here."""
    seal: str = ""
    """sha256 of all the rest, as it stands in the file."""
