"""How `run` ends: what its tables can and cannot show, in plain words, and the command that would show more."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from harness.command import SECTIONS, bought, option, text
from harness.config import CPU_DEMO, DEFAULT_MODEL, RunConfig

if TYPE_CHECKING:
    from leaderboards.table import Table

MORE_ITEMS = 4
"""Four times the items halve the smallest difference that is seen."""
TOLD_APART = frozenset(
    {
        "aligner",
        "aligner_config",
        "shuffle_labels",
        "task",
        "budget",
        "limit",
        "seed",
        "profile",
        "store",
        "outputs",
        *SECTIONS,
    }
)
"""Fields of a cell that have a place of their own in the command."""


def words(tables: Sequence[Table], configs: Sequence[RunConfig], beside: Sequence[str] = ()) -> Iterator[str]:
    """The closing sentences of each table, then one command; see `more`."""
    from leaderboards.closing import closing

    for table in tables:
        yield from closing(table)
    if tables:
        yield f"To see more: {more(tables[-1], configs, beside)}"


def more(table: Table, configs: Sequence[RunConfig], beside: Sequence[str] = ()) -> str:
    """The command whose table would show smaller differences: more items where there are more, else other seeds.

    `configs` are the cells as they were asked for, before folds and controls come to them. `beside` are the options
    that no cell keeps, as they were typed.
    """
    files = dict.fromkeys(str(config.outputs) for config in configs if config.outputs is not None)
    configs = [config for config in configs if config.outputs is None] or configs[:1]
    first = configs[0]
    parts = ["python", "-m", "harness", "run"]
    if first.outputs is None:
        parts += ["--aligner", ",".join(dict.fromkeys(_methods(configs)))]
    parts += [part for path in files for part in ("--outputs", path)]
    if all(config.task == first.task for config in configs):
        parts += ["--task", first.task]
    parts += [*_carried(configs), *_settings(configs), *beside]
    if first.profile is None:
        parts += ["--budget", ",".join(dict.fromkeys(c.budget.preset for c in configs))]
    parts += _limit(table, first)
    seeds = sorted({c.seed for c in configs})
    parts += ["--seed", ",".join(map(str, seeds if len(seeds) > 1 else range(seeds[0], seeds[0] + 3)))]
    return shlex.join(parts)


def one_of_each(configs: Sequence[RunConfig]) -> bool:
    """Whether the cells differ in nothing that their command names once: a config file may have listed more."""
    several = {"aligner", "aligner_config", "shuffle_labels", "budget", "seed"}
    methods = [config for config in configs if config.outputs is None] or configs[:1]
    return len({config.model_dump_json(exclude=several) for config in methods}) == 1


def _limit(table: Table, config: RunConfig) -> list[str]:
    """Four times the items where the limit is what there is too little of, else the limit as it was asked for."""
    usual = CPU_DEMO["limit"] if config.profile else None
    if config.limit is None:
        return ["--set", "limit=null"] if usual else []
    short = table.n_units >= config.limit * (table.setting.folds or 1)
    asked = MORE_ITEMS * config.limit if short else config.limit
    return [] if asked == usual else ["--limit", str(asked)]


def _methods(configs: Sequence[RunConfig]) -> Iterator[str]:
    """Every method as `--aligner` names it, with settings in brackets where methods differ in theirs."""
    alone = _one_method(configs)
    for config in configs:
        own = {} if alone else config.aligner_config
        shuffled = ["labels=shuffled"] if config.shuffle_labels and not _all_shuffled(configs) else []
        settings = [*(f"{name}={text(value)}" for name, value in own.items()), *shuffled]
        yield f"{config.aligner}[{','.join(settings)}]" if settings else config.aligner


def _one_method(configs: Sequence[RunConfig]) -> bool:
    return len({json.dumps([c.aligner, c.aligner_config], sort_keys=True, default=str) for c in configs}) == 1


def _all_shuffled(configs: Sequence[RunConfig]) -> bool:
    return all(config.shuffle_labels for config in configs)


def _carried(configs: Sequence[RunConfig]) -> Iterator[str]:
    """Every option that is not its default, and that all cells agree on."""
    first = configs[0]
    for name, field in RunConfig.model_fields.items():
        value = getattr(first, name)
        usual = field.get_default(call_default_factory=True)
        if name in TOLD_APART or value == usual or any(getattr(one, name) != value for one in configs):
            continue
        yield from option(name, value)
    if str(first.store) != "runs":
        yield from ("--store", str(first.store))
    if _all_shuffled(configs):
        yield "--shuffle-labels"


def _settings(configs: Sequence[RunConfig]) -> Iterator[str]:
    """`--set` of what was set: the budget beside its number of labels, the shared sections, a single method's own."""
    first = configs[0]
    found: dict[str, Any] = {f"budget.{name}": value for name, value in bought(first.budget.model_dump()).items()}
    if first.profile and first.model != DEFAULT_MODEL:
        found["profile"] = first.profile
    for section in SECTIONS:
        by_profile = CPU_DEMO.get(section, {}) if first.profile else {}
        for name, value in getattr(first, section).model_dump(exclude_unset=True).items():
            if by_profile.get(name) != value:
                found[f"{section}.{name}"] = value
    if _one_method(configs) and first.outputs is None:
        found |= {f"aligner.{name}": value for name, value in first.aligner_config.items()}
    for name, value in found.items():
        if value is not None:
            yield from ("--set", f"{name}={text(value)}")
