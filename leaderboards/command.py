"""The command that makes a record again, from what the record holds: the same code comes to the same id."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from harness.command import words_for
from harness.records.provenance import environment
from harness.records.schema import Record

PLACE = "PATH"
"""Stands in a command for where something lies on the machine of whoever gives it."""
FILES = ("split_file", "outputs", "accelerate_config")
"""Settings that are paths."""
PROGRAM = ("python", "-m", "harness", "run")


def command(record: Record) -> str:
    """The command in full, for a shell, with the variables that are part of the run's identity."""
    machine: Mapping[str, Any] = record.manifest.decisive.get("fit", {}).get("machine", {})
    threads = machine.get("threads", record.manifest.threads)
    variables = {"OMP_NUM_THREADS": str(threads), **environment(machine.get("environment", {}))}
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in variables.items()), shlex.join(words(record))])


def words(record: Record) -> list[str]:
    """The command's words. What the machine or the data decided, where `auto` was asked for, is named."""
    return [*PROGRAM, *words_for({**record.manifest.settings, **_stated(record), **_files(record)})]


def _stated(record: Record) -> dict[str, Any]:
    """What the record's own fields say of its cell; only settings that no field states are taken from those."""
    task, model, data, fold = record.task, record.model, record.data, record.data.fold
    asked, decisive = record.manifest.settings, record.manifest.decisive
    fast = decisive.get("fit", {}).get("machine", {}).get("fast_paths")
    return {
        "aligner": record.aligner.name,
        "aligner_config": record.aligner.changed,
        "task": task.name,
        "data": _data(record),
        "model": placed_model(model.name),
        "train_on": asked["train_on"] if asked else data.pool,
        "budget": record.budget.model_dump(mode="json", exclude={"profile"}),
        "lora": model.lora,
        "lengths": model.lengths,
        "device": model.device,
        "precision": asked["precision"] if asked else model.precision,
        "fast_paths": asked.get("fast_paths", "auto") if fast is None else "on" if fast else "off",
        "backend": model.backend,
        "seed": record.seed.training,
        "draw_seed": record.seed.draw,
        "shuffle_labels": data.shuffled_labels,
        "limit": task.limit,
        "num_fewshot": task.num_fewshot,
        "generate": task.generate,
        "judge": task.judge,
        "baseline": decisive.get("judgement", {}).get("baseline", task.baseline),
        "profile": record.budget.profile,
        "trust_remote_code": model.trust_remote_code,
        "folds": _folds(record) if fold is None else fold.of,
        "fold": None if fold is None else fold.index,
    }


def _folds(record: Record) -> int | None:
    """1 for somebody's own rows, which are else divided in folds where they are few."""
    own = _lay_here(record) or str(record.manifest.settings.get("data", "")).startswith("hub:")
    return 1 if own else None


def _data(record: Record) -> str:
    """What `--data` was: the sample, the hub, or a folder or file by its name."""
    kind, _, name = record.data.source.partition(" ")
    if _lay_here(record):
        return f"{PLACE}/{name}"
    asked = str(record.manifest.settings.get("data", kind))
    return asked if asked.startswith("hub:") else kind


def _lay_here(record: Record) -> bool:
    """Whether the data were a folder or a file of whoever made the record."""
    return record.data.source.startswith(("file ", "folder "))


# ---------------------------------------------------------------- where things lay


def without_places(record: Record) -> dict[str, Any]:
    """The record's settings with the name of each file and folder, and without where that was."""
    settings = dict(record.manifest.settings)
    known = {**_files(record), "model": placed_model(record.model.name)}
    if _lay_here(record):
        known["data"] = _data(record)
    return {**settings, **{name: value for name, value in known.items() if name in settings}}


def _files(record: Record) -> dict[str, str]:
    settings = record.manifest.settings
    named = {name: PurePath(settings[name]).name for name in FILES if settings.get(name) is not None}
    if record.outputs is not None:
        named["outputs"] = record.outputs.file
    return {name: f"{PLACE}/{file}" for name, file in named.items()}


def placed_model(name: str) -> str:
    """The name of a model, of one in a folder without where that was."""
    return f"{PLACE}/{PurePath(name).name}" if PurePath(name).is_absolute() or name.startswith((".", "~")) else name
