"""The grids that a study's speed is measured on, in four sizes, as plain values of a study file.

`full` is 6 methods x 2 tasks x 2 budgets x 2 draws with the default model on the sample data; `short` is the same grid
with fewer steps and items in every cell, which two cores compute from all sides in two hours. `corner` is 3 methods x
2 tasks x 1 budget x 2 draws, shorter still. The shorter the cells, the more weighs the starting of processes. `tiny` is
one draw of that corner on the tiny model of the conformance kit: it shows that the scripts work, and no speed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIZES = ("tiny", "corner", "short", "full")
WHOLE = ("short", "full")
"""The sizes that hold the whole grid. What is done by hand is a corner of them."""
METHODS = ("sft", "dpo", "kto", "simpo", "orpo", "ipo")
BY_HAND = METHODS[:3]
"""Those that a released trainer of TRL's stable part fits without code of one's own."""
TASKS = ("medqa", "gsm8k")
# Long enough for the prompts of the sample: TRL cuts a sequence at its end, and drops one that is all prompt.
LENGTHS = {
    "tiny": {"prompt": 704, "completion": 128, "new_tokens": 8, "sample_prompts": 2},
    "corner": {"prompt": 256, "completion": 64, "new_tokens": 32, "sample_prompts": 2},
    "short": {"prompt": 384, "completion": 128, "new_tokens": 64, "sample_prompts": 2},
    "full": {"prompt": 384, "completion": 128, "new_tokens": 128, "sample_prompts": 2},
}
LIMITS = {"tiny": 4, "corner": 4, "short": 8, "full": 24}


def grid(size: str, store: Path, *, corner_only: bool = False, workers: int = 2, threads: int = 1) -> dict[str, Any]:
    """A study of this size; `corner_only`: of a whole grid, the cells that are done by hand."""
    budgets: dict[str, list[dict[str, Any]]] = {
        "tiny": [{"preset": "8", "min_steps": 2}],
        "corner": [{"preset": "8", "min_steps": 6}],
        "short": [{"preset": "8", "labels": 4, "min_steps": 6}, {"preset": "8", "min_steps": 6}],
        "full": [{"preset": "8"}, {"preset": "32"}],
    }
    whole = size in WHOLE and not corner_only
    values: dict[str, Any] = {
        "name": f"speed-{size}",
        "store": str(store),
        "aligners": list(METHODS if whole else BY_HAND),
        "tasks": list(TASKS),
        "budgets": budgets[size] if whole else budgets[size][-1:],
        "draws": 1 if size == "tiny" else 2,
        "shared": {"data": "sample", "limit": LIMITS[size], "lengths": LENGTHS[size], "device": "cpu"},
        "run": {"workers": workers, "threads": threads},
    }
    if size == "tiny":
        values["models"] = [str(tiny_model(store.parent))]
        values["shared"]["lora"] = {"r": 4, "alpha": 8}
    return values


def tiny_model(folder: Path) -> Path:
    """The folder of the kit's model, made where it is not there."""
    from harness.conformance.toy import tiny_folder

    place = folder / "model" / "tiny"
    return place if (place / "config.json").exists() else tiny_folder(place)
