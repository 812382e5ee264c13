"""Small pieces that several aligners share. Functions, not base classes; trainers are made when they are called."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.contracts import Bench, HarnessError, Pair

Preset = Annotated[
    Literal["ours", "paper"],
    Field(
        description="whose values stand where none are given: ours, for an adapter [R]; the paper's, for all weights",
        json_schema_extra={"probe": "paper"},
    ),
]
Epochs = Annotated[
    float,
    Field(
        gt=0,
        description="passes over the pairs; the regime's minimum of steps holds [N]",
        json_schema_extra={"probe": 6.0},
    ),
]
Warmup = Annotated[
    float, Field(ge=0, lt=1, description="share of steps with rising rate [N]", json_schema_extra={"probe": 0.5})
]


def with_preset(data: Any, paper: Mapping[str, Any]) -> Any:
    """A config's input with a preset's values written out, so that a record shows what ran; what was given stands."""
    named = isinstance(data, Mapping) and data.get("preset") == "paper"
    return {**paper, **data} if named else data


def steps(bench: Bench, items: int, epochs: float) -> int:
    """Optimizer steps for `epochs` passes over `items` in the regime's batches, and never fewer than its minimum."""
    return max(bench.regime.min_steps, math.ceil(epochs * items / bench.regime.batch))


def cosine(bench: Bench, items: int, *, learning_rate: float, epochs: float, warmup: float) -> dict[str, Any]:
    """Training arguments of the schedule that the pair methods share: rises over `warmup`, then a cosine to 0."""
    return {
        "learning_rate": learning_rate,
        "max_steps": steps(bench, items, epochs),
        "lr_scheduler_type": "cosine",
        "warmup_steps": warmup,
    }


def require_pairs(name: str, pairs: Sequence[Pair]) -> None:
    """Raises HarnessError when there is nothing to learn from."""
    if not pairs:
        raise HarnessError(f"aligner {name} needs labelled pairs and was given none; raise --budget")


def supervised_trainer(
    bench: Bench, pairs: Sequence[Pair], *, learning_rate: float, epochs: float, warmup: float
) -> Any:
    """TRL's SFTTrainer on the chosen answers: mean negative log-likelihood of completion tokens."""
    from datasets import Dataset
    from trl import SFTConfig

    from harness.fit.paired import shared_prefix_sft

    rows = [_supervised_row(bench, pair) for pair in pairs]
    schedule = cosine(bench, len(pairs), learning_rate=learning_rate, epochs=epochs, warmup=warmup)
    arguments = bench.arguments(SFTConfig, completion_only_loss=True, packing=False, **schedule)
    return shared_prefix_sft()(
        model=bench.policy, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=bench.tokenizer
    )


def _supervised_row(bench: Bench, pair: Pair) -> dict[str, list[int]]:
    prompt, answer = bench.render(pair.prompt), bench.encode(pair.chosen)
    return {"input_ids": prompt + answer, "completion_mask": [0] * len(prompt) + [1] * len(answer)}
