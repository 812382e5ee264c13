"""How `run` ends: what its tables can and cannot show, in plain words, and the command that would show more."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from harness.config import RunConfig

if TYPE_CHECKING:
    from leaderboards.table import Table

MORE_ITEMS = 4
"""Four times the items halve the smallest difference that is seen."""
CARRIED = (
    *("model", "model_revision", "data", "train_on", "num_fewshot", "judge", "baseline", "device", "precision"),
    "fast_paths",
)
"""Fields of a cell that are options of the same name, and are repeated where they are not the defaults."""


def words(tables: Sequence[Table], configs: Sequence[RunConfig]) -> Iterator[str]:
    """The closing sentences of each table, then one command."""
    from leaderboards.closing import closing

    for table in tables:
        yield from closing(table)
    if tables:
        yield f"To see more: {more(tables[-1], configs)}"


def more(table: Table, configs: Sequence[RunConfig]) -> str:
    """The command whose table would show smaller differences: more items where there are more, else other seeds."""
    first = configs[0]
    parts = ["python", "-m", "harness", "run", "--aligner", ",".join(dict.fromkeys(c.aligner for c in configs))]
    parts += ["--task", first.task, *_carried(first), *_settings(configs)]
    if first.profile is None:
        parts += ["--budget", ",".join(dict.fromkeys(c.budget.preset for c in configs))]
    if first.limit is not None and table.n_units >= first.limit:
        parts += ["--limit", str(MORE_ITEMS * first.limit)]
    seeds = sorted({c.seed for c in configs})
    parts += ["--seed", ",".join(map(str, seeds if len(seeds) > 1 else range(seeds[0], seeds[0] + 3)))]
    return shlex.join(parts)


def _carried(config: RunConfig) -> Iterator[str]:
    for name in CARRIED:
        value = getattr(config, name)
        if value != RunConfig.model_fields[name].default:
            yield from (f"--{name.replace('_', '-')}", str(value))
    if config.columns:
        yield from ("--columns", ",".join(f"{ours}={yours}" for ours, yours in config.columns.items()))
    if config.split_file is not None:
        yield from ("--split-file", str(config.split_file))
    if config.folds is not None:
        yield from ("--folds", str(config.folds))
    if config.draw_seed:
        yield from ("--draw-seed", str(config.draw_seed))
    if str(config.store) != "runs":
        yield from ("--store", str(config.store))
    if config.shuffle_labels:
        yield "--shuffle-labels"


def _settings(configs: Sequence[RunConfig]) -> Iterator[str]:
    """`--set` of what was set: shared lengths and adapter shape, and of a single method its own."""
    first = configs[0]
    shared: dict[str, Any] = {
        f"{section}.{name}": value
        for section in ("lengths", "lora")
        for name, value in getattr(first, section).model_dump(exclude_unset=True).items()
        if not (first.profile and name == "sample_prompts")
    }
    if len({config.aligner for config in configs}) == 1:
        shared |= {f"aligner.{name}": value for name, value in first.aligner_config.items()}
    for name, value in shared.items():
        if value is not None:
            yield from ("--set", f"{name}={value}")
