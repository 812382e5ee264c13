"""Pair losses that TRL's DPOTrainer knows by name: the data, the reference and the schedule are those of `dpo`.

With r(y) = log pi(y|x) - log pi_ref(y|x), the reference being the base model, and w chosen over l:

    ipo    (r(w)/|w| - r(l)/|l| - 1/(2 beta))^2                 arXiv 2310.12036, Eq. 17, per token; beta is its tau
    irpo   -log sigmoid(beta (r(w) - r(l))) - alpha mean log pi(token of w)                    arXiv 2404.19733, Eq. 1

The last mean is over the batch's chosen tokens (TRL's), in the paper over each answer's and then over answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.contracts import Aligned, Aligner, Bench, FewShot, HeldOutFigure, Need, Pair, Schedule
from harness.hookspecs import hookimpl
from harness.methods.fields import Epochs, Preset, Warmup, probe, with_preset
from harness.methods.schedules import CONTRAST_RATE, PAIR_EPOCHS, PAIR_WARMUP, SFT_RATE, fit_on_pairs


class IpoConfig(BaseModel):
    """Hyper-parameters of IPO."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta: float = Field(
        0.1,
        gt=0,
        description="tau of the paper: the margin aimed at is 1/(2 beta) nats a token; 0.1 is TRL's (ours)",
        json_schema_extra=probe(2.0),
    )
    learning_rate: float = Field(
        CONTRAST_RATE,
        gt=0,
        description="peak, cosine to 0 (ours: pilot search for LoRA); the paper trains no language model",
        json_schema_extra=probe(1e-3),
    )
    epochs: Epochs = PAIR_EPOCHS
    warmup: Warmup = PAIR_WARMUP


class IrpoConfig(BaseModel):
    """Hyper-parameters of one iteration of iterative reasoning preference optimization."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = "ours"
    beta: float = Field(
        0.1, gt=0, description="strength of the pull to the reference (paper)", json_schema_extra=probe(1.0)
    )
    alpha: float = Field(
        1.0,
        ge=0,
        description="weight of the chosen answers' mean negative log-likelihood (paper); 0 is DPO",
        json_schema_extra=probe(0.0),
    )
    learning_rate: float = Field(
        SFT_RATE,
        gt=0,
        description="peak, cosine to 0 (ours: search for LoRA); paper 7e-7, all weights",
        json_schema_extra=probe(2e-4),
    )
    epochs: Epochs = PAIR_EPOCHS
    warmup: Warmup = PAIR_WARMUP

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, data: Any) -> Any:
        return with_preset(data, {"learning_rate": 7e-7})


LOSSES: Mapping[str, Callable[[Any], dict[str, float]]] = {
    "ipo": lambda config: {"ipo": 1.0},
    "irpo": lambda config: {"sigmoid": 1.0, "sft": config.alpha},
}
"""Each method's loss as a weighted sum of TRL's."""


class Ipo:
    """Regresses the margin between chosen and rejected answers to a fixed value, so that it cannot grow for ever."""

    name: ClassVar[str] = "ipo"
    paper: ClassVar[str] = "2310.12036"
    version: ClassVar[str] = "4"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    divides_batches: ClassVar[bool] = True
    Config: ClassVar[type[BaseModel]] = IpoConfig

    def __init__(self, config: IpoConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on the pairs."""
        return _fit(self.name, self.config, bench, few_shot)


class Irpo:
    """DPO that also keeps the chosen answers likely."""

    name: ClassVar[str] = "irpo"
    paper: ClassVar[str] = "2404.19733"
    version: ClassVar[str] = "5"
    chosen_by: ClassVar[HeldOutFigure] = "likelihood"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    Config: ClassVar[type[BaseModel]] = IrpoConfig

    def __init__(self, config: IrpoConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on the pairs."""
        return _fit(self.name, self.config, bench, few_shot)


def _fit(name: str, config: IpoConfig | IrpoConfig, bench: Bench, few_shot: FewShot) -> Aligned:
    def trainer(pairs: Sequence[Pair], schedule: Schedule) -> Any:
        return bench.trainers.dpo(pairs, schedule, beta=config.beta, losses=LOSSES[name](config))

    return fit_on_pairs(name, config, bench, few_shot, trainer)


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligners."""
    return [Ipo, Irpo]
