"""What files of accelerate's ask of a fit of several processes, and which of them are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.config import RunConfig
from harness.contracts import HarnessError
from harness.fit.sharding import Sharding
from harness.run.accelerate_file import sharding_of

WRITTEN = {
    "compute_environment": "LOCAL_MACHINE",
    "debug": False,
    "downcast_bf16": "no",
    "enable_cpu_affinity": False,
    "machine_rank": 0,
    "main_training_function": "main",
    "mixed_precision": "no",
    "num_machines": 1,
    "num_processes": 2,
    "rdzv_backend": "static",
    "same_network": True,
    "use_cpu": False,
}
"""What `accelerate config` writes whatever was answered."""

FSDP_1 = {
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_backward_prefetch": "BACKWARD_PRE",
    "fsdp_cpu_ram_efficient_loading": True,
    "fsdp_forward_prefetch": False,
    "fsdp_offload_params": False,
    "fsdp_sharding_strategy": "SHARD_GRAD_OP",
    "fsdp_state_dict_type": "SHARDED_STATE_DICT",
    "fsdp_sync_module_states": True,
    "fsdp_transformer_layer_cls_to_wrap": "LlamaDecoderLayer,LlamaMLP",
    "fsdp_use_orig_params": True,
}
FSDP_2 = {
    "fsdp_activation_checkpointing": False,
    "fsdp_auto_wrap_policy": "SIZE_BASED_WRAP",
    "fsdp_cpu_ram_efficient_loading": True,
    "fsdp_min_num_params": 100000,
    "fsdp_offload_params": True,
    "fsdp_reshard_after_forward": True,
    "fsdp_state_dict_type": "SHARDED_STATE_DICT",
    "fsdp_version": 2,
}
ZERO_3 = {
    "gradient_accumulation_steps": 1,
    "gradient_clipping": 1.0,
    "offload_optimizer_device": "none",
    "offload_param_device": "cpu",
    "zero3_init_flag": True,
    "zero3_save_16bit_model": True,
    "zero_stage": 3,
}


def asked(folder: Path, **changes: Any) -> RunConfig:
    """A run of two processes with a file of accelerate's."""
    path = folder / "accelerate.yaml"
    path.write_text(yaml.safe_dump({**WRITTEN, **changes}))
    cell = {"aligner": "sft", "task": "medqa", "processes": 2, "accelerate_config": path}
    return RunConfig.model_validate(cell)


def fsdp(**changes: Any) -> dict[str, Any]:
    return {"distributed_type": "FSDP", "fsdp_config": {**FSDP_2, **changes}}


def zero(**changes: Any) -> dict[str, Any]:
    return {"distributed_type": "DEEPSPEED", "deepspeed_config": {**ZERO_3, **changes}}


BY_SIZE = Sharding(units="size", smallest=100_000, offload=True)
BY_CLASS = Sharding(classes=("LlamaDecoderLayer", "LlamaMLP"), keep=True)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"distributed_type": "FSDP", "fsdp_config": FSDP_1}, BY_CLASS),
        (fsdp(), BY_SIZE),
        (
            fsdp(fsdp_reshard_after_forward=False, fsdp_auto_wrap_policy="NO_WRAP"),
            Sharding(units="whole", keep=True, offload=True),
        ),
        ({"distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 2}}, Sharding()),
        (
            {"distributed_type": "FSDP", "fsdp_config": {**FSDP_1, "fsdp_reshard_after_forward": "FULL_SHARD"}},
            BY_CLASS,
        ),
        (
            {
                **fsdp(),
                "parallelism_config": {"parallelism_config_dp_shard_size": 2, "parallelism_config_tp_size": 1},
            },
            BY_SIZE,
        ),
        (zero(), Sharding(offload=True)),
        (zero(offload_param_device="none"), Sharding()),
    ],
)
def test_what_a_file_divides(said: dict[str, Any], found: Sharding, tmp_path: Path) -> None:
    lines: list[str] = []
    assert sharding_of(asked(tmp_path, **said), lines.append) == found
    clipped = said["distributed_type"] == "DEEPSPEED"
    assert [line.partition(": ")[2] for line in lines] == clipped * [
        "gradient_clipping is not read; methods and budget decide it"
    ]


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (zero(zero_stage=2), "ZeRO stage 2 divides no weights that are frozen; each process holds the whole model"),
        (fsdp(fsdp_reshard_after_forward="NO_SHARD"), "NO_SHARD divides no weights"),
        ({"distributed_type": "MULTI_GPU"}, "MULTI_GPU divides no weights"),
    ],
)
def test_a_file_that_divides_nothing_says_so(said: dict[str, Any], line: str, tmp_path: Path) -> None:
    lines: list[str] = []
    assert sharding_of(asked(tmp_path, **said), lines.append) is None
    assert line in lines[-1]


