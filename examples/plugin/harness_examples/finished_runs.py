"""Observer `finished_runs`: one JSON line for each run that ends, in the file that FINISHED_RUNS names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from harness.contracts import RunObserver
from harness.hookspecs import hookimpl


class FinishedRuns:
    """Appends the id, the status and the mean scores of every run that ends; without FINISHED_RUNS it does nothing."""

    name: ClassVar[str] = "finished_runs"

    def started(self, run_id: str, config: Mapping[str, Any]) -> None:
        """Do nothing: a run that has only begun has no result."""

    def logged(self, run_id: str, event: Mapping[str, Any]) -> None:
        """Do nothing: single events are not kept."""

    def finished(self, run_id: str, record: Mapping[str, Any]) -> None:
        """Append the line. If this raises an exception, the exception is reported and the run is not affected."""
        if not (place := os.environ.get("FINISHED_RUNS")):
            return
        scores = {metric: score["mean"] for metric, score in record["scores"].items()}
        line = {"id": run_id, "status": record["status"], "scores": scores}
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


@hookimpl
def harness_observers() -> list[RunObserver]:
    """What this module adds to the harness."""
    return [FinishedRuns()]
