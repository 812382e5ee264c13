"""One process at a time, with `flock` and without."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.util import locks

pytestmark = pytest.mark.core

HOLDER = """
import sys, pathlib
from harness.util.locks import held
with held(pathlib.Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    sys.stdin.readline()
"""


def never() -> None:
    raise AssertionError("nobody else holds the lock")


def without_flock(*_: object, **__: object) -> bool:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@pytest.fixture(params=["flock", "no flock"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "no flock":
        monkeypatch.setattr(locks, "lock_descriptor", without_flock)
    return str(request.param)


def test_a_free_lock_is_held_and_given_back(way: str, tmp_path: Path) -> None:
    for _ in range(2):
        if way == "flock":
            with locks.held(tmp_path / "cell", never) as descriptor:
                os.fstat(descriptor)
        else:
            with pytest.warns(UserWarning, match="has no locks"), locks.held(tmp_path / "cell", never) as descriptor:
                os.fstat(descriptor)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_second_waits_for_the_first_and_says_so_once(way: str, tmp_path: Path) -> None:
    said: list[str] = []
    entered = threading.Event()

    def second() -> None:
        with locks.held(tmp_path / "cell", lambda: said.append("waits")):
            entered.set()

    with locks.held(tmp_path / "cell", never):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.3)
    thread.join(10)
    assert entered.is_set()
    assert said == ["waits"]


def test_a_process_that_dies_leaves_no_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "cell")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said: list[str] = []
        threading.Timer(0.3, holder.kill).start()
        with locks.held(tmp_path / "cell", lambda: said.append("waits")):
            assert said == ["waits"]


def test_another_error_of_the_file_system_is_no_missing_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> bool:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(locks, "lock_descriptor", full)
    with pytest.raises(OSError, match="full"), locks.held(tmp_path / "cell", never):
        pass