def test_deepspeeds_own_file_is_read(tmp_path: Path) -> None:
    own = {"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}, "bf16": {"enabled": "auto"}}
    (tmp_path / "zero.json").write_text(json.dumps(own))
    named = {"distributed_type": "DEEPSPEED", "deepspeed_config": {"deepspeed_config_file": "zero.json"}}
    assert sharding_of(asked(tmp_path, **named), print) == Sharding(offload=True)
    (tmp_path / "zero.json").write_text(json.dumps({**own, "bf16": {"enabled": True}}))
    with pytest.raises(HarnessError, match="bf16 is 'enabled'; expected left out: `precision` says"):
        sharding_of(asked(tmp_path, **named), print)
    (tmp_path / "zero.json").unlink()
    with pytest.raises(HarnessError, match=r"deepspeed_config_file .*zero\.json cannot be read"):
        sharding_of(asked(tmp_path, **named), print)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (fsdp(fsdp_min_num_prams=3), "unknown setting 'min_num_prams' of fsdp_config; did you mean 'min_num_params'"),
        (fsdp(fsdp_reshard_after_forward="HYBRID_SHARD"), "FSDP's sharding is 'HYBRID_SHARD'; expected FULL_SHARD, "),
        (fsdp(fsdp_auto_wrap_policy="SOME"), "fsdp_auto_wrap_policy is 'SOME'; expected TRANSFORMER_BASED_WRAP, "),
        (fsdp(fsdp_activation_checkpointing=True), "expected false: `gradient_checkpointing` of a run is that"),
        ({**fsdp(), "num_processes": 4}, "num_processes is 4; expected 2, as processes says"),
        ({**fsdp(), "num_machines": 2}, "num_machines is 2; expected 1: a fit stays on one machine"),
        ({**fsdp(), "mixed_precision": "bf16"}, "mixed_precision is 'bf16'; expected no: `precision` says"),
        ({**fsdp(), "gpu_ids": "0,1"}, "gpu_ids is '0,1'; expected all: CUDA_VISIBLE_DEVICES says"),
        ({**fsdp(), "dynamo_config": {"dynamo_backend": "INDUCTOR"}}, "dynamo_config is 'dynamo_backend'; expected"),
        ({**fsdp(), "words": 1}, "cannot be read as a file of `accelerate config`: .*unknown keys"),
        (zero(gradient_accumulation_steps=4), "gradient_accumulation_steps is 4; expected 1: the budget says"),
        (zero(zero_stage="three"), "zero_stage is 'three'; expected a number"),
        (fsdp(fsdp_min_num_params="many"), "fsdp_min_num_params is 'many'; expected a number"),
        (
            {**fsdp(), "parallelism_config": {"parallelism_config_tp_size": 2}},
            "parallelism_config_tp_size is 2; expected 1",
        ),
        (zero(offload_param_device="nvme"), "offload_param_device is 'nvme'; expected none or cpu"),
        ({"distributed_type": "MEGATRON_LM"}, "distributed_type is 'MEGATRON_LM'; expected FSDP, DEEPSPEED, "),
    ],
)
def test_what_no_fit_does_is_refused(said: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=why):
        sharding_of(asked(tmp_path, **said), print)


def test_a_file_is_for_several_processes_and_must_be_there(tmp_path: Path) -> None:
    config = asked(tmp_path, **fsdp())
    with pytest.raises(HarnessError, match="and processes is 1; set processes to their number"):
        sharding_of(config.model_copy(update={"processes": 1}), print)
    assert sharding_of(config.model_copy(update={"accelerate_config": None}), print) is None
    with pytest.raises(HarnessError, match=r"gone\.yaml cannot be read as a file of `accelerate config`"):
        sharding_of(config.model_copy(update={"accelerate_config": tmp_path / "gone.yaml"}), print)
    broken = tmp_path / "broken.yaml"
    broken.write_text("- a\n- list\n")
    with pytest.raises(HarnessError, match=r"broken\.yaml cannot be read"):
        sharding_of(config.model_copy(update={"accelerate_config": broken}), print)
