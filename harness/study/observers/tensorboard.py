"""TensorBoard: one folder of events for each run, below `<store>/.tensorboard`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.study.observers import figures, means


class TensorBoard:
    """Writes every figure of a run's log as a scalar, and its scores at the end."""

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._make = SummaryWriter
        self._open: dict[str, Any] = {}
        self._steps: dict[str, int] = {}

    def started(self, run_id: str, summary: Mapping[str, Any]) -> None:
        """Open the run's folder."""
        self._open[run_id] = self._make(str(self._folder / run_id))
        self._open[run_id].add_text("config", str(summary.get("config", {})))

    def logged(self, run_id: str, event: Mapping[str, Any]) -> None:
        """Every number of an entry of the log."""
        step = int(event.get("step", self._steps.get(run_id, 0) + 1))
        self._steps[run_id] = step
        for name, value in figures(dict(event)).items():
            if name != "step" and run_id in self._open:
                self._open[run_id].add_scalar(f"fit/{name}", value, step)

    def finished(self, run_id: str, record: Mapping[str, Any]) -> None:
        """The scores; the folder is closed."""
        writer = self._open.pop(run_id, None)
        if writer is not None:
            for name, value in means(dict(record)).items():
                writer.add_scalar(name, value, self._steps.get(run_id, 0))
            writer.close()


def open_in(folder: Path) -> TensorBoard:
    """Raises ImportError where tensorboard is not installed."""
    return TensorBoard(folder)
