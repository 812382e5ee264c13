"""An evaluation-first benchmark for few-shot preference alignment.

Importing this package loads nothing else; see `harness.contracts` for what plug-ins implement.
"""

import os as _os
import sys as _sys

__version__ = "0.1.0"


def _leave_working_folder() -> None:
    """Take the working folder off the import path, so that a `tasks.py` or a plug-in's folder there shadows nothing.

    `python -m harness...` puts it first. Done in the package itself, for this is the first code of ours that runs, and
    in such a process alone; where the package is imported from the working folder, that folder stays.
    """
    if _sys.argv[:1] != ["-m"] or _sys.flags.safe_path or _module_that_runs().partition(".")[0] != __name__:
        return
    try:
        here = _os.path.realpath(_os.curdir)
    except FileNotFoundError:  # a working folder that somebody deleted holds nothing that could shadow
        return
    home = _os.path.dirname(_os.path.dirname(_os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    if here == _os.path.realpath(home):
        return
    del _sys.path[0]
    named = _os.environ.get("PYTHONPATH", "").split(_os.pathsep)
    if here not in (_os.path.realpath(entry) for entry in named if _os.path.isabs(entry)):  # noqa: PTH117
        # An empty entry (`PYTHONPATH=folder:`) means the working folder, too, and nobody means it.
        _sys.path[:] = [entry for entry in _sys.path if _os.path.realpath(entry or _os.curdir) != here]


def _module_that_runs() -> str:
    """What stands behind `-m` on Python's command line."""
    for place, argument in enumerate(_sys.orig_argv[1:], start=2):
        if argument.startswith("-") and not argument.startswith("--") and "m" in argument:
            return argument.partition("m")[2] or _sys.orig_argv[place]
    return ""


_leave_working_folder()
