"""Where the running code is from: a commit that holds it, or the installed files and the address they came from."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from harness.util.addresses import shown_address
from harness.util.hashes import content_hash, file_hash

DISTRIBUTION = "align-harness"
PACKAGES = ("harness", "aligners", "tasks", "leaderboards")


@dataclass(frozen=True, slots=True)
class Origin:
    """A commit (and whether files of ours differ from it), or the hash of the installed files and their address."""

    commit: str | None = None
    dirty: bool | None = None
    files: str | None = None
    """sha256 over every file of the four packages; None where a commit says the same."""
    url: str | None = None
    """What pip noted when it installed from elsewhere than an index, without secrets."""


def origin(file: Path = Path(__file__)) -> Origin:
    """Where the installation is from that `file`, one of ours, belongs to.

    A commit is named only when it holds this very file: a repository that an environment happens to lie in does not.
    """
    file = file.resolve()
    root = file.parents[3]
    if _git(file.parent, "cat-file", "-e", f"HEAD:./{file.name}") is None:
        return Origin(files=_installed(root), url=_address())
    changed = _git(root, "status", "--porcelain", "--", *(name for name in PACKAGES if (root / name).is_dir()))
    return Origin(_git(root, "rev-parse", "HEAD"), None if changed is None else bool(changed))


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says about a folder, deaf to the variables by which a hook points it at another repository."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    words = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _installed(root: Path) -> str:
    files = (path for name in PACKAGES for path in sorted((root / name).rglob("*")))
    kept = (path for path in files if path.is_file() and path.suffix != ".pyc")
    return content_hash({path.relative_to(root).as_posix(): file_hash(path) for path in kept})


def _address() -> str | None:
    """The address in `direct_url.json`, with the commit or hash that stands beside it."""
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        noted = json.loads(text) if text else {}
    except (metadata.PackageNotFoundError, ValueError):
        return None
    if not isinstance(noted, dict) or not noted.get("url"):
        return None
    plain = shown_address(str(noted["url"]))
    exact = noted.get("vcs_info", {}).get("commit_id") or noted.get("archive_info", {}).get("hash")
    return f"{plain}@{exact}" if exact else plain
