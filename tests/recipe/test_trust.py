"""A store in which something changed: what does not verify is named and computed again, with the same result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.config import PRESETS, Lora, RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import HarnessError, Lengths
from harness.contracts.progress import Silent
from harness.plugins.registry import Registry, load
from harness.records.provenance import code
from harness.records.schema import Record
from harness.records.seals import write_sealed
from harness.records.store import Store
from harness.run.engine import run
from harness.run.plan import make_plan, thread_count

pytestmark = pytest.mark.recipe

SMALL: dict[str, Any] = {
    "aligner": "sft",
    "task": "medqa",
    "data": "sample",
    "limit": 4,
    "budget": PRESETS["8"].model_copy(update={"min_steps": 2, "prompts": 4}),
    "lengths": Lengths(prompt=96, completion=32, new_tokens=24, sample_prompts=2),
    "lora": Lora(r=4, alpha=8),
}


class Told(Silent):
    """Keeps what it is told, and does something when a stage begins."""

    def __init__(self, stage: Callable[[], object] = lambda: None) -> None:
        self.lines: list[str] = []
        self.begun = stage

    def note(self, line: str) -> None:
        self.lines.append(line)

    def stage(self, name: str, total: int | None = None) -> None:
        if name == "load the model":
            self.begun()


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(plugins=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> tuple[Path, Record]:
    """A model, a store with a finished cell of `sft` and its base, and the cell's record."""
    folder = tmp_path_factory.mktemp("world")
    tiny_folder(folder / "tiny")
    record = run(RunConfig(**SMALL, model=str(folder / "tiny"), store=folder / "store"), registry=registry)
    assert record.status == "ok"
    return folder, record


@pytest.fixture
def cell(world: tuple[Path, Record], tmp_path: Path) -> tuple[RunConfig, Record]:
    """The same in a copy, for a test to damage."""
    folder, record = world
    shutil.copytree(folder, tmp_path / "world")
    config = RunConfig(**SMALL, model=str(tmp_path / "world" / "tiny"), store=tmp_path / "world" / "store")
    return config, record


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


def edit(path: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = False) -> None:
    value = json.loads(path.read_text())
    change(value)
    if seal:
        write_sealed(path, value)
    else:
        path.write_text(json.dumps(value))


def same(one: Record, other: Record) -> bool:
    """Whether two records say the same but for times."""
    return (one.id, one.scores, one.aligner.adapter_hash) == (other.id, other.scores, other.aligner.adapter_hash)


def test_a_cell_that_begins_as_another_did_takes_its_first_phase_over(
    cell: tuple[RunConfig, Record], registry: Registry
) -> None:
    """GEM without a phase of its own is `sft`; the whole way through the fitting process."""
    config, record = cell
    told = Told()
    other = config.model_copy(update={"aligner": "gem", "aligner_config": {"optimise": "none"}})
    found = run(other, registry=registry, observer=told)
    assert any("its first phase is taken over" in line for line in told.lines)
    assert found.aligner.adapter_hash == record.aligner.adapter_hash
    assert found.spent.flops == record.spent.flops
    assert found.spent.peak_memory_bytes >= record.spent.peak_memory_bytes / 2
    assert found.spent.seconds.fit > record.spent.seconds.fit / 2


def test_a_record_names_everything_and_its_adapter_is_a_copy(
    cell: tuple[RunConfig, Record], registry: Registry
) -> None:
    config, record = cell
    files = record.manifest.files
    assert {"samples.parquet", "log.jsonl", "adapter/adapter_model.safetensors"} <= set(files)
    assert set(record.manifest.compared) == {"base"}
    plan = make_plan(config, registry, Silent())
    assert record.manifest.decisive == plan.decisive
    name = "adapter_model.safetensors"
    fitted, published = (Store(config.store).fit_dir(plan.fit_id) / "result", config.store / record.id / "adapter")
    assert (fitted / name).read_bytes() == (published / name).read_bytes()
    assert (published / name).stat().st_nlink == 1
    told = Told()
    assert run(config, registry=registry, observer=told) == record
    assert told.lines[-1] == f"run {record.id} (sft on medqa, seed 0) exists already"


RECORD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a better score": (
        lambda f: edit(f / "record.json", lambda v: v["scores"]["acc"].update(mean=1.0)),
        "record.json is not what was written",
    ),
    "no seal": (lambda f: edit(f / "record.json", lambda v: v.pop("seal")), "record.json has no seal"),
    "another id": (
        lambda f: edit(f / "record.json", lambda v: v.update(id="0" * 16), seal=True),
        "record.json is of run 0000000000000000",
    ),
    "another format": (
        lambda f: edit(f / "record.json", lambda v: v["manifest"].update(format=1), seal=True),
        "record.json was written by another version of harness (it has format 1, and this version reads format 2)",
    ),
    "half a record": (lambda f: (f / "record.json").write_text('{"id": '), "record.json is not valid JSON"),
    "other samples": (lambda f: flip(f / "samples.parquet"), "samples.parquet is not what was written"),
    "no samples": (lambda f: (f / "samples.parquet").unlink(), "samples.parquet is missing"),
    "another published adapter": (
        lambda f: flip(f / "adapter" / "adapter_model.safetensors"),
        "adapter/adapter_model.safetensors is not what was written",
    ),
    "a file that nobody wrote": (lambda f: (f / "extra.txt").write_text("x"), "extra.txt is no file of it"),
    "another library then": (
        lambda f: edit(
            f / "record.json", lambda v: v["manifest"]["decisive"]["fit"]["libraries"].update(torch="1.0"), seal=True
        ),
        "came of something else (fit.libraries.torch: 1.0 -> ",
    ),
    "another base then": (
        lambda f: edit(
            f / "record.json", lambda v: v["manifest"]["compared"]["base"].update(samples="0"), seal=True
        ),
        "came of something else (base.samples: 0 -> ",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), RECORD.values(), ids=RECORD)
