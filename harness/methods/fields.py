"""Fields of configs that several aligners have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict, Unpack

from pydantic import Field


class Bounds(TypedDict, total=False):
    """Limits of a setting's value, and its other name, as pydantic's `Field` has them."""

    gt: float
    ge: float
    lt: float
    le: float
    min_length: int
    alias: str


def probe(value: object, **needed: object) -> dict[str, Any]:
    """Metadata of a field: a second value that must change the result, and other settings without which it cannot."""
    return {"probe": value, "probe_with": needed} if needed else {"probe": value}


def setting(
    default: Any,
    description: str,
    *,
    tried: object,
    beside: Mapping[str, object] | None = None,
    **bounds: Unpack[Bounds],
) -> Any:
    """A field with its description and the value that is tried to see that it matters, `beside` other settings."""
    return Field(default, description=description, json_schema_extra=probe(tried, **(beside or {})), **bounds)


Preset = Annotated[
    Literal["ours", "paper"],
    Field(
        description="which defaults hold: ours, chosen for an adapter, or the paper's, for all weights",
        json_schema_extra=probe("paper"),
    ),
]
Epochs = Annotated[
    float,
    Field(
        gt=0,
        description="passes over the pairs, but at least the regime's least number of steps (ours)",
        json_schema_extra=probe(6.0),
    ),
]
Warmup = Annotated[
    float,
    Field(ge=0, lt=1, description="share of the steps in which the rate rises (ours)", json_schema_extra=probe(0.5)),
]


def with_preset(data: Any, paper: Mapping[str, Any]) -> Any:
    """A config's input with a preset's values written out, so that a record shows what ran; what was given stands."""
    named = isinstance(data, Mapping) and data.get("preset") == "paper"
    return {**paper, **data} if named else data
