"""Hooks that a plug-in may implement, grouped by life cycle.

A plug-in is a module (or any object) with functions marked `@hookimpl`. Every hook takes no argument, returns a list of
classes or values, and is called once for each registry that is loaded. A plug-in should not import torch when it is
imported: `harness --help` and `harness list` would wait for it. Names have up to 64 letters, digits, `_ . + -`, with a
letter or digit first; `all`, `none` and what YAML reads as something else are reserved. A plug-in that breaks a rule,
raises or exits is named and left out.

    from harness.hookspecs import hookimpl

    @hookimpl
    def harness_aligners() -> list[type[Aligner]]:
        return [MyAligner]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from harness.contracts import Aligner, Backend, Executor, Judge, ModelSource, Pool, RunObserver, Task

PROJECT = "harness"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# ---------------------------------------------------------------- before a fit: where models and labels come from


@hookspec
def harness_models() -> list[ModelSource]:  # type: ignore[empty-body]
    """Models that `--model NAME` finds in wheels; asked for when the registry is loaded, before any weight is read."""


@hookspec
def harness_pools() -> list[type[Pool]]:  # type: ignore[empty-body]
    """Pools that `--train-on NAME` may draw labels from; asked for when the registry is loaded."""


@hookspec
def harness_backends() -> list[type[Backend]]:  # type: ignore[empty-body]
    """Runners of models, as light classes that import their engine later; asked for when the registry is loaded."""


# ---------------------------------------------------------------- the fit


@hookspec
def harness_aligners() -> list[type[Aligner]]:  # type: ignore[empty-body]
    """Methods that `--aligner NAME` finds; asked for when the registry is loaded, constructed once per fit."""


# ---------------------------------------------------------------- the evaluation


@hookspec
def harness_tasks() -> list[type[Task]]:  # type: ignore[empty-body]
    """What `--task NAME` scores; asked for when the registry is loaded, constructed once per evaluation."""


@hookspec
def harness_judges() -> list[type[Judge]]:  # type: ignore[empty-body]
    """Comparers of answers for judged tasks; asked for when the registry is loaded, constructed once per evaluation."""


# ---------------------------------------------------------------- around runs


@hookspec
def harness_observers() -> list[RunObserver]:  # type: ignore[empty-body]
    """Ready-made observers of runs (trackers, notices); asked for when the registry is loaded, told of every run."""


@hookspec
def harness_executors() -> list[type[Executor]]:  # type: ignore[empty-body]
    """What computes the cells of a study, as classes that import their library when they are constructed."""