def test_a_record_that_is_not_believed_is_computed_again(
    cell: tuple[RunConfig, Record], registry: Registry, damage: Callable[[Path], object], said: str
) -> None:
    config, record = cell
    damage(config.store / record.id)
    told = Told()
    again = run(config, registry=registry, observer=told)
    assert same(again, record)
    assert any(said in line and line.endswith("it is computed again") for line in told.lines), told.lines
    assert Store(config.store).record(record.id) == again
    assert not any("fit" in line and "discarded" in line for line in told.lines)


def test_samples_of_the_base_model_are_verified_before_they_are_compared_with(
    cell: tuple[RunConfig, Record], registry: Registry
) -> None:
    config, record = cell
    base = record.manifest.compared["base"]["run"]
    flip(config.store / base / "samples.parquet")
    told = Told()
    assert run(config, registry=registry, observer=told) == record
    assert any(f"run {base}" in line and "it is computed again" in line for line in told.lines)


def test_a_fit_that_is_not_believed_is_done_again(cell: tuple[RunConfig, Record], registry: Registry) -> None:
    config, record = cell
    fits = Store(config.store).fit_dir(record.aligner.fit_id)
    flip(fits / "result" / "adapter_model.safetensors")
    told = Told()
    other = run(config.model_copy(update={"limit": 3}), registry=registry, observer=told)
    assert other.aligner.adapter_hash == record.aligner.adapter_hash
    assert any("result/adapter_model.safetensors is not what was written" in line for line in told.lines)


def test_what_an_interrupted_fit_left_and_is_damaged_is_discarded_and_done_again(
    cell: tuple[RunConfig, Record], registry: Registry
) -> None:
    config, record = cell
    folder = Store(config.store).fit_dir(record.aligner.fit_id)
    shutil.rmtree(folder)
    (folder / "work" / "phase-0").mkdir(parents=True)
    (folder / "work" / "phase-0" / "done.pt").write_bytes(b"another's")
    (folder / "starts.json").write_text("{")
    told = Told()
    other = run(config.model_copy(update={"limit": 3}), registry=registry, observer=told)
    assert other.aligner.adapter_hash == record.aligner.adapter_hash
    assert any("(done.pt is not what was written); it is discarded and done again" in line for line in told.lines)
    log = folder / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-2])
    told = Told()
    assert run(config, registry=registry, observer=told) == record, "a finished cell asks for no fit"
    again = run(config.model_copy(update={"limit": 2}), registry=registry, observer=told)
    assert again.aligner.adapter_hash == record.aligner.adapter_hash
    assert any("(log.jsonl is not what was written); it is discarded" in line for line in told.lines), told.lines


def test_weights_that_change_between_hash_and_load_are_refused(
    cell: tuple[RunConfig, Record], registry: Registry
) -> None:
    config, _ = cell
    weights = Path(config.model) / "model.safetensors"
    told = Told(lambda: flip(weights))
    with pytest.raises(HarnessError, match=r"changed in .* while it was loaded \(weights\)"):
        run(config.model_copy(update={"limit": 2}), registry=registry, observer=told)
    told = Told(lambda: (Path(config.model) / "chat_template.jinja").write_text("{{ messages }}"))
    with pytest.raises(HarnessError, match=r"\(chat_template\.jinja\)"):
        run(config.model_copy(update={"limit": 2}), registry=registry, observer=told)


def test_a_task_that_is_edited_between_two_cells_of_a_process_is_not_run_under_its_new_id(
    cell: tuple[RunConfig, Record], registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = cell
    for name in ("harness", "aligners", "tasks"):
        shutil.copytree(code.ROOT.parent / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "ROOT", tmp_path / "harness")
    assert run(config, registry=registry).status == "ok"
    with (tmp_path / "tasks" / "medqa.py").open("a") as file:
        file.write("EDITED = True\n")
    with pytest.raises(HarnessError, match="the code of task medqa changed while this process was at work; run again"):
        run(config, registry=registry)


def test_a_cell_goes_on_with_the_threads_that_it_was_begun_with(
    cell: tuple[RunConfig, Record], registry: Registry
) -> None:
    config, _ = cell
    config = config.model_copy(update={"limit": 2})
    plan = make_plan(config, registry, Silent())
    assert plan.machine.threads == thread_count()
    store, more = Store(config.store), thread_count() + 1
    store.begin(plan.start_id, more)
    told = Told()
    begun = make_plan(config, registry, told)
    assert begun.machine.threads == more
    assert begun.start_id == plan.start_id
    assert begun.run_id != plan.run_id
    assert any(f"begun with {more} threads" in line for line in told.lines)
    record = run(config, registry=registry)
    assert record.id == begun.run_id
    assert record.manifest.threads == more
    base = store.record(record.manifest.compared["base"]["run"])
    assert base is not None
    assert base.manifest.threads == more
    assert store.threads_of(plan.start_id) is None
    assert make_plan(config, registry, Silent()).run_id == plan.run_id
