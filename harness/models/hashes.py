"""Names of weights: hashes of the tensors in safetensors files."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.contracts import HarnessError
from harness.util.hashes import content_hash


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers would load from `folder`."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
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


def cached_weights_hash(files: Sequence[Path], cache: Path) -> str:
    """Hash of weights that are not ours, computed anew when a path, size or time of change differs."""
    states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    note = cache / "hashes" / content_hash(states)[:32]
    if note.is_file():
        return note.read_text("utf-8")
    found = tensors_hash(files)
    note.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=note.parent, delete=False) as handle:
        handle.write(found)
    Path(handle.name).replace(note)
    return found
