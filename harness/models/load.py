"""From files to a model and a tokenizer on a device, in a precision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError, NotHere
from harness.models.hashes import weight_files
from harness.models.templates import steady
from harness.models.wheels import ModelFiles, quietly
from harness.util.chat import EMBEDDING_ROWS, end_of_turn
from harness.util.names import nearest

FP32_UP_TO = 2_000_000_000
"""Parameters up to which a GPU computes in fp32 unless told otherwise: bf16 rounds away about what a few pairs teach.

Figures: docs/decisions/0006-precision.md.
"""


PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}:\n{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)
"""Chat template of a model that comes without one (a base model): plain words, an answer closed by end-of-sequence."""


NOT_HERE = "a GPU that is not here"
"""What a GPU is called that another machine has, which is to compute what this one plans."""


def pick_device(device: str, *, elsewhere: bool = False) -> str:
    """`auto`, `cpu` or `cuda` to the device that is there; where it is used `elsewhere`, `cuda` is believed.

    Raises HarnessError for another name, and for `cuda` where there is no GPU.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise HarnessError(f"device {device!r} is unknown; {nearest(device, ('auto', 'cpu', 'cuda'))}")
    found = torch.cuda.is_available()
    if device == "cuda" and elsewhere:
        return device
    if device == "cuda" and not found:
        raise NotHere("device 'cuda' was asked for and this machine has no usable GPU; use --device cpu or auto")
    return "cuda" if found and device != "cpu" else "cpu"


def device_kind(device: str) -> str:
    """A GPU's product name, `NOT_HERE` without one; a CPU's family stands in the manifest with the interpreter."""
    if device != "cuda":
        return device
    import torch

    if not torch.cuda.is_available():
        return NOT_HERE
    return str(torch.cuda.get_device_name())


def pick_precision(precision: str, device: str, files: ModelFiles) -> str:
    """`auto` is fp32 on a CPU, and on a GPU up to `FP32_UP_TO` parameters, bf16 above; anything else stays as it is."""
    if precision != "auto":
        return precision
    return "bf16" if device == "cuda" and count_parameters(files.folder) > FP32_UP_TO else "fp32"


def count_parameters(folder: Path) -> int:
    """Numbers in the safetensors files that transformers would load from `folder`; reads their headers alone."""
    return sum(math.prod(shape) for shape in weight_shapes(folder).values())


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor that transformers would load from `folder`, by name; reads headers alone."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        with safe_open(file, framework="numpy") as weights:
            shapes |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    return shapes


def load(files: ModelFiles, *, device: str, precision: str) -> tuple[Any, Any]:
    """Model (eval mode) and tokenizer (with a padding token and a chat template).

    Attention is torch's scaled dot product, or `eager` for architectures that cannot use it (gpt-oss, for its sinks).
    `device` and `precision` (`fp32` or `bf16`) are those of `pick_device` and `pick_precision`. A template's clock
    stands still. Raises HarnessError when the folder cannot be loaded, holds quantized weights, or holds something else
    than when it was hashed.
    """
    import torch
    from transformers import AutoModelForCausalLM

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if precision not in dtypes:
        raise HarnessError(f"precision {precision!r} is unknown; {nearest(precision, dtypes)}")
    given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": files.trust_remote_code}
    tokenizer = load_tokenizer(files)
    try:
        with quietly():
            attention = _attention(files, given)
            model: Any = AutoModelForCausalLM.from_pretrained(
                files.folder, dtype=dtypes[precision], attn_implementation=attention, use_safetensors=True, **given
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise HarnessError(f"model {files.name} in {files.folder} cannot be loaded: {reason}") from error
    changed = files.changed()
    if changed:
        raise HarnessError(
            f"model {files.name} changed in {files.folder} while it was loaded ({', '.join(changed)}); run again"
        )
    _match(model, tokenizer, files.name)
    return model.to(device).eval(), tokenizer


def _attention(files: ModelFiles, given: Mapping[str, Any]) -> str:
    """The attention that this architecture computes with. Raises HarnessError for weights that are quantized."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING as known

    config = AutoConfig.from_pretrained(files.folder, **given)
    if packed := getattr(config, "quantization_config", None):
        method = packed.get("quant_method") if isinstance(packed, dict) else getattr(packed, "quant_method", "unknown")
        raise HarnessError(
            f"model {files.name} is stored quantized ({method}); plain weights (fp32, bf16 or fp16) were expected: "
            "name its unquantized release, or save it unpacked"
        )
    architecture = known.get(type(config), None)
    return "sdpa" if architecture is None or architecture._supports_sdpa else "eager"


def load_tokenizer(files: ModelFiles) -> Any:
    """The tokenizer alone, with a padding token and a chat template. Raises HarnessError when it cannot be loaded."""
    from transformers import AutoTokenizer

    try:
        with quietly():
            tokenizer = AutoTokenizer.from_pretrained(
                files.folder, local_files_only=True, trust_remote_code=files.trust_remote_code
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise HarnessError(f"the tokenizer of {files.name} in {files.folder} cannot be loaded: {reason}") from error
    complete(tokenizer)
    return tokenizer


def complete(tokenizer: Any) -> None:
    """A padding token where there is none, a plain chat template for a base model, and clocks that stand still.

    Raises HarnessError where nothing can close an answer, and for a chat template that uses chance.
    """
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise HarnessError(f"tokenizer of {tokenizer.name_or_path} has neither padding nor end-of-sequence token")
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        bos = tokenizer.bos_token_id
        starts = bos is not None and list(tokenizer("a")["input_ids"])[:1] == [bos]
        tokenizer.chat_template = ("{{ bos_token }}" if starts else "") + PLAIN_TEMPLATE
    _steady(tokenizer)


def _match(model: Any, tokenizer: Any, name: str) -> None:
    """Make the two agree where the tokenizer knows more tokens than the embedding has rows, and on padding.

    Added tokens beyond the embedding do no harm while no text holds them: the number of rows is left with the tokenizer
    for whoever encodes. Raises HarnessError where an ordinary token, or one of every conversation, has no row.
    """
    rows = int(model.get_input_embeddings().weight.shape[0])
    over = {token: index for token, index in tokenizer.get_vocab().items() if index >= rows}
    if over:
        if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows:
            tokenizer.pad_token = tokenizer.eos_token
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        used = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
        needed = {*used, end_of_turn(tokenizer), tokenizer.pad_token_id}
        lost = [token for token, i in over.items() if i in needed or token not in tokenizer.get_added_vocab()]
        if lost:
            raise HarnessError(
                f"model {name}: the tokenizer has {len(tokenizer)} tokens and the embedding {rows} rows; token "
                f"{lost[0]!r} has none; use the tokenizer that came with the weights"
            )
        setattr(tokenizer, EMBEDDING_ROWS, rows)
    for config in (model.config, model.generation_config):
        if config is not None and getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id


def _steady(tokenizer: Any) -> None:
    """Stop the clocks of the tokenizer's templates, of which there may be several by name."""
    name, found = str(tokenizer.name_or_path), tokenizer.chat_template
    if isinstance(found, dict):
        tokenizer.chat_template = {key: steady(template, name) for key, template in found.items()}
    else:
        tokenizer.chat_template = steady(found, name)
