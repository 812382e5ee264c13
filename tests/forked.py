"""Tests fork their fits from a process that has imported torch, as the workers of a study do.

Tests of what that does not show (a fresh interpreter that starts, finds what it imports, and orders its sets by another
hash seed) use the fixture `fresh_processes`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from harness.run.nursery import ForkedWorker


class Processes:
    """Stands for the module `subprocess` in `harness.run.launch`: workers are forked, all else is started as ever."""

    PIPE = subprocess.PIPE

    @staticmethod
    def Popen(words: Sequence[str], **options: Any) -> Any:
        if list(words[:3]) != [sys.executable, "-m", "harness.run.worker"]:
            return subprocess.Popen(words, **options)
        assert (options["stdin"], options["process_group"]) == (subprocess.PIPE, 0)
        return ForkedWorker(words, **{name: options[name] for name in ("stdout", "env", "pass_fds")})
