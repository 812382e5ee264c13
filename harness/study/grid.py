"""From a study to its cells: every combination of the axes that is not excluded, each a complete `RunConfig`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config import RunConfig, budget_of, validated
from harness.contracts import Budget, HarnessError
from harness.data.sources import refuse_absent
from harness.lm.speeds import AUTO
from harness.plugins.registry import Registry
from harness.run.cells import every_cell
from harness.study.file import CURVE_BUDGETS, Method, StudyFile, Track
from harness.study.observers import refuse_unknown
from harness.util.names import nearest
from harness.util.safe_text import cut
from leaderboards.rows import label

NAMES = (
    "aligner",
    "task",
    "pool",
    "model",
    "budget",
    "draw",
    "seed",
    "judge",
    "backend",
    "track",
    "shuffle_labels",
    "fold",
)
"""What a rule of `exclude` may name."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of the axes."""

    method: str
    """The method with its changed settings, as tables name it."""
    config: RunConfig
    axes: Mapping[str, Any]

    @property
    def words(self) -> str:
        """The cell in one line."""
        a = self.axes
        parts = [self.method, f"on {a['task']}", *([f"from {a['pool']}"] if a["pool"] else [])]
        fold = "" if a.get("fold") is None else f", fold {a['fold']}"
        return f"{' '.join(parts)}, {a['budget']} labels, draw {a['draw']}, seed {a['seed']}{fold}"


def expand(study: StudyFile, registry: Registry) -> tuple[Cell, ...]:
    """The cells of a study, in the order of its axes: all methods of one draw before the next.

    Raises HarnessError for an unknown name with the nearest, an ill-typed setting, data that are not there, a rule
    that excludes nothing, and a report that could not be made.
    """
    refuse_absent(study.shared.data)
    for name in study.prices:
        registry.judge(name)
    for name in study.observe:
        refuse_unknown(name, registry.observers)
    whole = [_cell(study, registry, combination) for combination in _combinations(study)]
    cells = [part for cell in whole for part in _folds(cell, registry)]
    for place, rule in enumerate(study.exclude):
        where = f"exclude[{place}]"
        _check_rule(rule, cells, where)
        cells = [cell for cell in cells if not _matches(rule, cell.axes)]
    if not cells:
        raise HarnessError(f"study {study.name}: exclude leaves no cell")
    _check_report(study, cells)
    return tuple(cells)


def _check_report(study: StudyFile, cells: Sequence[Cell]) -> None:
    """Raises HarnessError for a reference, or a budget of it, that no cell has: the report would come too late."""
    asked = study.report
    if "reference" in asked.model_fields_set:
        methods = sorted({cell.method for cell in cells})
        if asked.reference not in methods:
            raise HarnessError(
                f"report.reference: no cell has the method {cut(asked.reference)}; {nearest(asked.reference, methods)}"
            )
    budgets = {cell.config.budget.labels: cell.axes["budget"] for cell in cells if cell.method == asked.reference}
    if asked.target_labels is None or not budgets or "max" in budgets.values():  # max is known where data are read
        return
    if asked.target_labels not in budgets:
        known = ", ".join(map(str, sorted(budgets)))
        raise HarnessError(
            f"report.target_labels is {asked.target_labels}, and {asked.reference} is to be run with {known} labels"
        )


Combination = tuple[str, str | None, str, str | None, str, Track, dict[str, Any], int, int, Method]


def _combinations(study: StudyFile) -> Iterator[Combination]:
    settings = (study.tasks, study.pools, study.models, study.judges, study.backends, study.tracks, study.budgets)
    for setting in itertools.product(*settings):
        for draw in study.draws:
            for seed in study.seeds or (draw,):
                for method in study.aligners:
                    yield (*setting, draw, seed, method)


def _cell(study: StudyFile, registry: Registry, combination: Combination) -> Cell:
    task, pool, model, judge, backend, track, asked, draw, seed, method = combination
    aligner = registry.aligner(method.aligner)
    settings = validated(aligner.Config, method.settings, f"aligner {aligner.name!r}")
    budget = _budget(study, track, asked)
    _check_names(registry, task, pool, judge, backend)
    changed = settings.model_dump(mode="json", by_alias=True, exclude_unset=True)
    config = RunConfig(
        aligner=aligner.name,
        aligner_config=changed,
        task=task,
        train_on=pool,
        model=model,
        judge=judge,
        backend=backend,
        budget=budget,
        draw_seed=draw,
        seed=seed,
        shuffle_labels=method.shuffle_labels,
        store=study.store,
        folds=study.folds,
        **dict(study.shared),
    )
    defaults = aligner.Config().model_dump(mode="json", by_alias=True)
    differs = {name: value for name, value in changed.items() if defaults.get(name) != value}
    axes = {
        **dict(zip(NAMES[:4], (aligner.name, task, pool, model), strict=True)),
        "budget": budget.preset,
        "draw": draw,
        "seed": seed,
        "judge": judge,
        "backend": backend,
        "track": budget.track,
        "shuffle_labels": method.shuffle_labels,
    }
    shuffled = {"labels": "shuffled"} if method.shuffle_labels else {}
    return Cell(label(aligner.name, {**differs, **shuffled}), config, axes)


def _folds(cell: Cell, registry: Registry) -> list[Cell]:
    """The cell once for every fold of the user's own pairs, as `run` divides them; else the cell itself."""
    configs = every_cell([cell.config], registry, control=False)
    return [
        Cell(cell.method, config, cell.axes if config.fold is None else {**cell.axes, "fold": config.fold})
        for config in configs
    ]


def _budget(study: StudyFile, track: Track, asked: Mapping[str, Any]) -> Budget:
    budget = budget_of({**asked, **track.model_dump(exclude_none=True)}, "budgets")
    wanted = study.selection or ("last" if len(study.budgets) >= CURVE_BUDGETS else None)
    if wanted is None or "selection" in asked or budget.selection == "kfold":
        return budget
    return budget.model_copy(update={"selection": wanted})


def _check_names(registry: Registry, task: str, pool: str | None, judge: str | None, backend: str) -> None:
    registry.task(task)
    if backend != AUTO:
        registry.backend(backend)
    if pool is not None:
        registry.pool(pool)
    if judge is not None:
        registry.judge(judge)


def _check_rule(rule: Mapping[str, Any], cells: list[Cell], where: str) -> None:
    """Raises HarnessError for a rule with an unknown axis, and for a value that no cell has: it would do nothing."""
    for axis, value in rule.items():
        if axis not in NAMES:
            raise HarnessError(f"{where}: unknown key {cut(str(axis))}; {nearest(str(axis), NAMES)}")
        there = sorted({str(cell.axes.get(axis)) for cell in cells})
        for wanted in value if isinstance(value, list) else [value]:
            if str(wanted) not in there:
                raise HarnessError(f"{where}: no cell has {axis} {cut(str(wanted))}; {nearest(str(wanted), there)}")
    if not rule or not any(_matches(rule, cell.axes) for cell in cells):
        raise HarnessError(f"{where} matches no cell; take it out, or name a combination that is there")


def _matches(rule: Mapping[str, Any], axes: Mapping[str, Any]) -> bool:
    return all(
        str(axes.get(k)) in [str(v) for v in (value if isinstance(value, list) else [value])]
        for k, value in rule.items()
    )
