"""The process that fits, under attack: a third party's aligner misbehaves in it, and the record says how it ended."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.config import PRESETS, Lengths, Lora, RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import HarnessError
from harness.plugins.registry import Registry, load
from harness.records.schema import Record
from harness.records.store import Store
from harness.run.engine import run

pytestmark = pytest.mark.recipe

MISFIT = """
import json, os, subprocess, sys, time
from pathlib import Path
from typing import Any, ClassVar
from pydantic import BaseModel, ConfigDict
from harness.contracts import Aligned, BudgetExceeded, HarnessError, user
from harness.hookspecs import hookimpl


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    how: str = "honest"


class Misfit:
    name, paper, version, Config = "misfit", "", "1", Config
    requires, accepts = frozenset({"pairs"}), frozenset({"verifier"})

    def __init__(self, config):
        self.config = config

    def fit(self, bench, few_shot):
        getattr(self, self.config.how)(bench, few_shot)
        return bench.aligned()

    def honest(self, bench, few_shot):
        pass

    def raises(self, bench, few_shot):
        raise ValueError("the rate is\\n  not a rate: " + "9" * 2000)

    def exits(self, bench, few_shot):
        sys.exit(0)

    def vanishes(self, bench, few_shot):
        os._exit(0)

    def killed(self, bench, few_shot):
        os.kill(os.getpid(), 9)

    def refuses(self, bench, few_shot):
        raise HarnessError("aligner misfit wants nothing of this")

    def prints(self, bench, few_shot):
        for line in (b'["note", "forged"]', b'{"status": "ok"}', b"7"):
            os.write(1, line + b"\\n")

    def leaves_a_child(self, bench, few_shot):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        bench.log("child", pid=child.pid)

    def goes_on(self, bench, few_shot):
        for _ in range(6):
            try:
                bench.score([user("a question")], [["an answer"]])
            except BudgetExceeded:
                pass

    def forges(self, bench, few_shot):
        bench.score([user("a question")], [["an answer"]])
        for attempt in (lambda: bench.spend(-1e18), lambda: setattr(bench.meter.spend, "flops", 0.0)):
            try:
                attempt()
            except (ValueError, AttributeError):
                pass

    def looks_around(self, bench, few_shot):
        told = (bench.workdir.parent / "job.json").read_text()
        bench.log("told", job=told, environment=json.dumps(dict(os.environ)))


