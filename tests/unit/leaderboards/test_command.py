"""The command of a record asks for the cell that the record is of: parsed as `run` parses it, it gives its settings."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from harness.cli import app
from harness.cli.resolve import cells
from harness.cli.run import _options
from harness.config import RunConfig, budget_of
from harness.plugins.registry import Registry, load
from harness.records.schema import Record
from harness.records.verify import read_record
from leaderboards.command import command, words
from tests.unit.leaderboards.test_leaderboards import merged, record

pytestmark = pytest.mark.core
RECORDS = Path(__file__).parents[3] / "leaderboards/records"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(plugins=False)


def asked(typed: list[str], registry: Registry) -> RunConfig:
    """The one cell that a command asks for."""
    run: Any = typer.main.get_command(app)
    found = run.commands["run"].make_context("run", typed[typed.index("run") + 1 :])
    (config,) = cells(_options(found.params), registry)
    return config


def as_run(config: RunConfig, registry: Registry) -> dict[str, Any]:
    """A cell with every setting of its method, and data that are divided once said to be."""
    values = config.model_dump(mode="json", exclude={"store"})
    if config.outputs is None:
        values["aligner_config"] = registry.aligner(config.aligner).Config(**config.aligner_config).model_dump()
    return {**values, "folds": values["folds"] or 1}


@pytest.mark.parametrize("board", sorted(path.parent.name for path in RECORDS.glob("*/board.yaml")))
def test_the_command_of_every_published_record_gives_its_cell(board: str, registry: Registry) -> None:
    paths = sorted((RECORDS / board).glob("*/record.json"))
    assert paths
    for path in paths:
        one = read_record(path.parent)
        assert one is not None
        settings = one.manifest.settings
        data = f"PATH/{Path(settings['data']).name}" if "/" in settings["data"] else settings["data"]
        expected = RunConfig(**{**settings, "data": data, "device": "cpu", "fast_paths": "on"})
        assert as_run(asked(words(one), registry), registry) == as_run(expected, registry), path
        assert command(one).startswith("OMP_NUM_THREADS=1 "), "which is part of the run's id"


# ---------------------------------------------------------------- what no published record has


def recorded(config: RunConfig, *, settings: bool = True, **changes: Any) -> Record:
    """The record of a cell, as far as its command is made of it."""
    values = config.model_dump(mode="json", exclude={"store"})
    fields = {
        "aligner.changed": values["aligner_config"],
        "task.name": config.task,
        "budget": {**values["budget"], "profile": config.profile},
        "seed": {"draw": config.draw_seed, "training": config.seed},
        "model.name": config.model,
        "model.lora": values["lora"],
        "model.lengths": values["lengths"],
        "model.backend": config.backend,
        "data.pool": config.train_on or "medqa",
        "data.shuffled_labels": config.shuffle_labels,
        "data.fold": None if config.fold is None else {"index": config.fold, "of": config.folds},
        "manifest.settings": {**values, "folds": config.folds or 1} if settings else {},
        **{f"task.{name}": values[name] for name in ("limit", "num_fewshot", "generate", "judge", "baseline")},
    }
    return record("a", config.aligner, {}, {**fields, **changes})


LENGTHS = {"prompt": 64, "completion": 32, "new_tokens": 48, "sample_prompts": 2}
CELLS: dict[str, dict[str, Any]] = {
    "settings": {
        "aligner": "dpo",
        "aligner_config": {"beta": 0.2, "learning_rate": 1e-06, "preset": "ours"},
        "lora": {"r": 8, "targets": "attention"},
        "groups": {"unseen": 0.5},
        "checkpoint_steps": 2,
        "gradient_checkpointing": True,
        "processes": 2,
        "precision": "bf16",
        "fast_paths": "off",
    },
    "tuned": {"budget": budget_of({"preset": "2k", "tune": 3, "selection": "kfold"}, "here")},
    "capped": {"budget": budget_of({"preset": "40", "track": "labels+compute", "cap_flops": 2.5e12}, "here")},
    "the profile": {"profile": "cpu-demo", "limit": 24},
    "the profile, all items": {"profile": "cpu-demo", "limit": None, "num_fewshot": 2, "shuffle_labels": True},
    "judged": {"task": "alpaca_eval", "judge": "constant", "baseline": "0123456789abcdef", "generate": True},
    "another pool": {"task": "medqa", "train_on": "care_protocol", "seed": 7, "draw_seed": 3},
}


def cell(name: str) -> RunConfig:
    usual = {"aligner": "sft", "task": "medqa", "data": "sample", "device": "cpu", "lengths": LENGTHS}
    return RunConfig.model_validate({**usual, **CELLS[name]})


@pytest.mark.parametrize("name", CELLS)
def test_the_command_gives_the_cell(name: str, registry: Registry) -> None:
    assert as_run(asked(words(recorded(cell(name))), registry), registry) == as_run(cell(name), registry)


@pytest.mark.parametrize("name", ["tuned", "capped", "the profile, all items", "judged", "another pool"])
def test_the_command_of_a_record_that_kept_no_settings_gives_what_its_fields_say(name: str, registry: Registry) -> None:
    found = asked(words(recorded(cell(name), settings=False)), registry)
    said = {"train_on": cell(name).train_on or "medqa", "precision": "fp32"}
    assert as_run(found, registry) == as_run(cell(name).model_copy(update=said), registry)


def told(config: dict[str, Any], **changes: Any) -> list[str]:
    made = recorded(RunConfig(**{"aligner": "sft", "task": "preference", "lengths": LENGTHS, **config}))
    return words(
        Record.model_validate(merged(made.model_dump(), {k.replace("__", "."): v for k, v in changes.items()}))
    )


def after(option: str, typed: list[str]) -> str:
    return typed[typed.index(option) + 1]


DATA = {
    "sample": ("auto", "sample", "sample"),
    "the hub": ("auto", "hub GBaker/MedQA@ab12", "hub"),
    "own rows on the hub": ("hub:me/pairs:en", "hub me/pairs@ab12", "hub:me/pairs:en"),
    "a folder": ("/home/me/secret/data", "folder data", "PATH/data"),
    "a file": ("../secret/pairs.jsonl", "file pairs.jsonl", "PATH/pairs.jsonl"),
}


@pytest.mark.parametrize("name", DATA)
def test_a_place_is_named_and_not_where_it_was(name: str) -> None:
    given, source, expected = DATA[name]
    typed = told({"data": given}, data__source=source)
    assert after("--data", typed) == expected
    assert "secret" not in shlex.join(typed)
    own = name in ("own rows on the hub", "a folder", "a file")
    assert ("--folds" in typed) == own, "few rows of one's own are else divided in folds"


def test_folds_and_columns_and_files_are_asked_for(registry: Registry) -> None:
    config = {
        "data": "/home/me/pairs.csv",
        "columns": {"prompt": "question", "chosen": "better"},
        "split_file": "/home/me/held_out.txt",
        "accelerate_config": "/home/me/fsdp.yaml",
        "folds": 5,
        "fold": 0,
    }
    found = asked(told(config, data__source="file pairs.csv"), registry)
    assert (found.folds, found.fold, found.columns) == (5, 0, config["columns"])
    files = (found.data, str(found.split_file), str(found.accelerate_config))
    assert files == ("PATH/pairs.csv", "PATH/held_out.txt", "PATH/fsdp.yaml")


def test_outputs_of_a_file_and_a_model_of_a_folder_are_named() -> None:
    outputs = {"generator": "gpt", "file": "answers.json", "sha256": "ab"}
    named = {"generator": "gpt", "file": "ab"}
    typed = told({"aligner": "outputs", "aligner_config": named, "model": "/home/me/llama", "task": "alpaca_eval"},
                 outputs=outputs)  # fmt: skip
    assert after("--outputs", typed) == "PATH/answers.json"
    assert after("--model", typed) == "PATH/llama"
    assert "--aligner" not in typed
    assert "gpt" not in typed


def test_variables_that_are_part_of_an_id_stand_before_the_command() -> None:
    machine = {"threads": 2, "environment": {"KMP_INIT_AT_FORK": "FALSE", "MKL_CBWR": "AVX2 STRICT"}}
    made = recorded(cell("tuned"), **{"manifest.decisive": {"fit": {"machine": machine}}})
    assert command(made).startswith("OMP_NUM_THREADS=2 MKL_CBWR='AVX2 STRICT' python -m harness run --aligner sft "), (
        "what libraries set themselves is set again by them"
    )
