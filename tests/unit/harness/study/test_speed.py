"""The speed of this machine: probed once, kept, and corrected by records."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from harness.contracts import HarnessError
from harness.records.schema import Record
from harness.study import speed
from harness.study.speed import EVALUATE_SHARE, FIT_SHARE, SPEEDS, learn, speed_here
from tests.unit.leaderboards.test_leaderboards import record

pytestmark = pytest.mark.core


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads of every probe that was made; each finds 9e9 FLOPs a second."""
    made: list[int] = []
    monkeypatch.setattr(speed, "probe", lambda threads: made.append(threads) or 9e9)
    return made


def run(**changes: object) -> Record:
    return record("r1", "dpo", {}, {"spent.inference": {"flops": 4e11}, **changes})


def here(cache: Path, *known: Record, model: str = "0123456789abcdef") -> speed.Speed:
    return speed_here(cache, "cpu", 2, model, known)


def test_a_machine_is_probed_once(tmp_path: Path, probes: list[int]) -> None:
    first, again = here(tmp_path), here(tmp_path)
    assert first == again
    assert (first.fit, first.evaluate) == (9e9 * FIT_SHARE, 9e9 * EVALUATE_SHARE)
    assert probes == [2]
    assert "probe" in first.basis


def test_records_correct_what_is_kept_and_other_models_keep_the_probe(tmp_path: Path, probes: list[int]) -> None:
    here(tmp_path)
    learn(tmp_path, [run()])
    kept = here(tmp_path)
    assert (kept.fit, kept.evaluate) == (2.5e12 / 60, 4e11 / 20)
    assert kept.basis == "the speed that earlier studies saw here"
    assert here(tmp_path, model="other").fit == 9e9 * FIT_SHARE
    learn(tmp_path, [run(**{"spent.flops": 5e12})])
    assert here(tmp_path).fit == 5e12 / 60
    assert probes == [2]


def test_records_of_the_store_come_first(tmp_path: Path, probes: list[int]) -> None:
    learn(tmp_path, [run()])
    found = here(tmp_path, run(**{"spent.flops": 1e12}))
    assert found.fit == 1e12 / 60
    assert found.basis == "the speed of a record of this model"
    assert not probes


def test_a_gpu_that_nothing_was_run_on_has_an_assumed_speed(tmp_path: Path, probes: list[int]) -> None:
    found = speed_here(tmp_path, "cuda", 2, "0123456789abcdef", ())
    assert found.basis.startswith("an assumed speed of a GPU, 2e+13 FLOPs a second")
    assert not probes


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / SPEEDS).write_text('["no speeds"]')
    with pytest.raises(HarnessError, match=r"speeds.json holds no speeds"):
        here(tmp_path)


def test_the_probe_finds_a_speed_that_a_processor_can_have() -> None:
    pytest.importorskip("torch")
    assert 1e8 < speed.probe(1) < 1e15


def test_the_probe_does_not_count_the_time_that_others_have_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two looks at the clock an hour goes by, as on a machine that is lent to somebody else."""
    pytest.importorskip("torch")
    hours = itertools.count(step=3600.0)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(hours))
    monkeypatch.setattr(speed.time, "monotonic", lambda: next(hours))
    assert speed.probe(2) > 1e9
