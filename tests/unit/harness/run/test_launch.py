"""A process is started, listened to and ended with everything that it left behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.run.launch import FIXED, GRACE, environment, parse, run_process

pytestmark = pytest.mark.core

TELLS = "import json, os, sys, subprocess, time, signal; events = int(sys.argv[-1]); "


def start(tmp_path: Path, code: str) -> tuple[int, list[tuple[str, list[Any]]]]:
    heard: list[tuple[str, list[Any]]] = []
    with (tmp_path / "lock").open("w") as lock:
        status = run_process(
            [sys.executable, "-c", TELLS + code], tmp_path, lock.fileno(), lambda *event: heard.append(event)
        )
    return status, heard


def test_events_come_by_a_descriptor_of_their_own_and_output_is_no_event(tmp_path: Path) -> None:
    code = """os.write(events, b'["note", "heard"]\\n'); os.write(1, b'["note", "printed"]\\n{"a": 1}\\n7\\n')"""
    status, heard = start(tmp_path, code)
    assert (status, heard) == (0, [("note", ["heard"])])
    assert '["note", "printed"]' in (tmp_path / "stderr.log").read_text()


@pytest.mark.parametrize(
    "line", [b"", b"7", b"{}", b"[]", b"null", b"[1, 2]", b'["note"]', b'["run", "x"]', b'[["note"], 1]', b"\xff", b"]"]
)
def test_foreign_lines_are_no_events(line: bytes) -> None:
    assert parse(line) is None
    assert parse(b'["advance", 1, 2]') == ("advance", [1, 2])


def test_an_event_may_come_in_parts_and_a_flood_of_foreign_bytes_is_passed_over(tmp_path: Path) -> None:
    code = (
        "os.write(events, b'x' * 3_000_000 + b'\\n'); os.write(events, b'[\"note\", '); time.sleep(0.1); "
        "os.write(events, b'\"whole\"]\\n')"
    )
    assert start(tmp_path, code) == (0, [("note", ["whole"])])


def test_a_child_that_was_left_behind_keeps_nobody_waiting_and_is_ended(tmp_path: Path) -> None:
    code = (
        "os.set_inheritable(events, True); "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], close_fds=False); "
        "os.write(events, json.dumps(['note', str(child.pid)]).encode() + b'\\n')"
    )
    began = time.monotonic()
    status, heard = start(tmp_path, code)
    assert status == 0
    assert time.monotonic() - began < 60
    (pid,) = (int(arguments[0]) for _, arguments in heard)
    assert gone(pid)


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if b"Z" in Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2][:3]:
            return True
        time.sleep(0.05)
    return False


def test_whatever_stops_the_listener_ends_the_process(tmp_path: Path) -> None:
    told: list[int] = []

    def hear(kind: str, arguments: list[Any]) -> None:
        told.append(int(arguments[0]))
        raise KeyboardInterrupt

    code = TELLS + "os.write(events, json.dumps(['note', str(os.getpid())]).encode() + b'\\n'); time.sleep(600)"
    with (tmp_path / "lock").open("w") as lock, pytest.raises(KeyboardInterrupt):
        run_process([sys.executable, "-c", code], tmp_path, lock.fileno(), hear)
    assert gone(told[0])


def test_an_interrupted_process_may_save_before_it_ends(tmp_path: Path) -> None:
    def hear(kind: str, arguments: list[Any]) -> None:
        raise KeyboardInterrupt

    saves = f"signal.signal(signal.SIGINT, lambda *_: (open({str(tmp_path / 'saved')!r}, 'w').close(), sys.exit()));"
    code = TELLS + saves + "os.write(events, json.dumps(['note', 'ready']).encode() + b'\\n'); time.sleep(600)"
    with (tmp_path / "lock").open("w") as lock, pytest.raises(KeyboardInterrupt):
        run_process([sys.executable, "-c", code], tmp_path, lock.fileno(), hear)
    assert (tmp_path / "saved").exists()


def test_a_process_that_does_not_leave_is_killed_within_three_seconds(tmp_path: Path) -> None:
    told: list[int] = []

    def hear(kind: str, arguments: list[Any]) -> None:
        told.append(int(arguments[0]))
        raise KeyboardInterrupt

    deaf = "signal.signal(signal.SIGINT, signal.SIG_IGN);"
    code = TELLS + deaf + "os.write(events, json.dumps(['note', str(os.getpid())]).encode() + b'\\n'); time.sleep(600)"
    assert GRACE < 3
    with (tmp_path / "lock").open("w") as lock, pytest.raises(KeyboardInterrupt):
        run_process([sys.executable, "-c", code], tmp_path, lock.fileno(), hear)
    assert gone(told[0])


def test_the_status_says_which_signal_ended_it(tmp_path: Path) -> None:
    assert start(tmp_path, "os.kill(os.getpid(), signal.SIGTERM)")[0] == -signal.SIGTERM
    assert start(tmp_path, "sys.exit(7)")[0] == 7


def test_what_launchers_set_does_not_reach_the_child() -> None:
    launched = {"RANK": "0", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    prefixed = {
        "ACCELERATE_USE_DEEPSPEED": "true",
        "TORCHELASTIC_RUN_ID": "x",
        "OMPI_COMM_WORLD_RANK": "1",
        "PET_NPROC_PER_NODE": "2",
    }
    kept = {"PATH": "/bin", "OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "1", "HF_HOME": "/h"}
    assert environment({**launched, **prefixed, **kept}) == {**kept, **FIXED}
