"""A process of the local executor: `python -m harness.study.executors.worker DESCRIPTOR`.

It is told files of cells on standard input, one a line, and computes one after the other. Registry, model and libraries
stay loaded; fits are forked from a copy of it that has imported torch and the trainers and knows of no cell. It tells
on DESCRIPTOR, as JSON lines, what it does. When standard input ends, it ends at once (or, where it is still importing,
after that), and its whole process group with it: what counts is on disk.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contracts import HarnessError
from harness.contracts.progress import Silent
from harness.run.cell_files import CellEnd, read_cell, write_outcome
from harness.run.nursery import import_ahead, warm_up
from harness.study.cell import compute, open_session

if TYPE_CHECKING:
    from harness.run.session import Session


SCORING = ("harness.run.engine", "harness.lm.backends.hf")
"""What the process that scores imports before its first cell, beside what fits import."""


class Telling(Silent):
    """Tells the driver at which stage a cell is, and what the user should read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._alone = threading.Lock()

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins."""
        self.tell("stage", name)

    def note(self, line: str) -> None:
        """A line for the user."""
        self.tell("note", line)

    def tell(self, kind: str, text: str) -> None:
        """One event."""
        rest = (json.dumps([kind, text]) + "\n").encode()
        with self._alone:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


def serve(telling: Telling) -> None:
    """Compute what is told until the end."""
    files: queue.Queue[str] = queue.Queue()
    warm_up()
    threading.Thread(target=_listen, args=(files,), daemon=True).start()
    import_ahead(SCORING)
    session: Session | None = None
    while True:
        file = Path(files.get())
        try:
            cell = read_cell(file)
            os.environ["OMP_NUM_THREADS"] = str(cell.threads)
            if session is None:
                session = open_session(cell, telling, forks=True)
        except HarnessError as error:
            outcome = CellEnd(kind="refused", reason=str(error))
        else:
            outcome = compute(cell, session)
        write_outcome(file, outcome)
        telling.tell("ended", file.stem)


def _listen(files: queue.Queue[str]) -> None:
    rest = b""
    while chunk := os.read(0, 1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            files.put(line.decode())
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(3)


def main() -> None:
    """Serve until the driver goes away."""
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    serve(Telling(descriptor))


if __name__ == "__main__":
    main()
