"""Kahneman-Tversky optimization (Ethayarajh et al. 2024, arXiv 2402.01306), with TRL's KTOTrainer.

With r(x, y) = log pi(y|x) - log pi_ref(y|x), the reference being the base model, Eq. 7:

    z_0 = max(0, mean over the batch of r(x, y'))       y' another prompt's answer; no gradient
    v   = lambda_D sigmoid(beta (r(x, y) - z_0))        y desirable
          lambda_U sigmoid(beta (z_0 - r(x, y)))        y undesirable
    L   = mean of lambda_y - v

A pair gives one desirable row (chosen) and one undesirable row (rejected): the labels are the pairs' own, no more.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import Aligned, Aligner, Bench, FewShot, Need, Pair
from harness.fit.recipes import Epochs, Warmup, cosine, require_pairs
from harness.hookspecs import hookimpl


class KtoConfig(BaseModel):
    """Hyper-parameters of KTO."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta: float = Field(
        0.1, gt=0, description="strength of the pull to the reference [S]", json_schema_extra={"probe": 1.0}
    )
    desirable_weight: float = Field(
        1.0,
        gt=0,
        description="lambda_D: 1 where both kinds are equally many, as here [S, Eq. 8]",
        json_schema_extra={"probe": 3.0},
    )
    undesirable_weight: float = Field(
        1.0,
        gt=0,
        description="lambda_U: 1 where both kinds are equally many, as here [S, Eq. 8]",
        json_schema_extra={"probe": 3.0},
    )
    learning_rate: float = Field(
        5e-5,
        gt=0,
        description="peak, cosine to 0 (pilot search for LoRA) [R]; paper 5e-7 to 5e-6, all weights [N]",
        json_schema_extra={"probe": 1e-3},
    )
    epochs: Epochs = 3.0
    warmup: Warmup = 0.1


class Kto:
    """Makes desirable answers better and undesirable ones worse than the policy's usual reward."""

    name: ClassVar[str] = "kto"
    paper: ClassVar[str] = "2402.01306"
    version: ClassVar[str] = "3"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    Config: ClassVar[type[BaseModel]] = KtoConfig

    def __init__(self, config: KtoConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on both answers of every pair, each by itself."""
        require_pairs(self.name, few_shot.pairs)
        pairs, held_out = bench.split(few_shot.pairs)
        blocks = fixed_blocks(pairs, bench.regime.batch, bench.seed)
        rows = [row for block in blocks for row in block_rows(bench, block, pairs)]
        bench.train(self._trainer(bench, rows, len(pairs)), held_out=held_out)
        matched = sum(row["matched"] for row in rows) / len(rows)
        bench.liveness(fixed_order=1.0, kl_matched_share=matched)
        return bench.aligned()

    def _trainer(self, bench: Bench, rows: list[dict[str, Any]], pairs: int) -> Any:
        from datasets import Dataset
        from trl import KTOConfig, KTOTrainer

        from harness.fit.paired import sharing_prefixes

        class Encoded(sharing_prefixes(KTOTrainer)):  # type: ignore[misc]
            def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
                return dataset

        config = self.config
        arguments = bench.arguments(
            KTOConfig,
            beta=config.beta,
            desirable_weight=config.desirable_weight,
            undesirable_weight=config.undesirable_weight,
            # The reference and the order are fixed: one pass of it over the rows is enough.
            precompute_ref_log_probs=True,
            **cosine(bench, pairs, learning_rate=config.learning_rate, epochs=config.epochs, warmup=config.warmup),
        )
        # The regime counts pairs, the trainer rows.
        arguments.per_device_train_batch_size = 2 * bench.regime.batch
        return Encoded(
            model=bench.policy,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=bench.tokenizer,
        )


def fixed_blocks(pairs: Sequence[Pair], batch: int, seed: int) -> list[list[Pair]]:
    """The pairs in a seeded order, cut into blocks of `batch`: what each step of every epoch takes."""
    order = list(pairs)
    random.Random(seed).shuffle(order)
    return [order[start : start + batch] for start in range(0, len(order), batch)]


def block_rows(bench: Bench, block: Sequence[Pair], pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Rows of one step: first the block's desirable answers, then its undesirable ones, each with a mismatched one.

    The mismatched answer y' is the one of the row before, so y' and y are the same answers, and no prompt meets an
    answer of its own while neighbours differ in prompt. A block of one prompt borrows from another pair, if there is
    any. `matched` marks rows where that was not possible; TRL leaves the column out of what the model is given.
    """
    sides = [(pair, answer, True) for pair, answer in ((p, p.chosen) for p in block)]
    sides += [(pair, answer, False) for pair, answer in ((p, p.rejected) for p in block)]
    rows = []
    for place, (pair, answer, desirable) in enumerate(sides):
        other, mismatched, _ = sides[place - 1]
        if other.prompt == pair.prompt:
            other = next((p for p in pairs if p.prompt != pair.prompt), other)
            mismatched = other.chosen if desirable else other.rejected
        rows.append(
            {
                "prompt_ids": bench.render(pair.prompt),
                "completion_ids": bench.encode(answer),
                "KL_completion_ids": bench.encode(mismatched),
                "label": desirable,
                "matched": other.prompt == pair.prompt,
            }
        )
    return rows


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Kto]
