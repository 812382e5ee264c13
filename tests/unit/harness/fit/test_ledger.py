"""What a fit counts goes back to a checkpoint as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.fit.journal import Journal
from harness.fit.ledger import Ledger
from harness.meter import Meter
from harness.util.checked import Damaged


def ledger(folder: Path) -> Ledger:
    return Ledger(Meter(), Journal(folder / "log.jsonl"))


def test_the_latest_figures_forget_the_oldest_and_survive_json(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    assert first.latest("margins", [0.1, -1 / 3], 3) == [0.1, -1 / 3]
    assert first.latest("margins", [], 3) == [0.1, -1 / 3]
    state = json.loads(json.dumps(first.state()))
    assert first.latest("margins", [2, 3], 3) == [-1 / 3, 2.0, 3.0]
    assert first.latest("others", [7], 3) == [7.0]
    resumed = ledger(tmp_path)
    resumed.restore(state)
    assert resumed.latest("margins", [], 3) == [0.1, -1 / 3], "what came after the checkpoint is about to be done again"


def test_sums_figures_and_the_log_go_back(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    first.tally({"a": 1.0})
    first.liveness(None, {"rate": 0.5})
    first.steps_before = 7
    first.journal.write("kept")
    state = json.loads(json.dumps(first.state()))
    first.tally({"a": 5.0})
    first.journal.write("forgotten")
    resumed = ledger(tmp_path)
    resumed.restore(state)
    assert resumed.tally({}) == {"a": 1.0}
    assert resumed.alive == {"rate": 0.5}
    assert resumed.steps_before == 7
    assert [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == ["kept"]


@pytest.mark.parametrize("damage", [lambda b: b.replace(b"kept", b"kepu"), lambda b: b[: len(b) // 3], lambda b: b""])
def test_a_log_that_is_not_what_was_written_is_not_gone_on_with(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    first = ledger(tmp_path)
    first.journal.write("kept")
    state = json.loads(json.dumps(first.state()))
    first.journal.write("forgotten")
    log = tmp_path / "log.jsonl"
    log.write_bytes(damage(log.read_bytes()))
    with pytest.raises(Damaged, match=r"log\.jsonl is not what was written"):
        ledger(tmp_path).restore(state)


def test_what_was_degenerate_before_a_checkpoint_is_so_after_it_and_nothing_else(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    sound = json.loads(json.dumps(first.state()))
    first.liveness("no reward differs", {})
    dead = json.loads(json.dumps(first.state()))
    resumed = ledger(tmp_path)
    resumed.restore(dead)
    assert resumed.degenerate == "no reward differs"
    resumed.restore(sound)
    assert resumed.degenerate is None
