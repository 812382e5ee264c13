"""What the process that fits is told (`FitJob`), and what it leaves (`FitReport`, or `Stopped`).

They lie as JSON in the fit's folder, which holds nothing of the task, of the evaluation or of other cells.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from harness.config import Lora
from harness.contracts import FewShot, HarnessError, Regime
from harness.fit.sharding import Sharding
from harness.meter import Spend
from harness.models.wheels import ModelFiles
from harness.records.schema import Lost
from harness.util.files import write_atomic
from harness.util.own_json import read_own

FIT_BACKEND = "hf"
"""The backend of every fit, whatever backend the result is evaluated with: training needs torch."""

JOB = "job.json"
REPORT = "fit.json"
STOPPED = "stopped.json"
STARTS = "starts.json"
LOG = "log.jsonl"
STDERR = "stderr.log"
RESULT = "result"
"""Folder of what the fitted model saved."""
WORK = "work"
"""Folder of the checkpoints, deleted when the fit is done."""
AGAIN = 4
"""Exit status of a worker that discarded what an earlier start had left: it is to be started once more."""
SHARED = ".shared"
"""Folder beside the fits: what the base model said of texts, for any fit that asks the same."""
JUDGES = "judges"
"""Folder of what judges were told during this fit, deleted with the checkpoints: no evaluation's verdicts are there."""


class _Frozen(BaseModel):
    """Floats keep every digit, also those that are not finite; a verifier that is no data is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, ser_json_inf_nan="constants")


class FitJob(_Frozen):
    """Everything that a fit is told."""

    fit_id: str
    aligner: str
    aligner_config: dict[str, Any]
    few_shot: FewShot
    """Labels and prompts; a verifier among them knows what is right for these pairs and prompts only."""
    files: ModelFiles
    model: str
    """The study's model as it was asked for: what a judge gets that wants the study's own."""
    judge_models: dict[str, ModelFiles]
    """Every model that a judge may load, by the name it asks by."""
    backend: str
    """What the fit runs on."""
    code: dict[str, str]
    """Hashes of the code that the fit's id was made from."""
    base: str
    """Hash of everything that can change what the base model says of a text."""
    regime: Regime
    lora: Lora
    threads: int
    processes: int
    """That make the fit together; they share the threads."""
    sharding: Sharding | None
    """How they divide the model's weights."""
    fast_paths: bool
    gradient_checkpointing: bool
    seed: int
    checkpoint_steps: int
    plugins: bool
    """Whether third parties' plug-ins are looked for, and which of them: the child loads the same registry."""
    allow: frozenset[str] | None


class FitReport(_Frozen):
    """What a finished fit leaves beside its log and its result."""

    fit_id: str = ""
    files: dict[str, str] = Field(default_factory=dict)
    """sha256 of every file of the result."""
    log: str | None = None
    """sha256 of the log."""
    status: Literal["ok", "degenerate", "over_cap"] = "ok"
    reason: str | None = None
    liveness: dict[str, float] = Field(default_factory=dict)
    config: dict[str, Any] | None = None
    """The hyper-parameters of the fit: after a search, the best trial's. None: those that were asked for."""
    trials: tuple[dict[str, Any], ...] = ()
    spend: Spend = Spend()
    seconds_load: float = 0.0
    seconds_fit: float = 0.0
    peak_memory_bytes: int = 0
    adapter_hash: str | None = None
    parameter_change: float | None = None
    lost: Lost = Lost()


UNFITTED = FitReport(parameter_change=0.0)
"""Of the base model, for which no process is started: there is nothing to fit."""


class Stopped(_Frozen):
    """Why a fit ended without a report: its input was refused, or something was raised."""

    kind: Literal["refused", "raised"]
    reason: str
    traceback: str = ""


class Start(_Frozen):
    """One start of the process that fits."""

    began: float
    """Seconds of the clock."""
    ended: float | None = None
    """When it died, where its parent saw that."""
    lost: float | None = None
    """Seconds of its work that were done again; None until they were counted."""


class Starts(_Frozen):
    """Every start of a fit, noted before the process is there: a worker killed while it imports counts, too."""

    starts: tuple[Start, ...] = ()

    def begun(self) -> Starts:
        """With one more start, now."""
        return Starts(starts=(*self.starts, Start(began=time.time())))

    def ended(self) -> Starts:
        """With the end of the last start, now."""
        if not self.starts:
            return self
        *before, last = self.starts
        return Starts(starts=(*before, last.model_copy(update={"ended": time.time()})))

    def counted(self, saved: list[float], logged: float) -> Starts:
        """With the loss of every start but the present one.

        `saved` are the moments that can be gone on from, `logged` is when the log was last written: what a start did
        between the last of the former and its last sign of life is lost.
        """
        nexts = [start.began for start in self.starts[1:]]
        done = [_counted(start, end, saved, logged) for start, end in zip(self.starts, nexts, strict=False)]
        return Starts(starts=(*done, self.starts[-1]))

    @property
    def loss(self) -> Lost:
        """What earlier starts lost."""
        return Lost(restarts=len(self.starts) - 1, seconds=sum(start.lost or 0.0 for start in self.starts))


def _counted(start: Start, until: float, saved: list[float], logged: float) -> Start:
    if start.lost is not None:
        return start
    alive = start.ended or (logged if start.began <= logged <= until else start.began)
    since = max([start.began, *(moment for moment in saved if moment <= alive)])
    return start.model_copy(update={"lost": alive - since})


M = TypeVar("M", bound=BaseModel)


def write_model(path: Path, value: BaseModel) -> None:
    """Write a model as JSON, whole or not at all."""
    write_atomic(path, (value.model_dump_json(indent=1) + "\n").encode())


def read_starts(folder: Path) -> Starts:
    """The starts of a fit so far; none where the file says nothing true, for they are figures of the cost only."""
    try:
        return read_model(folder / STARTS, Starts) or Starts()
    except HarnessError:
        return Starts()


def read_model(path: Path, kind: type[M], remedy: str = "delete it and run again") -> M | None:
    """What `write_model` wrote; None where there is none.

    Raises HarnessError for anything else, which says what to do: of a kind of its own for what another version wrote.
    """
    return read_own(path, kind, remedy)
