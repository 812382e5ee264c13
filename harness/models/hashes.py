"""Names of models: hashes of everything that loading a model reads.

No size and no time of change stands in for content: a model is read whole whenever it is named. That costs about a
second for every gigabyte and core.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.contracts import HarnessError
from harness.util.hashes import content_hash, file_hash

INDEX = "model.safetensors.index.json"
"""Says which file holds which tensor; the tensors are hashed wherever they lie."""
WEIGHTS = "weights"
"""Stands for all tensors among the names of a model's files."""
UNREAD_SUFFIXES = frozenset(
    [
        ".bin",
        ".ckpt",
        ".gguf",
        ".gif",
        ".gitattributes",
        ".gitignore",
        ".h5",
        ".jpeg",
        ".jpg",
        ".log",
        ".md",
        ".msgpack",
        ".onnx",
        ".ot",
        ".pdf",
        ".png",
        ".pt",
        ".pth",
        ".py",
    ]
)
"""Endings of files that loading a model never reads: other formats, pictures, documents, code not asked for."""
UNREAD_NAMES = frozenset(
    [
        "LICENSE",
        "LICENCE",
        "NOTICE",
        "USE_POLICY",
        "manifest.json",
        "trainer_state.json",
        "training_args.json",
        "all_results.json",
    ]
)
"""Files that loading never reads although their ending does not tell."""
TEMPLATES = "additional_chat_templates"
"""The one folder inside a model's folder that loading a tokenizer looks into."""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers would load from `folder`."""
    single, index = folder / "model.safetensors", folder / INDEX
    if single.is_file():
        return [single]
    if index.is_file():
        shards = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        files = [folder / shard for shard in shards]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise HarnessError(f"model folder {folder} lacks {', '.join(missing)}, named in {index.name}")
        return files
    held = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
    raise HarnessError(f"model folder {folder} has no model.safetensors (it holds {held}); other formats are not read")


def tensors_hash(files: Sequence[Path]) -> str:
    """sha256 (hex) over the sorted tensors of safetensors files: name, type, shape and sha256 of the bytes of each.

    How tensors are spread over files, their order and the files' metadata make no difference. Raises HarnessError for a
    file that is not safetensors.
    """
    entries = [(file, *entry) for file in files for entry in _tensor_table(file)]
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        digests = list(threads.map(lambda e: _digest(e[0], e[4], e[5]), entries))
    table = sorted((name, kind, shape, d) for (_, name, kind, shape, *_), d in zip(entries, digests, strict=True))
    return content_hash(table)


def model_hashes(folder: Path, *, remote_code: bool = False) -> dict[str, str]:
    """sha256 (hex) of all that loading the model in `folder` reads: `weights` (its tensors), and every file by name.

    A file that nobody knows counts. `remote_code`: the folder's Python files count, too. Raises HarnessError for a
    folder whose weights cannot be read, or that makes transformers load something from elsewhere.
    """
    _self_contained(folder, remote_code)
    kept = weight_files(folder)
    others = [path for path in _read_files(folder, remote_code) if path not in kept and path.name != INDEX]
    found = {path.relative_to(folder).as_posix(): file_hash(path) for path in others}
    return {WEIGHTS: tensors_hash(kept), **dict(sorted(found.items()))}


def _read_files(folder: Path, remote_code: bool) -> Iterator[Path]:
    """Files beside the weights that transformers may open."""
    for path in folder.iterdir():
        hidden, other_weights = path.name.startswith("."), path.suffix == ".safetensors"
        unread = path.suffix.lower() in UNREAD_SUFFIXES or path.name in UNREAD_NAMES
        if path.is_file() and not (hidden or other_weights or unread):
            yield path
    yield from (folder / TEMPLATES).glob("*.jinja")
    if remote_code:
        yield from folder.rglob("*.py")


def _self_contained(folder: Path, remote_code: bool) -> None:
    """Refuse what makes transformers read files of another place: they would stand in no hash."""
    if (folder / "adapter_config.json").is_file():
        raise HarnessError(
            f"model folder {folder} holds adapter_config.json, whose adapter transformers would load on top; "
            "merge the adapter into the weights and remove that file"
        )
    if not remote_code:
        return
    for name in ("config.json", "tokenizer_config.json"):
        settings = _json(folder / name)
        named = settings.get("auto_map") if isinstance(settings, dict) else None
        if named and "--" in json.dumps(named):
            raise HarnessError(
                f"{folder / name} takes its code from another repository; copy the code into the folder and drop "
                "what stands before '--' in auto_map"
            )


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes()) if path.is_file() else None
    except ValueError as error:
        raise HarnessError(f"{path} is not valid JSON ({error}); a saved transformers model was expected") from error


def adapter_hash(folder: Path) -> str:
    """sha256 (hex) over the tensors of a saved adapter."""
    return tensors_hash([folder / "adapter_model.safetensors"])


def _tensor_table(file: Path) -> Iterator[tuple[str, str, list[int], int, int]]:
    """Name, type, shape, first and last byte of every tensor (safetensors: 8 bytes length, JSON header, data)."""
    try:
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if length > file.stat().st_size:
                raise ValueError("header longer than the file")
            header = json.loads(handle.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                start, stop = entry["data_offsets"]
                yield name, entry["dtype"], entry["shape"], 8 + length + start, 8 + length + stop
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise HarnessError(f"{file} is not a readable safetensors file: {error}") from error


def _digest(file: Path, start: int, stop: int) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        handle.seek(start)
        while start < stop:
            block = handle.read(min(1 << 22, stop - start))
            if not block:
                raise HarnessError(f"{file} ends before its last tensor: the file is damaged")
            digest.update(block)
            start += len(block)
    return digest.hexdigest()
