"""The settings that every trainer gets, whatever the method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.contracts import ConfigT, HarnessError, Regime

# What all aligners share: an aligner that sets one of these would not be compared under the same terms.
SHARED = frozenset(
    {
        *("output_dir", "seed", "data_seed", "bf16", "fp16", "use_cpu", "gradient_accumulation_steps"),
        *("max_length", "max_prompt_length", "max_completion_length", "num_train_epochs", "gradient_checkpointing"),
        *("save_strategy", "save_steps", "save_total_limit", "report_to", "logging_steps", "disable_tqdm"),
        "router_aux_loss_coef",
    }
)


def trainer_arguments(
    config_class: type[ConfigT],
    method: dict[str, Any],
    regime: Regime,
    *,
    seed: int,
    folder: Path,
    checkpoint_steps: int,
) -> ConfigT:
    """Trainer arguments with the shared settings filled in. Raises HarnessError when `method` sets one of them."""
    clash = sorted(SHARED & set(method))
    if clash:
        raise HarnessError(f"{', '.join(clash)} is shared by all aligners and may not be set by a single aligner")
    batches = {regime.batch, regime.sample_prompts}
    batch = method.pop("per_device_train_batch_size", regime.batch)
    if batch not in batches:
        raise HarnessError(f"per_device_train_batch_size must be one of the regime's {sorted(batches)}, not {batch}")
    settings = _shared(regime, seed, folder, checkpoint_steps) | {"per_device_train_batch_size": batch}
    known = set(getattr(config_class, "__dataclass_fields__", {}))
    if "max_length" in known:
        settings["max_length"] = regime.prompt_tokens + regime.completion_tokens
    settings |= method
    return config_class(**{k: v for k, v in settings.items() if k in known or k in method})


def _shared(regime: Regime, seed: int, folder: Path, checkpoint_steps: int) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": regime.min_steps,
        "seed": seed,
        "data_seed": seed,
        "use_cpu": regime.device == "cpu",
        "bf16": regime.precision == "bf16",
        "fp16": False,
        "gradient_checkpointing": False,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "save_strategy": "steps",
        "save_steps": checkpoint_steps,
        "save_total_limit": 2,
        "router_aux_loss_coef": 0.0,  # of a mixture of experts: its router is not trained, so nothing is to be balanced
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
    }
