"""lm-eval's tasks by name: configuration, metrics, text for hashes, and the task object over our rows.

Only a task's data are replaced, and its demonstrations where the caller has rows of its own. A metric has lm-eval's
name; where lower is better, its negative stands under `neg_NAME`. A task with several answer filters has one metric for
each, called `METRIC,FILTER` as lm-eval prints it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError
from harness.util.names import nearest
from tasks.datasets.documents import Row
from tasks.lm_eval import corners

DEMONSTRATIONS = "demonstrations"
"""Split that holds the caller's own few-shot rows."""
FEWSHOT_SEED = 1234
"""Seed of the `lm_eval` command's few-shot sampler."""


def stock_task(
    name: str,
    rows: Mapping[str, Sequence[Row]],
    *,
    num_fewshot: int = 0,
    fewshot_rows: Sequence[Row] | None = None,
    folder: str | None = None,
    own_sampler: bool = False,
) -> Any:
    """lm-eval's own task object for `name`, with its data replaced by `rows` and its demonstrations taken in order.

    With `own_sampler` demonstrations are drawn as the `lm_eval` command draws them: by the task's sampler, from the
    command's seed. Raises HarnessError for an unknown task or too few demonstrations.
    """
    manager, entry = stock_entry(name, folder)
    config = corners.full_config(manager, entry)
    splits = _splits(config, {**rows, DEMONSTRATIONS: fewshot_rows or ()})
    overrides: dict[str, Any] = {
        "custom_dataset": lambda **_: splits,
        "dataset_kwargs": None,
        "num_fewshot": num_fewshot,
    }
    if not (own_sampler and num_fewshot):
        shown = {**(config.get("fewshot_config") or {}), **_fewshot(num_fewshot, fewshot_rows)}
        overrides |= {"fewshot_config": shown, "fewshot_split": config.get("fewshot_split") if num_fewshot else None}
    task = corners.build(manager, entry, overrides)
    available = len(task.sampler.df)
    if available < num_fewshot:
        raise HarnessError(f"{name}: {num_fewshot} demonstrations asked for, {available} available")
    if own_sampler:
        task.set_fewshot_seed(FEWSHOT_SEED)
    return task


def stock_config(name: str) -> Mapping[str, Any]:
    """The whole configuration of the stock task `name`, functions included.

    Raises HarnessError, naming the nearest task, for what is no task configured by a YAML file or cannot be run here.
    """
    manager, entry = stock_entry(name, None)
    if corners.is_group(entry):
        members = _members(manager, entry)
        example = f", as {members[0]!r}" if members else ""
        raise HarnessError(f"lm-eval's {name!r} is a group of {len(members)} tasks; name one of them{example}")
    if corners.is_python(entry):
        raise HarnessError(f"lm-eval's {name!r} is a Python class with its own data; a task of YAML was expected")
    plain = corners.plain_yaml(entry)
    for key, what in (
        ("unsafe_code", "runs generated code"),
        ("doc_to_image", "shows images"),
        ("doc_to_audio", "plays sound"),
    ):
        if plain.get(key):
            raise HarnessError(f"lm-eval's {name!r} {what}; a task of text that is only read was expected")
    try:
        config: Mapping[str, Any] = corners.full_config(manager, entry)
    except Exception as error:  # a task's own code is imported here, and may lack a package or a file
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise HarnessError(f"the code of lm-eval's task {name!r} cannot be imported ({reason})") from error
    return config


def config_text(config: Mapping[str, Any]) -> str:
    """A task's configuration and the source of its functions as text, for content hashes."""
    functions = {id(f): f for f in _functions(config)}
    sources = {Path(f.__code__.co_filename) for f in functions.values()}
    shown = {key: value for key, value in config.items() if key != "metadata"}
    code = "\n".join(f"# {path.name}\n{path.read_text(encoding='utf-8')}" for path in sorted(sources) if path.is_file())
    return f"{_plain(shown)}\n{code}"


