"""What a locale makes of file names."""

from __future__ import annotations

import os
import sys

UTF8_MODE = "PYTHONUTF8"


def speak_unicode() -> None:
    """Begin again in Python's UTF-8 mode where the locale (`LC_ALL=C`) cannot name every file; else do nothing.

    Records, configs and file names are UTF-8 whatever the locale; children inherit the mode.
    """
    if sys.getfilesystemencoding().lower().replace("-", "") == "utf8":
        return
    environment = {**os.environ, UTF8_MODE: "1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
