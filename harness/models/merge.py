"""A base model with an adapter added to its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.models.load import load
from harness.models.wheels import ModelFiles, quietly


def write_merged(files: ModelFiles, adapter: Path, out: Path) -> None:
    """Write the model with the adapter in its weights, and its tokenizer, to `out`: safetensors, fp32, on the CPU.

    Raises HarnessError where the model cannot be loaded.
    """
    from peft import PeftModel

    model, tokenizer = load(files, device="cpu", precision="fp32")
    with quietly():
        adapted: Any = PeftModel.from_pretrained(model, str(adapter))
        adapted.merge_and_unload().save_pretrained(out)
    tokenizer.save_pretrained(out)
