"""What a locale makes of file names, and a working folder that is gone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.contracts import HarnessError

UTF8_MODE = "PYTHONUTF8"


def speak_unicode() -> None:
    """Begin again in Python's UTF-8 mode where the locale (`LC_ALL=C`) cannot name every file; else do nothing.

    Records, configs and file names are UTF-8 whatever the locale; children inherit the mode.
    """
    if sys.getfilesystemencoding().lower().replace("-", "") == "utf8":
        return
    environment = {**os.environ, UTF8_MODE: "1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def refuse_nowhere() -> None:
    """Raise HarnessError where the working folder was deleted: libraries end the process there without a word."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise HarnessError("the working folder was deleted; change to another folder") from error
