"""trackio: one run of project `align-harness` for each run, kept on this machine below `<store>/.trackio`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.study.observers import figures, means

PROJECT = "align-harness"


class Trackio:
    """Logs every figure of a run, and its scores at the end."""

    name = "trackio"

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(folder.resolve()))
        import trackio

        self._trackio: Any = trackio
        self._open: dict[str, Any] = {}

    def started(self, run_id: str, summary: Mapping[str, Any]) -> None:
        """Open a run of that name."""
        config = dict(summary.get("config", {}))
        self._open[run_id] = self._trackio.init(project=PROJECT, name=run_id, config=config, embed=False)

    def logged(self, run_id: str, event: Mapping[str, Any]) -> None:
        """Every number of an entry of the log."""
        found = figures(dict(event))
        step = found.pop("step", None)
        if run_id in self._open and found:
            self._open[run_id].log(found, step=None if step is None else int(step))

    def finished(self, run_id: str, record: Mapping[str, Any]) -> None:
        """The scores; the run is closed."""
        run = self._open.pop(run_id, None)
        if run is not None:
            run.log(means(dict(record)))
            run.finish()


def open_in(folder: Path) -> Trackio:
    """Raises ImportError where trackio is not installed."""
    return Trackio(folder)
