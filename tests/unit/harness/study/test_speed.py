"""The speed of this machine: probed once for a model, kept, and corrected by records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.contracts import HarnessError
from harness.records.schema import Record
from harness.study import speed
from harness.study.speed import SPEEDS, learn, speed_here
from tests.unit.leaderboards.test_leaderboards import record

pytestmark = pytest.mark.core

PROBED = {"fit": 9e9, "evaluate": 8e9, "written": 3e9}


class Probe:
    """Finds the same speeds each time, and counts."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> dict[str, float]:
        self.made += 1
        return PROBED


def run(**changes: object) -> Record:
    return record("r1", "dpo", {}, {"spent.inference": {"flops": 4e11}, **changes})


def here(
    cache: Path, *known: Record, model: str = "0123456789abcdef", probe: Callable[[], dict[str, float]] | None = None
) -> speed.Speed:
    return speed_here(cache, "cpu", 2, model, known, probe=probe or (lambda: pytest.fail("nothing was to be probed")))


def test_a_machine_is_probed_once_for_each_model(tmp_path: Path) -> None:
    probe = Probe()
    first, again = here(tmp_path, probe=probe), here(tmp_path, probe=probe)
    assert first == again
    assert (first.fit, first.evaluate, first.written) == (9e9, 8e9, 3e9)
    assert probe.made == 1
    assert "probe" in first.basis
    here(tmp_path, model="other", probe=probe)
    assert probe.made == 2


def test_records_correct_what_is_kept_and_other_models_keep_the_probe(tmp_path: Path) -> None:
    here(tmp_path, probe=Probe())
    here(tmp_path, model="other", probe=Probe())
    learn(tmp_path, [run()])
    kept = here(tmp_path)
    assert (kept.fit, kept.evaluate) == (2.5e12 / 60, 4e11 / 20)
    assert kept.basis == "the speed that earlier studies saw here"
    assert here(tmp_path, model="other").fit == 9e9
    learn(tmp_path, [run(**{"spent.flops": 5e12})])
    assert here(tmp_path).fit == 5e12 / 60


def test_evaluations_that_write_answers_have_a_speed_of_their_own(tmp_path: Path) -> None:
    written = run(**{"spent.inference": {"flops": 1e11, "generated_tokens": 7}})
    assert here(tmp_path, run()).written == 4e11 / 20, "where no record says more"
    assert here(tmp_path, written).evaluate == 1e11 / 20
    both = here(tmp_path, run(), written)
    assert (both.evaluate, both.written) == (4e11 / 20, 1e11 / 20)
    learn(tmp_path, [run(), written])
    assert here(tmp_path) == speed.Speed(
        both.fit, both.evaluate, both.written, "the speed that earlier studies saw here"
    )


def test_records_of_the_store_come_first(tmp_path: Path) -> None:
    learn(tmp_path, [run()])
    found = here(tmp_path, run(**{"spent.flops": 1e12}))
    assert found.fit == 1e12 / 60
    assert found.basis == "the speed of a record of this model"


def test_a_gpu_that_nothing_was_run_on_has_an_assumed_speed(tmp_path: Path) -> None:
    found = speed_here(tmp_path, "cuda", 2, "0123456789abcdef", (), probe=lambda: pytest.fail("a GPU is not probed"))
    assert found.basis.startswith("an assumed speed of a GPU, 2e+13 FLOPs a second")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / SPEEDS).write_text('["no speeds"]')
    with pytest.raises(HarnessError, match=r"speeds.json holds no speeds"):
        here(tmp_path)
