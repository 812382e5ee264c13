"""The tokenizer of a model without its weights: for whoever only wants to count tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError, ModelSource, NotHere
from harness.models.find import HUB_ID, cached_folder, resolve
from harness.models.load import complete, load_tokenizer
from harness.models.wheels import ModelFiles, quietly

PATTERNS = ("*.json", "*.jinja", "*.model", "*.txt")
"""Files of a hub model that its tokenizer consists of."""


def tokenizer_folder(name: str, models: Mapping[str, ModelSource]) -> Path:
    """A folder with the tokenizer of the model that `--model name` means; no weights are read or hashed.

    Raises HarnessError as `harness.models.find.resolve` does.
    """
    if name in models and (found := cached_folder(models[name])):
        return found
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if HUB_ID.fullmatch(name) and name not in models:
        return _from_hub(name)
    return resolve(name, registry_models=models).folder


def tokenizer_of(folder: Path, name: str) -> Any:
    """The tokenizer in a folder, for counting. Raises HarnessError when it cannot be loaded.

    Where a `tokenizer.json` holds all of it, it is read without torch, which takes seconds to import.
    """
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        return load_tokenizer(ModelFiles(name, folder, {}, ""))
    try:
        with quietly():
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise HarnessError(f"the tokenizer of {name} in {folder} cannot be loaded: {reason}") from error
    complete(tokenizer)
    return tokenizer


_KEPT: dict[tuple[object, ...], Any] = {}
_MOST_KEPT = 8


def kept_tokenizer(files: ModelFiles) -> Any:
    """The tokenizer for whoever only counts: loaded once for as long as the model's files have these contents.

    A study plans hundreds of cells of one model, and loading takes longer than all else that planning a cell does.
    Raises HarnessError as `load_tokenizer` does.
    """
    key = (files.folder, files.trust_remote_code, *sorted(files.contents.items()))
    if key not in _KEPT:
        loaded = load_tokenizer(files)
        if len(_KEPT) >= _MOST_KEPT:
            _KEPT.clear()
        _KEPT[key] = loaded
    return _KEPT[key]


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[*PATTERNS], ignore_patterns=["*/*"]))
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        reason = " ".join(str(error).split())[:200]
        raise NotHere(
            f"the tokenizer of {name} is neither cached nor to be had from the hub ({type(error).__name__}: {reason})"
        ) from error