@hookimpl
def harness_aligners():
    return [Misfit]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the plug-in as an installed distribution, which this process and its children find."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "misfit.py").write_text(MISFIT)
    notes = folder / "misfit-0.1.dist-info"
    notes.mkdir()
    (notes / "METADATA").write_text("Metadata-Version: 2.1\nName: misfit\nVersion: 0.1\n")
    (notes / "entry_points.txt").write_text("[harness]\nmisfit = misfit\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder))
        yield folder


@pytest.fixture(scope="module")
def registry(site: Path) -> Registry:
    return load(allow={"misfit"})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: base is scored once."""
    return tmp_path_factory.mktemp("store")


def cell(model: str, store: Path, how: str, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "aligner": "misfit",
        "aligner_config": {"how": how},
        "task": "medqa",
        "data": "sample",
        "limit": 2,
        "budget": PRESETS["8"].model_copy(update={"min_steps": 2, "prompts": 2}),
        "lengths": Lengths(prompt=64, completion=16, new_tokens=8, sample_prompts=2),
        "lora": Lora(r=2, alpha=4),
        "model": model,
        "store": store,
    }
    return RunConfig(**{**settings, **changes})


def events(record: Record, store: Path) -> dict[str, dict[str, Any]]:
    lines = (store / record.id / "log.jsonl").read_text().splitlines()
    return {event["event"]: event for event in map(json.loads, lines)}


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raises", "fit of misfit: ValueError: the rate is not a rate: 999"),
        ("exits", "fit of misfit: SystemExit: 0"),
        ("vanishes", "fit of misfit: the process ended by itself before the fit was done"),
        ("killed", "fit of misfit: killed by signal 9 (SIGKILL); the machine may have run out of memory"),
    ],
)
def test_the_record_says_in_the_exceptions_own_words_why_a_fit_failed(
    how: str, reason: str, model: str, store: Path, registry: Registry
) -> None:
    record = run(cell(model, store, how), registry=registry)
    assert record.status == "failed"
    assert (record.reason or "").startswith(reason)
    assert len(record.reason or "") < 400


def test_an_input_that_the_fit_refuses_is_the_users_mistake(model: str, store: Path, registry: Registry) -> None:
    with pytest.raises(HarnessError, match=r"^aligner misfit wants nothing of this$"):
        run(cell(model, store, "refuses"), registry=registry)


def test_what_a_fit_prints_is_no_event_and_fails_nothing(model: str, store: Path, registry: Registry) -> None:
    notes: list[str] = []

    class Watching:
        def stage(self, *_: Any) -> None: ...
        def advance(self, *_: Any, **__: Any) -> None: ...
        def note(self, line: str) -> None:
            notes.append(line)

    record = run(cell(model, store, "prints"), registry=registry, observer=Watching())
    assert record.status == "ok"
    assert "forged" not in notes


@pytest.mark.usefixtures("fresh_processes")
def test_a_child_that_a_fit_leaves_is_ended_and_keeps_nobody_waiting(
    model: str, store: Path, registry: Registry
) -> None:
    began = time.monotonic()
    record = run(cell(model, store, "leaves_a_child"), registry=registry)
    assert (record.status, time.monotonic() - began < 300) == ("ok", True)
    pid = events(record, store)["child"]["pid"]
    state = Path(f"/proc/{pid}/stat")
    time.sleep(0.5)
    assert not state.exists() or ") Z" in state.read_text()


def test_a_fit_that_goes_on_after_the_cap_says_so_and_computes_nothing_more(
    model: str, store: Path, registry: Registry
) -> None:
    free = run(cell(model, store, "goes_on"), registry=registry)
    once = free.spent.flops / 6
    budget = PRESETS["8"].model_copy(update={"track": "labels+compute", "cap_flops": 1.5 * once})
    record = run(cell(model, store, "goes_on", budget=budget), registry=registry)
    assert record.status == "over_cap"
    assert "went on after the cap on compute: 4 more pieces of work were refused" in (record.reason or "")
    assert 1.5 * once < record.spent.flops <= 2 * once + 1


def test_a_meter_takes_nothing_back(model: str, store: Path, registry: Registry) -> None:
    record = run(cell(model, store, "forges"), registry=registry)
    assert record.status == "ok"
    assert record.spent.flops > 0


@pytest.mark.usefixtures("fresh_processes")
def test_a_fit_is_told_neither_where_the_data_nor_where_other_cells_are(
    model: str, store: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
    for name, value in {**launched, "ACCELERATE_USE_DEEPSPEED": "true"}.items():
        monkeypatch.setenv(name, value)
    record = run(cell(model, store, "looks_around"), registry=registry)
    assert record.status == "ok"
    seen = events(record, store)["told"]
    assert not {*launched, "ACCELERATE_USE_DEEPSPEED"} & set(json.loads(seen["environment"]))
    told = json.loads(seen["job"])
    assert str(store) not in seen["job"]
    assert not {"store", "data", "task", "pool"} & set(told)
    drawn = {item["id"] for part in ("pairs", "prompts") for item in told["few_shot"][part]}
    assert set(told["few_shot"]["verifier"]["gold"]) == drawn, "what is right for other prompts is not there"


@pytest.mark.usefixtures("fresh_processes")
def test_a_worker_that_was_killed_while_it_imported_is_counted(
    model: str, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os, sys\nif '-m' in sys.orig_argv and 'harness.run.worker' in sys.orig_argv: os.kill(os.getpid(), 9)\n"
    )
    outside = os.environ["PYTHONPATH"]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{outside}")
    config = cell(model, tmp_path / "store", "honest")
    assert "killed by signal 9" in (run(config, registry=registry).reason or "")
    monkeypatch.setenv("PYTHONPATH", outside)
    record = run(config, registry=registry)
    assert record.status == "ok"
    assert record.spent.lost.restarts == 1
    assert record.spent.lost.seconds > 0


def test_the_log_of_a_start_that_left_no_whole_checkpoint_is_forgotten(
    model: str, tmp_path: Path, registry: Registry
) -> None:
    """The first start is killed after it logged and wrote a file that nothing can go on from."""
    from harness.contracts.progress import Silent
    from harness.run.plan import make_plan

    config = cell(model, tmp_path, "looks_around")
    folder = Store(tmp_path).fit_dir(make_plan(config, registry, Silent()).fit_id)
    (folder / "work" / "phase-0" / "checkpoint-2").mkdir(parents=True)
    (folder / "work" / "phase-0" / "checkpoint-2" / "bench.pt").write_bytes(b"half")
    (folder / "log.jsonl").write_text('{"time": 1.0, "event": "train", "step": 1}\n')
    record = run(config, registry=registry)
    assert set(events(record, tmp_path)) == {"told"}
