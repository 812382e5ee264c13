"""What becomes of a cell whose command ends, fails or is cancelled."""

import os
import signal
import time

import pytest
from harness_examples import by_command
from harness_examples.by_command import ByCommand

from harness.contracts import CellJob, HarnessError, Resources


def opened(folder, command):
    return ByCommand(Resources(folder / "study", workers=1, options={"command": command}))


def ended(executor, handle):
    """The first state that is not `running`; a process of these tests takes far less than ten seconds."""
    for _ in range(200):
        state = executor.poll([handle])[handle]
        if state.phase != "running":
            return state
        time.sleep(0.05)
    raise AssertionError(f"{handle} is still running")


@pytest.fixture
def job(tmp_path):
    return CellJob("0123456789abcdef", tmp_path / "cell.json", tmp_path / "runs")


def test_a_program_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(HarnessError, match="no program 'no_such_program'"):
        opened(tmp_path, "no_such_program --fast")


def test_a_cell_that_fails_is_lost_and_says_what_its_process_wrote_last(tmp_path, job):
    executor = opened(tmp_path, "sh -c 'echo no node is free >&2; exit 1'")
    state = ended(executor, executor.submit(job))
    assert state.phase == "lost"
    assert state.note == "its process ended with status 1: no node is free"
    assert executor.room(job), "the place of a cell that was lost is free again"


def test_there_is_room_for_as_many_cells_as_the_study_allows(tmp_path, job):
    executor = opened(tmp_path, "sh -c 'sleep 60'")
    try:
        assert executor.room(job)
        executor.submit(job)
        assert not executor.room(job)
    finally:
        executor.close()


def test_a_cell_that_is_cancelled_ends_with_everything_that_it_started(tmp_path, job, monkeypatch):
    monkeypatch.setattr(by_command, "GRACE", 0.2)
    executor = opened(tmp_path, "sh")
    executor.command = ["sh", "-c", f"trap '' TERM; sleep 60 & echo $! > {tmp_path}/child; wait; sleep 60"]
    handle = executor.submit(job)
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text().strip():
        time.sleep(0.05)
    child = int((tmp_path / "child").read_text())
    executor.cancel(handle)
    assert executor.poll([handle])[handle].phase == "lost"
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(child, signal.SIG_DFL)  # 0 sends nothing and asks whether it is there
            time.sleep(0.05)
