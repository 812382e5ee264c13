from __future__ import annotations

import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from harness.contracts import HarnessError, SampleRow
from harness.records.samples import read_samples, write_samples
from harness.records.seals import write_sealed
from harness.records.store import Store
from harness.util.files import read_json, storage, write_atomic, write_json
from harness.util.own_json import OtherVersion
from tests.unit.leaderboards.test_leaderboards import record

pytestmark = pytest.mark.core


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HarnessError, match="no space left"):
        write_atomic(path, b"half")
    assert read_json(path) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_store_below_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot write below"):
        write_json(tmp_path / "file" / "x" / "a.json", {})


def test_other_errors_pass() -> None:
    with pytest.raises(OSError, match="odd"), storage(Path()):
        raise OSError(errno.EIO, "odd")


def test_corrupt_json_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(HarnessError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")
    assert read_json(tmp_path / "none.json") is None


def test_samples_round_trip(tmp_path: Path) -> None:
    rows = [
        SampleRow("a", "u", {"acc": 1.0, "pref": 0.1 + 0.2}, {"gold": "B", "n": [1, 2]}),
        SampleRow("b", "u", {"acc": 0.0}, {}),
    ]
    write_samples(tmp_path / "s.parquet", rows)
    assert read_samples(tmp_path / "s.parquet") == rows


def test_corrupt_samples_are_named(tmp_path: Path) -> None:
    (tmp_path / "s.parquet").write_bytes(b"nonsense")
    with pytest.raises(HarnessError, match=r"s\.parquet"):
        read_samples(tmp_path / "s.parquet")


def test_every_file_is_on_the_disk_before_the_folder_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a machine that loses its power leaves empty files under right names."""
    fit = tmp_path / "fit"
    (fit / "result").mkdir(parents=True)
    (fit / "result" / "adapter_config.json").write_text("{}")
    (fit / "log.jsonl").write_text("{}\n")
    written: set[int] = set()
    late: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: written.add(os.fstat(handle).st_ino))
    rename = Path.rename

    def checked(self: Path, target: Path) -> Path:
        late.extend(path.name for path in (self, *self.rglob("*")) if path.stat().st_ino not in written)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", checked)
    made = Store(tmp_path / "runs").publish(record("gem-1", "gem", {}, {}), [SampleRow("a", "a", {"acc": 1.0})], fit)
    assert set(made.manifest.files) == {"samples.parquet", "log.jsonl", "adapter/adapter_config.json"}
    assert late == []


def test_a_whole_record_of_another_version_is_not_called_damaged(tmp_path: Path) -> None:
    write_sealed(tmp_path / "abc" / "record.json", {"id": "abc", "colour": "red"})
    with pytest.raises(OtherVersion, match="another version of harness") as caught:
        Store(tmp_path).record("abc")
    said = str(caught.value)
    assert said.startswith(f"run abc in {tmp_path} cannot be read: record.json was written by another version")
    assert "it lacks status" in said and said.endswith("compute the run again with this one")
    assert Store(tmp_path).record("none") is None


def test_a_record_whose_digest_fails_is_not_said_to_be_of_another_version(tmp_path: Path) -> None:
    write_json(tmp_path / "abc" / "record.json", {"id": "abc", "seal": "0" * 64})
    with pytest.raises(HarnessError, match=r"cannot be believed: record\.json is not what was written"):
        Store(tmp_path).record("abc")


def test_find_by_prefix(tmp_path: Path) -> None:
    for name in ("abc1", "abd2"):
        write_json(tmp_path / name / "record.json", {})
    store = Store(tmp_path)
    assert store.find("abc").name == "abc1"
    with pytest.raises(HarnessError, match="ambiguous"):
        store.find("ab")
    with pytest.raises(HarnessError, match="abc1"):
        store.find("x")


def _hold(root: str, ready: multiprocessing.synchronize.Event, go: multiprocessing.synchronize.Event) -> None:
    with Store(Path(root)).lock("cell", lambda: None):
        ready.set()
        go.wait(20)
        (Path(root) / "order.json").write_text(json.dumps(["first"]))


def test_two_processes_take_turns(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path), ready, go))
    holder.start()
    assert ready.wait(20)
    waited: list[bool] = []

    def waiting() -> None:
        waited.append(True)
        go.set()

    with Store(tmp_path).lock("cell", waiting):
        assert json.loads((tmp_path / "order.json").read_text()) == ["first"]
    holder.join(20)
    assert waited == [True]
