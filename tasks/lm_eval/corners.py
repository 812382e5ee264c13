"""What is used of lm-eval beside its public functions: the only module that a new release of it can break unseen.

`VERSIONS` is what this was written against; `check` says in one sentence which corner has moved. lm-eval is imported
inside functions.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from harness.contracts import HarnessError

VERSIONS = ">=0.4.12,<0.5"
"""Releases of lm-eval that have every corner where it is looked for."""
INCLUDE = "HARNESS_LM_EVAL_TASKS"
"""Names a folder of the user's own YAML tasks; lm-eval's command calls it --include_path."""
GROUPS = ("GROUP", "TAG")
"""Kinds of entries that stand for several tasks."""

Item = TypeVar("Item")


def check() -> None:
    """Raise HarnessError naming the first corner of the installed lm-eval that is not where it was."""
    moved = next((place for place, there in _CORNERS.items() if not there()), None)
    if moved is not None:
        raise HarnessError(
            f"lm-eval {metadata.version('lm-eval')} has no {moved}; a version {VERSIONS} was expected "
            "(tasks/lm_eval/corners.py names every such place)"
        )


def _has(module: str, *names: str) -> Callable[[], bool]:
    def there() -> bool:
        try:
            found = import_module(module)
        except ImportError:
            return False
        return all(hasattr(found, name) for name in names)

    return there


def _factory_has(*names: str) -> Callable[[], bool]:
    def there() -> bool:
        factory = getattr(manager("gsm8k"), "_factory", None)
        return all(hasattr(factory, name) for name in names)

    return there


_CORNERS: Mapping[str, Callable[[], bool]] = {
    "lm_eval.tasks._index.Kind": _has("lm_eval.tasks._index", "Kind"),
    "lm_eval.tasks._yaml_loader.load_yaml": _has("lm_eval.tasks._yaml_loader", "load_yaml"),
    "TaskManager._factory.build and ._load_full_config": _factory_has("build", "_load_full_config"),
    "lm_eval.api.registry.DEFAULT_METRIC_REGISTRY": _has("lm_eval.api.registry", "DEFAULT_METRIC_REGISTRY"),
    "stop sequences in lm_eval.models.utils": _has(
        "lm_eval.models.utils", "handle_stop_sequences", "normalize_gen_kwargs"
    ),
    "bar in lm_eval.api.model": _has("lm_eval.api.model", "tqdm"),
    "bar in lm_eval.api.task": _has("lm_eval.api.task", "tqdm"),
}


# ---------------------------------------------------------------- tasks


def task_home() -> Path:
    """lm-eval's folder of tasks, found without importing it. Raises HarnessError where it is not installed."""
    spec = find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise HarnessError("lm-eval is not installed; expected the package lm-eval beside align-harness")
    return Path(spec.origin).parent / "tasks"


def manager(folder: str | None) -> Any:
    """lm-eval's task manager; one folder is scanned in milliseconds, all (None) in seconds.

    Among all are those of the folder that the variable `INCLUDE` names. Raises HarnessError where there is none.
    """
    include = os.environ.get(INCLUDE) or None
    if folder is None and include is not None and not Path(include).is_dir():
        raise HarnessError(f"{include[:80]!r} is no folder; a folder with lm-eval's YAML tasks was expected")
    return _manager(folder, include if folder is None else None)


@cache
def _manager(folder: str | None, include: str | None) -> Any:
    from lm_eval.tasks import TaskManager

    if folder is None:
        return TaskManager(include_path=include)
    return TaskManager(include_path=task_home() / folder, include_defaults=False)


def full_config(tasks: Any, entry: Any) -> Mapping[str, Any]:
    """The whole configuration of an entry, what it includes and its functions with it."""
    config: Mapping[str, Any] = tasks._factory._load_full_config(entry)
    return config


def build(tasks: Any, entry: Any, overrides: Mapping[str, Any]) -> Any:
    """The task object of an entry, with some of its configuration replaced."""
    return tasks._factory.build(entry, overrides=dict(overrides), registry=tasks.task_index)


def is_group(entry: Any) -> bool:
    """Whether an entry stands for several tasks."""
    return entry.kind.name in GROUPS


def is_python(entry: Any) -> bool:
    """Whether an entry is a class with its own data, configured by no YAML file."""
    from lm_eval.tasks._index import Kind

    return bool(entry.kind is Kind.PY_TASK)


def plain_yaml(entry: Any) -> Mapping[str, Any]:
    """What an entry's YAML file says; its functions stay names, so nothing of the task's own is imported."""
    from lm_eval.tasks._yaml_loader import load_yaml

    found: Mapping[str, Any] = load_yaml(entry.yaml_path, resolve_func=False)
    return found


# ---------------------------------------------------------------- metrics and generation


def default_metrics(output_type: str) -> list[str]:
    """The metrics of a task that names none."""
    from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY

    return list(DEFAULT_METRIC_REGISTRY[output_type])


def generation(settings: Mapping[str, Any], new_tokens: int, end: str) -> dict[str, Any]:
    """A request's settings under lm-eval's full names, `until` ending with the end-of-text `end`."""
    from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

    wanted: dict[str, Any] = {**normalize_gen_kwargs(dict(settings), new_tokens)}
    wanted["until"] = handle_stop_sequences(wanted["until"], eos=end)
    return wanted


# ---------------------------------------------------------------- its manners


@contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval from logging and from drawing bars of its own: progress is the harness's to show."""
    import lm_eval.api.model as model_module
    import lm_eval.api.task as task_module

    logger = logging.getLogger("lm_eval")
    before = logger.level, model_module.tqdm, task_module.tqdm
    try:
        logger.setLevel(logging.ERROR)
        model_module.tqdm = task_module.tqdm = _no_bar
        yield
    finally:
        logger.setLevel(before[0])
        model_module.tqdm, task_module.tqdm = before[1:]


def _no_bar(items: Iterable[Item], **_: Any) -> Iterable[Item]:
    return items
