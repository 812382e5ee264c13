"""The process that fits are forked from: a copy of a worker that holds nothing of it and ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="what a process holds is read from /proc"),
]

PARENT = """
import os, sys, time
from multiprocessing import forkserver
from pathlib import Path
from harness.run import nursery

nursery.IMPORTED = ("json", "no_such_library")
own = open(sys.argv[1], "w")
nursery.warm_up()
server = forkserver._forkserver._forkserver_pid
until = time.monotonic() + 10
held = True
while held and time.monotonic() < until:
    try:
        held = sys.argv[1] in [os.readlink(one) for one in Path(f"/proc/{server}/fd").iterdir()]
    except FileNotFoundError:  # it was closed between being listed and being read
        pass
print(server, held, Path(f"/proc/{server}/cmdline").read_bytes() == Path("/proc/self/cmdline").read_bytes())
"""


def test_it_is_a_copy_that_holds_none_of_its_parents_files_and_ends_with_it(tmp_path: Path) -> None:
    words = [sys.executable, "-c", PARENT, str(tmp_path / "own")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    server, held, copy = done.stdout.split()
    assert (held, copy) == ("False", "True")
    until = time.monotonic() + 10
    while Path(f"/proc/{server}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{server}").exists(), "it outlives its parent"


ASKING = """
import sys
from pathlib import Path
from harness.run import nursery
from harness.run.launch import run_process

nursery.IMPORTED = ("killed_at_once",)
folder = Path(sys.argv[1])
with (folder / "lock").open("w") as lock:
    words = [sys.executable, "-m", "harness.run.worker", str(folder)]
    print(run_process(words, folder, lock.fileno(), print, forked=True), (folder / "killed").read_text())
"""
KILLED = """
import os
from pathlib import Path

with (Path(__file__).parent / "killed").open("a") as log:
    log.write("x")
os.kill(os.getpid(), 9)
"""


def test_a_fit_whose_server_is_killed_each_time_was_killed_itself(tmp_path: Path) -> None:
    """Memory may run out while the server imports: the fit is started again, as one that was killed, not failed."""
    (tmp_path / "killed_at_once.py").write_text(KILLED)
    done = subprocess.run(
        [sys.executable, "-c", ASKING, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["-9", "xxx"]
