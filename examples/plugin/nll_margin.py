"""`nll_margin`: learn the chosen answer, and keep it ahead of the rejected one by a margin.

    loss = -log pi(w)/|w| + weight * max(0, margin - (log pi(w)/|w| - log pi(l)/|l|))

w is the chosen answer, l the rejected one, |.| their length in tokens; log-probabilities in nats. No reference model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import Aligned, Aligner, Bench, FewShot, HarnessError, Need, Pair
from harness.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class NllMarginConfig(BaseModel):
    """Hyper-parameters; each probe is a second value that must change the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(2e-4, gt=0, description="peak, cosine to 0", json_schema_extra={"probe": 1e-3})
    epochs: float = Field(3.0, gt=0, description="passes over the pairs, at least", json_schema_extra={"probe": 5.0})
    margin: float = Field(0.5, ge=0, description="wanted lead, nats per token", json_schema_extra={"probe": 0.05})
    weight: float = Field(1.0, ge=0, description="of the hinge; 0 is plain SFT", json_schema_extra={"probe": 0.0})


class NllMargin:
    """Supervised fine-tuning on the chosen answers with a hinge on the length-normalised lead."""

    name: ClassVar[str] = "nll_margin"
    paper: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    Config: ClassVar[type[BaseModel]] = NllMarginConfig

    def __init__(self, config: NllMarginConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on the pairs; some are held out where the study says so."""
        if not few_shot.pairs:
            raise HarnessError("aligner nll_margin needs labelled pairs and was given none")
        pairs, held_out = bench.split(few_shot.pairs)
        bench.train(self._trainer(bench, pairs), held_out=held_out)
        return bench.aligned()

    def _trainer(self, bench: Bench, pairs: tuple[Pair, ...]) -> Any:
        import torch
        from transformers import Trainer, TrainingArguments

        config = self.config

        class MarginTrainer(Trainer):  # type: ignore[misc]
            def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
                scored = bench.logprobs(inputs["prompts"], inputs["answers"])
                losses = [loss(good.logprobs.mean(), bad.logprobs.mean(), config) for good, bad in scored]
                return torch.stack(losses).mean()

        steps = max(bench.regime.min_steps, math.ceil(config.epochs * len(pairs) / bench.regime.batch))
        arguments = bench.arguments(
            TrainingArguments, learning_rate=config.learning_rate, max_steps=steps, lr_scheduler_type="cosine"
        )
        rows = [(bench.render(p.prompt), (bench.encode(p.chosen), bench.encode(p.rejected))) for p in pairs]
        return MarginTrainer(model=bench.policy, args=arguments, train_dataset=rows, data_collator=collated)


def collated(rows: Any) -> dict[str, Any]:
    """A batch of (prompt, answers) as what the loss asks for."""
    prompts, answers = zip(*rows, strict=True)
    return {"prompts": prompts, "answers": answers}


def loss(chosen: Tensor, rejected: Tensor, config: NllMarginConfig) -> Tensor:
    """The loss of one pair from mean log-probabilities per token, both scalars in nats."""
    return -chosen + config.weight * (config.margin - (chosen - rejected)).clamp(min=0)


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """What this package adds to the harness."""
    return [NllMargin]
