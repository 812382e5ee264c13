"""The frozen weights of a model divided among the processes of a fit: each holds a part of every layer.

All processes of a fit run the same forwards in the same order (`harness.fit.together`). Therefore a layer's weights can
be gathered when it is run and given up behind it, by PyTorch's `fully_shard`, for training and for scoring alike. What
is trained, the adapters, and what is read outside the decoder's forward, the embeddings and the head, is whole in every
process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from harness.contracts import HarnessError


class Sharding(BaseModel):
    """How the weights are divided: what the file of accelerate's that the user names says of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    units: Literal["layers", "size", "whole"] = "layers"
    """What is gathered at a time: a layer, a module of more than `smallest` weights, or the whole decoder."""
    classes: tuple[str, ...] = ()
    """Names of the layers' classes; empty: those that transformers says must stay in one piece."""
    smallest: int = 0
    keep: bool = False
    """Whether a unit's weights stay gathered between its forward and its backward pass: more memory, less exchange."""
    offload: bool = False
    """Whether the parts lie in the processor's memory."""


def shard_weights(policy: Any, how: Sharding, device: str, processes: int) -> None:
    """Divide a PEFT model's decoder in place, and bring all of it to `device` ("cpu" or "cuda").

    The model may lie in the processor's memory: one unit at a time is brought over, and only this process's part stays.
    Raises HarnessError where the model has no layer of the classes.
    """
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

    from harness.lm.peft_internals import decoder_of, is_divided

    decoder = decoder_of(policy)
    shared: dict[str, Any] = {
        "mesh": init_device_mesh(device, (processes,)),
        "offload_policy": CPUOffloadPolicy(pin_memory=device == "cuda") if how.offload else OffloadPolicy(),
        "ignored_params": _whole(policy),
    }
    for unit in list(units(policy, decoder, how)):
        fully_shard(unit, reshard_after_forward=not how.keep, **shared)
    fully_shard(decoder, reshard_after_forward=not how.keep if how.units == "whole" else None, **shared)
    decoder.register_forward_hook(lambda *_: None if torch.is_grad_enabled() else _give_up(decoder))
    _keep_recordable(decoder)
    for weight in policy.parameters():
        if not is_divided(weight):
            weight.data = weight.data.to(device)
    for module in policy.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))


def _give_up(decoder: Any) -> None:
    """Let all units go back to their parts, in every process.

    Behind a forward without gradient, FSDP leaves some units gathered until the next pass. Then the first process alone
    writes a checkpoint, which lets them go in that process only, and they would no longer agree on what to gather.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in decoder.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _keep_recordable(decoder: Any) -> None:
    """transformers knows by a class's name which hidden states it can give, and `fully_shard` has changed the class."""
    from transformers.utils import output_capturing

    output_capturing._CAN_RECORD_REGISTRY[str(type(decoder))] = getattr(decoder, "_can_record_outputs", None)


def _whole(policy: Any) -> set[Any]:
    """What stays whole: adapters, and the embeddings of tokens, which may be the head's weights, too."""
    base = policy.get_base_model()
    ends = [one for one in (base.get_input_embeddings(), base.get_output_embeddings()) if one is not None]
    adapters = {weight for name, weight in policy.named_parameters() if "lora_" in name}
    return adapters | {weight for end in ends for weight in end.parameters()}


def units(policy: Any, decoder: Any, how: Sharding) -> Iterator[Any]:
    """The modules of the decoder that are gathered one at a time, inner ones first."""
    from torch.nn import ModuleDict, ModuleList

    adapted = [layer for layer in decoder.modules() if hasattr(layer, "lora_A")]
    # A LoRA layer reads the weights of the layer inside it, without a call that would gather them.
    inside = {part for layer in adapted for part in layer.modules()} - set(adapted)
    modules = [one for one in decoder.modules() if one is not decoder and one not in inside]
    called = [one for one in modules if not isinstance(one, ModuleList | ModuleDict)][::-1]
    if how.units == "size":
        yield from (one for one in called if sum(weight.numel() for weight in one.parameters()) > how.smallest)
    elif how.units == "layers":
        wanted = how.classes or tuple(policy.get_base_model()._no_split_modules or ())
        found = [module for module in called if type(module).__name__ in wanted]
        if not found:
            known = sorted({type(one).__name__ for one in called if list(one.children()) and one not in adapted})
            raise HarnessError(
                f"the weights of {type(decoder).__name__} were to be divided by layers of the class "
                f"{' or '.join(wanted) or 'that transformers names, and it names none'}; its layers are "
                f"{', '.join(known)}: name one as fsdp_transformer_layer_cls_to_wrap in the file of accelerate_config"
            )
        yield from found
