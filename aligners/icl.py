"""In-context learning: the labelled answers as demonstrations before every prompt; nothing is trained.

Brown et al. 2020, arXiv 2005.14165.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import Aligned, Aligner, Bench, EngineCapability, FewShot, Message, Messages, Need, Pair
from harness.hookspecs import hookimpl
from harness.methods.fields import probe
from harness.methods.schedules import require_pairs


class IclConfig(BaseModel):
    """Hyper-parameters of in-context learning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shots: int = Field(
        8,
        ge=1,
        description="demonstrations at most, the first of the draw (ours; all pairs where fewer)",
        json_schema_extra=probe(1),
    )


class Icl:
    """Shows the chosen answers of the few-shot pairs as earlier turns."""

    name: ClassVar[str] = "icl"
    paper: ClassVar[str] = "2005.14165"
    version: ClassVar[str] = "2"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    asks: ClassVar[frozenset[EngineCapability]] = frozenset()
    Config: ClassVar[type[BaseModel]] = IclConfig

    def __init__(self, config: IclConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """The base model behind demonstrations."""
        require_pairs(self.name, few_shot.pairs)
        shown = fitting(bench, few_shot.pairs[: self.config.shots])
        why = None if shown else "the model's window holds no demonstration beside a prompt and an answer"
        bench.liveness(degenerate=why, demonstrations=len(shown))
        return bench.aligned(shown)


def fitting(bench: Bench, pairs: Sequence[Pair]) -> list[Pair]:
    """The first pairs, clipped to the study's lengths, that a window holds beside the longest prompt and answer."""
    longest = bench.regime.prompt_tokens + bench.regime.completion_tokens
    room, found = bench.aligned().max_length - longest, list[Pair]()
    for pair in pairs:
        chosen = _clipped(bench, pair.chosen, _ids(bench, pair.chosen), slice(bench.regime.completion_tokens))
        one = replace(pair, prompt=last_turns(bench, pair.prompt), chosen=chosen)
        room -= len(bench.render(one.prompt)) + len(bench.encode(chosen))
        if room < 0:
            break
        found.append(one)
    return found


def last_turns(bench: Bench, prompt: Messages) -> Messages:
    """The last turns within the study's prompt length, without the system's; the first loses its beginning."""
    room, kept = bench.regime.prompt_tokens, list[Message]()
    for message in reversed([m for m in prompt if m.role != "system"]):
        ids = _ids(bench, message.content)
        kept.append(replace(message, content=_clipped(bench, message.content, ids, slice(-room, None))))
        room -= len(ids)
        if room <= 0:
            break
    while kept[-1].role == "assistant":  # an answer of the demonstration before stands in front
        kept.pop()
    return tuple(reversed(kept))


def _clipped(bench: Bench, text: str, ids: list[int], part: slice) -> str:
    """A part of the text's tokens, as text; the very same text where it is all of it."""
    return text if ids[part] == ids else str(bench.tokenizer.decode(ids[part]))


def _ids(bench: Bench, text: str) -> list[int]:
    return list(bench.tokenizer(text, add_special_tokens=False)["input_ids"])


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Icl]
