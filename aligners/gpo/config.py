"""Every hyper-parameter of `gpo` and `gpo_residual`, with what the paper says of it.

"Paper" is Zhao et al. 2023, arXiv 2310.11523; "ours" marks a value that the paper does not give or that departs from
it. The sizes of the module are the paper's and cannot be set.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.methods.fields import with_preset

Reads = Literal["own", "swapped", "none"]

PAPER = {
    "steps": 200_000,
    "loss": "gaussian",
    "sigma": "exp",
    "centre": "none",
    "standardise": False,
    "pool": "all",
    "most": 100,
    "balanced": False,
    "warmup": 0.0,
}
"""What `preset=paper` sets where nothing else is given."""


def _probe(value: object, **needed: object) -> dict[str, Any]:
    """Probed in short fits: whether a setting matters shows after a few steps."""
    return {"probe": value, "probe_with": {"steps": 6, **needed}}


class ModuleConfig(BaseModel):
    """What both variants share: the episodes, the embeddings and the training of the module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["ours", "paper"] = Field(
        "ours",
        description="whose settings stand where none are given: ours, for few labels, or the paper's",
        json_schema_extra=_probe("paper"),
    )
    # Paper: 200,000 steps of meta-training.
    steps: int | None = Field(
        None,
        ge=1,
        description="steps; by default 15 times the regime's least with pairs, 20 times with groups (ours); "
        "paper: 200,000",
        json_schema_extra={"probe": 5},
    )
    # Paper: Adam with a learning rate of 3e-4, annealed to 0 by a cosine.
    learning_rate: float = Field(
        3e-4, gt=0, description="of Adam, with a cosine to 0 (paper)", json_schema_extra=_probe(3e-3)
    )
    warmup: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of the steps in which the rate rises from 0 (ours); paper: 0",
        json_schema_extra=_probe(0.5),
    )
    # Paper: a batch holds an episode of every training group, 32 of them at the most.
    batch: int = Field(
        32,
        ge=1,
        description="episodes a step at the most: one of every training group (paper)",
        json_schema_extra=_probe(2),
    )
    # Paper: 10 to 100 questions of context and 10 to 100 of targets in an episode; a question's options stay together.
    least: int = Field(
        10,
        ge=1,
        description="questions of a context and of a target set at the least (paper); no more than half of a source's "
        "(ours)",
        json_schema_extra=_probe(1),
    )
    most: int = Field(
        20,
        ge=1,
        description="questions of a context and of a target set at the most, no more than half of a source's (ours); "
        "paper: 100",
        json_schema_extra=_probe(1),
    )
    # Paper: the negative logarithm of N(y; p, sigma), summed over target tokens.
    loss: Literal["gaussian", "cross_entropy", "bradley_terry"] = Field(
        "cross_entropy",
        description="-log N(y; p, sigma) (paper), -sum y log p (ours) or -log sigmoid(mu_w - mu_l) (ours)",
        json_schema_extra=_probe("gaussian"),
    )
    sigma: Literal["exp", "bounded"] = Field(
        "bounded",
        description="exp(raw) (paper), or 0.05 + 0.95 softplus(raw), under which the likelihood cannot diverge (ours)",
        json_schema_extra=_probe("exp", loss="gaussian"),
    )
    balanced: bool = Field(
        True,
        description="first weights give y as much say as all of x together (ours); false: as one dimension (paper)",
        json_schema_extra=_probe(False),
    )
    centre: Literal["none", "question", "both"] = Field(
        "both",
        description="embeddings as they are (paper), less the mean of their question's options, or both side by side "
        "(ours)",
        json_schema_extra=_probe("none"),
    )
    standardise: bool = Field(
        True,
        description="unit variance per dimension over the training texts (ours); paper: false",
        json_schema_extra=_probe(False),
    )
    # Paper: x is the mean of the language model's last hidden layer over prompt, listed options and "A. option text".
    pool: Literal["all", "answer"] = Field(
        "all",
        description="tokens in the mean: prompt, options and answer (paper), or those of the answer only (ours)",
        json_schema_extra=_probe("answer"),
    )
    layer: int = Field(
        -1, description="hidden layer; -1 is the last (paper), 0 the token embeddings", json_schema_extra=_probe(1)
    )
    # Paper: 20 questions of the group itself are its context. It never swaps them.
    context: Reads = Field(
        "own",
        description="what the module reads: the group's own ratings (paper); as controls another's, or nothing (ours)",
        json_schema_extra=_probe("swapped"),
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, data: Any) -> Any:
        return with_preset(data, PAPER)


class GpoConfig(ModuleConfig):
    """The paper's module: embeddings and labels as they are."""

    exchange: bool = Field(
        True,
        description="with pairs, half of the episodes have every label exchanged, so that only the context tells which "
        "answers are wanted (ours; the paper has no pairs)",
        json_schema_extra=_probe(False),
    )
    n: int = Field(
        4, ge=1, description="samples of which `generate` gives the best (ours)", json_schema_extra=_probe(16)
    )
    temperature: float = Field(
        0.7,
        gt=0,
        description="of the n samples where a task asks for greedy decoding (ours)",
        json_schema_extra={"no_effect": "greedy requests only; others bring their own"},
    )


class GpoResidualConfig(ModuleConfig):
    """The variant for groups: what a group adds to the mean, over the axes along which groups differ."""

    context_y: Literal["residual", "raw"] = Field(
        "residual",
        description="labels, and mu, are what a group adds to the training groups' mean (ours), or as they are (paper)",
        json_schema_extra=_probe("raw"),
    )
    axes: int = Field(
        4,
        ge=0,
        description="axes of the training groups' differences, read off the embeddings, as x (ours); 0: the embeddings "
        "(paper)",
        json_schema_extra=_probe(0),
    )
