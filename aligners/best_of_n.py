"""Best of n by the implicit reward of a DPO adapter (Rafailov et al. 2023, arXiv 2305.18290, Sec. 4).

DPO's optimum makes the adapter a reward model, `r(x, y) = beta (log pi(y|x) - log pi_base(y|x))` up to a term in x
alone (Eq. 5). Here the policy is not used to write: the base model samples n answers, the best by r is given.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.contracts import (
    Aligned,
    Aligner,
    Bench,
    ChooseRequest,
    Completion,
    FewShot,
    GenerateRequest,
    LanguageModel,
    Loglik,
    LoglikRequest,
    Messages,
    Need,
    Pair,
    Preference,
    PreferRequest,
    Schedule,
)
from harness.hookspecs import hookimpl
from harness.methods.fields import Epochs, Preset, Warmup, with_preset
from harness.methods.schedules import CONTRAST_RATE, fit_on_pairs
from harness.util.maths import sigmoid

SETTINGS = "best_of_n.json"


class BestOfNConfig(BaseModel):
    """Hyper-parameters of the reward's training and of the choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = "ours"
    n: int = Field(4, ge=1, description="samples of the base model per answer (ours)", json_schema_extra={"probe": 16})
    temperature: float = Field(
        1.0,
        gt=0,
        description="temperature of the samples if a task asks for greedy decoding (ours)",
        json_schema_extra={
            "no_effect": "used at inference alone, and only for a request that asks for greedy decoding"
        },
    )
    beta: float = Field(
        0.1,
        gt=0,
        description="beta of DPO's loss and of the reward (paper)",
        json_schema_extra={"probe": 1.0},
    )
    learning_rate: float = Field(
        CONTRAST_RATE,
        gt=0,
        description="peak, cosine to 0; that of dpo (ours: search for LoRA); paper 1e-6, all weights",
        json_schema_extra={"probe": 1e-3},
    )
    epochs: Epochs = 3.0
    warmup: Warmup = 0.1

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, data: Any) -> Any:
        return with_preset(data, {"learning_rate": 1e-6})


class BestOfN:
    """Ranks the base model's own samples by the reward that DPO finds in the pairs."""

    name: ClassVar[str] = "best_of_n"
    paper: ClassVar[str] = "2305.18290"
    version: ClassVar[str] = "5"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    divides_batches: ClassVar[bool] = True
    Config: ClassVar[type[BaseModel]] = BestOfNConfig

    def __init__(self, config: BestOfNConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train DPO on the pairs, to rank by."""

        def trainer(pairs: Sequence[Pair], schedule: Schedule) -> Any:
            return bench.trainers.dpo(pairs, schedule, beta=self.config.beta)

        fit_on_pairs(self.name, self.config, bench, few_shot, trainer)
        return self.finish(bench)

    def finish(self, bench: Bench) -> Aligned:
        """The ranker by the adapter as it stands, at the cap too."""
        config = self.config
        return Ranker(bench.aligned(), n=config.n, temperature=config.temperature, beta=config.beta)

    @classmethod
    def load(cls, model: LanguageModel, folder: Path) -> Aligned:
        """The ranker around `model`."""
        return Ranker(model, **json.loads((folder / SETTINGS).read_text()))


@dataclass(frozen=True)
class Ranker:
    """A base model whose samples are ranked by an adapter's implicit reward."""

    model: LanguageModel
    n: int
    temperature: float
    beta: float

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.model.tokenizer

    @property
    def max_length(self) -> int:
        """Longest context plus continuation, in tokens."""
        return self.model.max_length

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        """For every sample asked for, the best of n that the base model draws."""
        widened = [replace(r, n=r.n * self.n, temperature=r.temperature or self.temperature) for r in requests]
        with self.model.adapter_off():
            drawn = self.model.generate(widened)
        scored = iter(
            self.rewards(
                [
                    LoglikRequest(self._context(r.context, r.max_new_tokens), one.ids)
                    for r, samples in zip(requests, drawn, strict=True)
                    for one in samples
                ]
            )
        )
        return [best_of([(next(scored), one) for one in samples], self.n) for samples in drawn]

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        """Those of the base model: ranking changes which sample is given, not what one is worth to the model."""
        with self.model.adapter_off():
            return self.model.loglik(requests)

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """Those of the base model."""
        with self.model.adapter_off():
            return self.model.choose(requests)

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        """P(a better) = sigmoid(r(a) - r(b)), as in the model that DPO fits (its Eq. 6)."""
        asked = [
            LoglikRequest(tuple(self.model.render(r.prompt)), tuple(self.model.encode(answer)))
            for r in requests
            for answer in (r.a, r.b)
        ]
        rewards = self.rewards(asked)
        return [Preference(sigmoid(a - b), None, None) for a, b in zip(rewards[::2], rewards[1::2], strict=True)]

    def rewards(self, requests: Sequence[LoglikRequest]) -> list[float]:
        """beta (log pi - log pi_base) of every continuation, in nats."""
        policy, base = self.model.loglik(requests), self.loglik(requests)
        return [self.beta * (p.total - b.total) for p, b in zip(policy, base, strict=True)]

    def save(self, folder: Path) -> None:
        """Write the adapter and the settings of the choice."""
        self.model.save(folder)
        settings = {"n": self.n, "temperature": self.temperature, "beta": self.beta}
        (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")

    def _context(self, context: str | Messages, new_tokens: int) -> tuple[int, ...]:
        """Token ids that the samples followed, clipped as they were for the samples."""
        if not isinstance(context, str):
            return tuple(self.model.render(context))
        return tuple(self.tokenizer.encode(context)[-(self.max_length - new_tokens) :])


def best_of(scored: Sequence[tuple[float, Completion]], n: int) -> list[Completion]:
    """The completion of highest reward in every run of `n`; the first of equals."""
    runs = [scored[start : start + n] for start in range(0, len(scored), n)]
    return [max(run, key=lambda item: item[0])[1] for run in runs]


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [BestOfN]
