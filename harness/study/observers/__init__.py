"""Trackers of runs: one thin adapter each over the contract of observers. They are outside a run's identity."""

from __future__ import annotations

from collections.abc import Container
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from harness.contracts import HarnessError, RunObserver
from harness.util.names import nearest

TRACKERS = ("tensorboard", "trackio")
"""Ours; each needs the package of its own name."""


def refuse_unknown(name: str, installed: Container[str]) -> None:
    """Raises HarnessError for a tracker that is neither ours nor `installed`."""
    if name not in installed and name not in TRACKERS:
        raise HarnessError(f"observer {name[:80]!r} is not installed; {nearest(name, TRACKERS, label='trackers')}")


def refuse_without_package(name: str, installed: Container[str]) -> None:
    """Raises HarnessError as `refuse_unknown` does, and for a tracker of ours whose package this machine lacks."""
    refuse_unknown(name, installed)
    if name not in installed and find_spec(name) is None:
        raise _without_package(name)


def open_observer(name: str, store: Path) -> RunObserver:
    """The tracker called `name`, which keeps its files below `store`.

    Raises HarnessError for an unknown name, and where its package is not installed.
    """
    refuse_unknown(name, ())
    try:
        observer: RunObserver = import_module(f"harness.study.observers.{name}").open_in(store / f".{name}")
    except ImportError as error:
        raise _without_package(name) from error
    return observer


def _without_package(name: str) -> HarnessError:
    return HarnessError(f"observer {name} needs its package: pip install 'align-harness[{name}]'")


def figures(event: object) -> dict[str, float]:
    """The numbers of an event or of a record's scores, by name."""
    if not isinstance(event, dict):
        return {}
    return {k: float(v) for k, v in event.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def means(record: object) -> dict[str, float]:
    """The mean of every metric of a record."""
    scores = record.get("scores", {}) if isinstance(record, dict) else {}
    return {f"score/{name}": float(score["mean"]) for name, score in scores.items()}
