"""What a fit counts and reports, and how it goes back to a checkpoint's figures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from harness.fit.journal import Journal
from harness.meter import Meter


class Ledger:
    """Meter, log, running sums and figures of one fit: all that is stored with a checkpoint beside the weights."""

    def __init__(self, meter: Meter, journal: Journal) -> None:
        self.meter = meter
        self.journal = journal
        self.alive: dict[str, float] = {}
        self.degenerate: str | None = None
        self.steps_before = 0
        """Optimizer steps of the phases that are done."""
        self._sums: dict[str, float] = {}
        self._latest: dict[str, list[float]] = {}
        self.seconds_before = 0.0
        self._started = time.monotonic()

    def liveness(self, degenerate: str | None, figures: Mapping[str, float]) -> None:
        """Figures that show the method did its work."""
        self.alive.update({name: float(value) for name, value in figures.items()})
        self.degenerate = degenerate or self.degenerate

    def tally(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Add to running sums; returns all of them."""
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        return dict(self._sums)

    def latest(self, name: str, figures: Sequence[float], keep: int) -> list[float]:
        """Append to a list of at most `keep` figures; returns it."""
        kept = [*self._latest.get(name, []), *map(float, figures)][-keep:]
        self._latest[name] = kept
        return list(kept)

    def seconds(self) -> float:
        """Seconds of this fit, those of the part before an interruption that counts included."""
        return self.seconds_before + time.monotonic() - self._started

    def state(self) -> dict[str, Any]:
        """Everything that was counted, as JSON values."""
        return {
            "meter": self.meter.state(),
            "tallies": dict(self._sums),
            "latest": {name: list(figures) for name, figures in self._latest.items()},
            "steps_before": self.steps_before,
            "log": self.journal.size(),
            "log_digest": self.journal.digest(),
            "seconds": self.seconds(),
            "alive": dict(self.alive),
            "degenerate": self.degenerate,
        }

    def restore(self, state: Mapping[str, Any], *, cut: bool = True) -> None:
        """Go back to the figures of a checkpoint; `cut` forgets what was logged after it.

        Raises `Damaged` where the log up to there is not what was written.
        """
        self.journal.check(int(state["log"]), state["log_digest"])
        self.meter.restore(state["meter"])
        self._sums = dict(state["tallies"])
        self._latest = {name: list(figures) for name, figures in state["latest"].items()}
        self.steps_before = int(state["steps_before"])
        self.alive, self.degenerate = dict(state["alive"]), state["degenerate"]
        if cut:
            self.journal.cut(int(state["log"]))
        self.seconds_before, self._started = float(state["seconds"]), time.monotonic()
