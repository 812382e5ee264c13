"""What a configuration file of `accelerate` (FSDP, DeepSpeed) asks of a fit that several processes make together.

The file is the one that `accelerate config` writes and `accelerate launch --config_file` takes. accelerate reads it;
here it is said what its settings mean for a fit, whose base weights are frozen and whose adapter is small:

- FSDP: how the base weights are divided, which is all that FSDP divides here (`harness.fit.sharding`).
- DeepSpeed: stage 3 of ZeRO divides the base weights, and so it does here, by the same means. Stages 1 and 2 divide
  optimizer states and gradients, which only the adapter has: nothing is divided.

What would change a result is refused, because the run decides it: precision, accumulation, activation checkpointing.
Optimizer, schedule, clipping and batches are not read, because they are the methods' and the budget's; a line says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import HarnessError
from harness.fit.sharding import Sharding
from harness.util.names import nearest

if TYPE_CHECKING:
    from harness.config import RunConfig

SHARDING = {
    "FULL_SHARD": True,
    "1": True,
    "TRUE": True,
    "SHARD_GRAD_OP": False,
    "2": False,
    "FALSE": False,
}
"""FSDP's names, as either version writes them, for whether a unit's weights are given up behind its forward pass."""
NOT_DIVIDED = ("NO_SHARD", "3")
ONE_UNIT = {"TRANSFORMER_BASED_WRAP": "layers", "SIZE_BASED_WRAP": "size", "NO_WRAP": "whole"}
"""FSDP's names for what is gathered at a time."""

READ = ("auto_wrap_policy", "transformer_layer_cls_to_wrap", "min_num_params", "reshard_after_forward")
ALSO_READ = ("sharding_strategy", "offload_params", "activation_checkpointing", "version")
WITHOUT_EFFECT = (
    *(
        "backward_prefetch",
        "backward_prefetch_policy",
        "forward_prefetch",
        "use_orig_params",
        "sync_module_states",
        "state_dict_type",
    ),
    *("cpu_ram_efficient_loading", "activation_checkpointing_offload", "limit_all_gathers"),
)
"""Of FSDP: they are about weights that are trained or saved, about loading, or about when weights are exchanged."""

OF_THE_METHODS = (
    *("gradient_clipping", "optimizer", "scheduler", "train_batch_size", "train_micro_batch_size_per_gpu"),
)
"""Of DeepSpeed: what methods and budget decide."""
AS_IF_LEFT_OUT = (None, "auto", "none")

Say = Callable[[str], None]


def sharding_of(config: RunConfig, say: Say) -> Sharding | None:
    """How the file that a run names divides the weights; None without a file, and where it divides none.

    Raises HarnessError for a file that cannot be read, that disagrees with the run, or that asks for what no fit does.
    """
    if config.accelerate_config is None:
        return None
    path = config.accelerate_config
    if config.processes == 1:
        raise HarnessError(
            f"accelerate_config {path} says how several processes share a model, and processes is 1; "
            "set processes to their number, or leave accelerate_config out"
        )
    found = _read(path)
    _refuse_other_than(config, found, path)
    kind = str(getattr(found.distributed_type, "value", found.distributed_type))
    if kind == "FSDP":
        return _of_fsdp(found.fsdp_config, path, say)
    if kind == "DEEPSPEED":
        return _of_deepspeed(found.deepspeed_config, path, say)
    if kind in ("NO", "MULTI_GPU", "MULTI_CPU"):
        say(f"accelerate_config {path}: {kind} divides no weights; each process holds the whole model")
        return None
    raise _refused(path, "distributed_type", kind, "FSDP, DEEPSPEED, MULTI_GPU, MULTI_CPU or NO")


def _read(path: Path) -> Any:
    """The file as accelerate reads it."""
    from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file

    try:
        found = load_config_from_file(str(path))
    except Exception as error:  # whatever YAML, JSON and accelerate raise
        said = " ".join(str(error).split())
        raise HarnessError(
            f"accelerate_config {path} cannot be read as a file of `accelerate config`: {said}"
        ) from None
    if not isinstance(found, ClusterConfig):
        raise _refused(path, "compute_environment", "AMAZON_SAGEMAKER", "LOCAL_MACHINE")
    return found


def _refuse_other_than(config: RunConfig, found: Any, path: Path) -> None:
    """Refuse what a run says itself, where the file says something else."""
    if found.num_processes not in (-1, config.processes):
        raise _refused(path, "num_processes", found.num_processes, f"{config.processes}, as processes says")
    if found.num_machines != 1:
        raise _refused(path, "num_machines", found.num_machines, "1: a fit stays on one machine")
    if found.mixed_precision not in (None, "no"):
        raise _refused(path, "mixed_precision", found.mixed_precision, "no: `precision` says in what a run computes")
    if found.gpu_ids not in (None, "all"):
        raise _refused(path, "gpu_ids", found.gpu_ids, "all: CUDA_VISIBLE_DEVICES says which GPUs a run may use")
    for name in ("dynamo_config", "fp8_config", "megatron_lm_config"):
        asked = {key: value for key, value in (getattr(found, name) or {}).items() if value not in (None, "NO")}
        if asked:
            raise _refused(path, name, next(iter(asked)), "nothing: it would change what a fit computes")
    for name, value in (found.parallelism_config or {}).items():
        allowed = (1, config.processes) if name.endswith("dp_shard_size") else (1,)
        if name.endswith("_size") and value not in allowed:
            raise _refused(path, name, value, " or ".join(map(str, dict.fromkeys(allowed))))


