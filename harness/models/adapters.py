"""LoRA adapters: shape, seed, and how far one has moved."""

from __future__ import annotations

import re
from typing import Any

from harness.config import Lora
from harness.contracts import POLICY, HarnessError


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
    """Full names of the linear modules to adapt: all of the decoder, or those inside an attention block.

    The head is none of them, nor is what looks at pictures: only text is trained on. Experts that a mixture keeps in
    one tensor are no linear modules and stay as they are.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    wanted = {m for m in model.get_decoder().modules() if isinstance(m, nn.Linear | Conv1D) and m is not head}
    linear = [name for name, module in model.named_modules() if module in wanted]
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