def _plain(value: Any) -> str:
    """A value of a configuration as text that is the same in every process: functions by their names."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_plain(value[key])}" for key in sorted(value, key=str)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return getattr(value, "__qualname__", None) or repr(value)


def _functions(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _functions(item)
    elif hasattr(value, "__code__"):
        yield value


def _members(manager: Any, entry: Any) -> list[str]:
    """Names of all tasks of a group or tag, those of groups within it included."""
    listed = entry.tags or corners.full_config(manager, entry).get("task") or ()
    found: set[str] = set()
    for item in listed:
        name = item if isinstance(item, str) else str(item.get("task") or item.get("group"))
        inner = manager.task_index.get(name)
        grouped = inner is not None and corners.is_group(inner)
        found |= set(_members(manager, inner)) if grouped and inner is not entry else {name}
    return sorted(found)


def metric_names(config: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The metrics that a task's configuration names, as this module calls them -> (lm-eval's metric, filter).

    A task whose own function gives its results may yield others too.
    """
    from lm_eval.api.registry import is_higher_better

    filters = [str(entry["name"]) for entry in config.get("filter_list") or ()] or ["none"]
    listed = config.get("metric_list") or [{"metric": m} for m in corners.default_metrics(config["output_type"])]
    names: dict[str, tuple[str, str]] = {}
    for entry in listed:
        metric = getattr(entry["metric"], "__name__", entry["metric"])
        rising = entry.get("higher_is_better", True if callable(entry["metric"]) else is_higher_better(metric))
        for chosen in filters:
            names[metric_name(metric, chosen, len(filters), rising is not False)] = (metric, chosen)
    return names


def metric_name(metric: str, chosen: str, filters: int, rising: bool) -> str:
    """Our name of lm-eval's `metric` behind filter `chosen`, of a task with so many `filters`."""
    return f"{'' if rising else 'neg_'}{metric}{f',{chosen}' if filters > 1 else ''}"


def _fewshot(num_fewshot: int, rows: Sequence[Row] | None) -> dict[str, Any]:
    """Where demonstrations come from; with none wanted the task's own split is not read, so it may be missing."""
    if num_fewshot == 0:
        return {"sampler": "first_n", "split": None, "samples": []}
    return {"sampler": "first_n"} if rows is None else {"sampler": "first_n", "split": DEMONSTRATIONS}


def stock_entry(name: str, folder: str | None) -> tuple[Any, Any]:
    """lm-eval's task manager and its entry for `name`. Raises HarnessError naming the nearest task."""
    manager = corners.manager(folder or _folder_of(name))
    entry = manager.task_index.get(name)
    if entry is None:
        hint = nearest(name, manager.all_tasks, cutoff=0)
        raise HarnessError(f"lm-eval has no task {name!r}{f' in {folder}' if folder else ''}; {hint}")
    return manager, entry


@cache
def _folder_of(name: str) -> str | None:
    """The folder whose YAML file says it is task `name`, found by reading alone; None where there is not just one."""
    line = re.compile(rf"^task:[ \t]*(['\"]?){re.escape(name)}\1[ \t]*(#.*)?$", re.MULTILINE)
    home = corners.task_home()
    found = [path for path in sorted(home.rglob("*.yaml")) if line.search(path.read_text(encoding="utf-8"))]
    return str(found[0].parent.relative_to(home)) if len(found) == 1 else None


def stock_text(folder: str) -> str:
    """Text of every YAML and Python file of one of lm-eval's task folders, for content hashes; imports nothing."""
    home = corners.task_home() / folder
    files = sorted(path for path in home.glob("*") if path.suffix in {".yaml", ".yml", ".py"})
    if not files:
        raise HarnessError(f"lm-eval has no task folder {folder!r}; expected a folder with YAML files in {home.parent}")
    return "\n".join(f"# {path.name}\n{path.read_text(encoding='utf-8')}" for path in files)


def _splits(config: Mapping[str, Any], rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """In-memory data sets for every split that the config names; nothing is written to a cache."""
    named = [config.get(f"{role}_split") for role in ("training", "validation", "test", "fewshot")]
    named.append((config.get("fewshot_config") or {}).get("split"))
    names = {*rows, *(str(name) for name in named if name)}
    return {split: _data_set(rows.get(split, ())) for split in names}


def _data_set(rows: Sequence[Row]) -> Any:
    """Rows as a data set of the library that lm-eval reads; one of that library's stays what it is."""
    from datasets import Dataset

    return rows if isinstance(rows, Dataset) else Dataset.from_list([dict(row) for row in rows])