def _of_fsdp(settings: Mapping[str, Any], path: Path, say: Say) -> Sharding | None:
    """What FSDP's part of the file says. Keys are those of accelerate, with or without `fsdp_`."""
    asked = {name.removeprefix("fsdp_"): value for name, value in settings.items()}
    known = (*READ, *ALSO_READ, *WITHOUT_EFFECT)
    for name in asked:
        if name not in known:
            raise HarnessError(
                f"accelerate_config {path}: unknown setting {name!r} of fsdp_config; {nearest(name, known)}"
            )
    if _true(asked.get("activation_checkpointing")):
        raise _refused(path, "fsdp_activation_checkpointing", True, "false: `gradient_checkpointing` of a run is that")
    old = str(asked.get("version", 1)) == "1"
    names = ("sharding_strategy", "reshard_after_forward")[:: 1 if old else -1]  # which of the two accelerate prefers
    how = _word(*map(asked.get, names), "FULL_SHARD")
    if how in NOT_DIVIDED:
        say(f"accelerate_config {path}: {how} divides no weights; each process holds the whole model")
        return None
    if how not in SHARDING:
        raise _refused(path, "FSDP's sharding", how, "FULL_SHARD, SHARD_GRAD_OP, NO_SHARD, true or false")
    policy = _word(asked.get("auto_wrap_policy"), "TRANSFORMER_BASED_WRAP")
    if policy not in ONE_UNIT:
        raise _refused(path, "fsdp_auto_wrap_policy", policy, ", ".join(ONE_UNIT))
    units, named = ONE_UNIT[policy], asked.get("transformer_layer_cls_to_wrap") or ()
    classes = sorted({one.strip() for one in (named.split(",") if isinstance(named, str) else map(str, named))})
    return Sharding.model_validate(
        {
            "units": units,
            "classes": classes if units == "layers" else (),
            "smallest": _number(asked.get("min_num_params"), "fsdp_min_num_params", path) if units == "size" else 0,
            "keep": not SHARDING[how],
            "offload": _true(asked.get("offload_params")),
        }
    )


def _of_deepspeed(settings: Mapping[str, Any], path: Path, say: Say) -> Sharding | None:
    """What DeepSpeed's part of the file says, or the JSON file of DeepSpeed's that it names."""
    own = _deepspeed_json(settings, path)
    zero = own.get("zero_optimization") or {}
    accumulated = _either(settings.get("gradient_accumulation_steps"), own.get("gradient_accumulation_steps"), 1)
    if str(accumulated) not in ("1", "auto"):
        raise _refused(path, "gradient_accumulation_steps", accumulated, "1: the budget says how large a batch is")
    for name in ("fp16", "bf16"):
        if _true((own.get(name) or {}).get("enabled")):
            raise _refused(path, name, "enabled", "left out: `precision` says in what a run computes")
    unread = [
        name for name in OF_THE_METHODS if _either(settings.get(name), own.get(name), "none") not in AS_IF_LEFT_OUT
    ]
    if unread:
        say(f"accelerate_config {path}: {', '.join(unread)} is not read; methods and budget decide it")
    stage = _number(_either(settings.get("zero_stage"), zero.get("stage"), 2), "zero_stage", path)
    if stage != 3:
        say(
            f"accelerate_config {path}: ZeRO stage {stage} divides no weights that are frozen; each process holds the "
            "whole model (stage 3 divides them)"
        )
        return None
    offloaded = (zero.get("offload_param") or {}).get("device")
    place = str(_either(settings.get("offload_param_device"), offloaded, "none")).lower()
    if place not in ("none", "cpu"):
        raise _refused(path, "offload_param_device", place, "none or cpu")
    return Sharding(offload=place == "cpu")


def _deepspeed_json(settings: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """DeepSpeed's own file, by its path from here or from the file of accelerate's; empty where none is named."""
    named = settings.get("deepspeed_config_file")
    if named in (None, "none"):
        return {}
    own = Path(str(named))
    own = own if own.exists() else path.parent / own
    try:
        found = json.loads(own.read_text())
    except (OSError, ValueError) as error:
        raise HarnessError(f"accelerate_config {path}: deepspeed_config_file {own} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise HarnessError(f"accelerate_config {path}: deepspeed_config_file {own} was expected to hold a JSON object")
    return found


def _refused(path: Path, name: str, found: object, expected: str) -> HarnessError:
    return HarnessError(f"accelerate_config {path}: {name} is {found!r}; expected {expected}")


def _number(value: Any, name: str, path: Path) -> int:
    try:
        return int(float(value or 0))
    except (TypeError, ValueError):
        raise _refused(path, name, value, "a number") from None


def _either(*values: Any) -> Any:
    """The first that is said."""
    return next(value for value in values if value is not None)


def _word(*values: Any) -> str:
    return str(_either(*values)).upper()


def _true(value: Any) -> bool:
    return str(value).lower() == "true"
