"""What made a record: commit, package versions."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

DECISIVE = ("torch", "transformers", "trl", "peft", "lm-eval", "tokenizers", "numpy")
"""Libraries whose version can change a result: part of a fit's identity."""
LISTED = (
    *DECISIVE,
    *(
        "align-harness",
        "datasets",
        "accelerate",
        "pydantic",
        "pluggy",
        "scikit-learn",
        "alpaca-eval",
        "sentence-transformers",
        "vllm",
    ),
)


def git_state() -> tuple[str | None, bool | None]:
    """(commit, dirty) of the checkout that this package runs from; (None, None) when it is no checkout of ours."""
    here = Path(__file__).resolve().parents[2]
    top = _git(here, "rev-parse", "--show-toplevel")
    if top is None or not (Path(top) / "harness" / "contracts").is_dir():
        return None, None
    changed = _git(here, "status", "--porcelain", "--", "harness", "aligners", "tasks", "leaderboards")
    return _git(here, "rev-parse", "HEAD"), None if changed is None else bool(changed)


def _git(folder: Path, *arguments: str) -> str | None:
    words = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def version(distribution: str) -> str | None:
    """The installed version, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
