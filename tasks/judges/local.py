"""A language model of ours as judge: it reads both answers and is asked for one letter.

P(a better) is the probability of a's letter among the two, averaged over both orders of the answers, so that a liking
for one letter or one position cancels. Works on whatever `JudgeTools.load` gives: it asks for log-likelihoods only.

Weights: Dubois et al. 2024 (AlpacaEval 2), arXiv:2404.04475; both orders: Zheng et al. 2023, arXiv:2306.05685.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from harness.contracts import (
    HarnessError,
    Judge,
    JudgeBasis,
    JudgeItem,
    JudgeTools,
    LanguageModel,
    LoglikRequest,
    Verdict,
    require,
)
from harness.hookspecs import hookimpl
from harness.util.chat import render_prompt
from harness.util.checked import Damaged, read_checked_json, write_checked_json
from harness.util.hashes import content_hash
from tasks.judges.prompts import IDENTIFIERS, VERSION, comparison, conversation

LONGEST = 2048
"""Longest prompt in tokens, where the model takes as much."""
INSTRUCTION_SHARE = 0.5
"""Share of the prompt that an instruction may take; a longer one loses its beginning."""
CHUNK = 8
"""Items between two reports of progress."""
CUT = "[...]"
"""Stands where text was cut."""
LEAST_ROOM = 64
"""Tokens that must be left for instruction and answers."""
_UNLIMITED = 10**9


class Local:
    """A model here, asked for one of two letters in both orders (`local:MODEL`; `local`: the study's model)."""

    name: ClassVar[str] = "local"
    version: ClassVar[str] = f"1-prompt{VERSION}"
    model_name: ClassVar[str] = ""
    """Harness name of the model that judges; empty for the study's own."""

    def __init__(self, tools: JudgeTools | None = None) -> None:
        self.tools = tools

    @classmethod
    def named(cls, argument: str) -> type[Judge]:
        """The judge that asks model `argument` (a built-in name, a hub id or a folder)."""
        if not argument.strip():
            raise HarnessError("judge 'local:' names no model; write local:MODEL, or local for the study's own")
        facts = {"name": f"local:{argument}", "model_name": argument, "__doc__": cls.__doc__}
        return type("Local", (Local,), facts)

    def with_tools(self, tools: JudgeTools) -> Judge:
        """The judge with a way to load its model."""
        return type(self)(tools)

    def basis(self) -> JudgeBasis:
        """The model that judges; the study's own needs no mention."""
        return JudgeBasis(models=(self.model_name,) if self.model_name else ())

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """One verdict per item. Raises HarnessError without tools, or for a model that gives no log-likelihoods."""
        if not items:
            return []
        verdicts: list[Verdict] = []
        for start in range(0, len(items), CHUNK):
            asked = [_ask(self._model, item) for item in items[start : start + CHUNK]]
            totals = iter(self._totals([request for one in asked for request in one.requests]))
            verdicts += [_verdict(one, [next(totals) for _ in one.requests]) for one in asked]
            self._report(len(verdicts), len(items))
        return verdicts

    def _totals(self, requests: Sequence[LoglikRequest]) -> list[float]:
        """The log-probability of each request's letter, from the cache where the model was asked all of them before.

        They are kept together, because those that are computed together can differ in their last bit from others.
        """
        basis = None if self.tools is None else self.tools.basis(self.model_name)
        if self.tools is None or basis is None:
            return [answer.total for answer in self._model.loglik(requests)]
        asked = [[list(request.context), list(request.continuation)] for request in requests]
        kept = self.tools.cache / f"{content_hash(self.version, basis, asked)}.json"
        try:
            known = read_checked_json(kept)
        except Damaged:
            known = None
        if known is None:
            known = [answer.total for answer in self._model.loglik(requests)]
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_checked_json(kept, known)
        return list(known)

    def language_model(self) -> LanguageModel:
        """The model that judges, for what else a task may ask it. Raises HarnessError as `compare` does."""
        return self._model

    @cached_property
    def _model(self) -> LanguageModel:
        if self.tools is None:
            raise HarnessError(f"judge {self.name} needs a model to judge with, and was given no way to load one")
        model = self.tools.load(self.model_name)
        require(model, "loglik", by=f"judge {self.name}")
        return model

    def _report(self, done: int, total: int) -> None:
        if self.tools is not None:
            self.tools.progress(f"judge {self.name}", done, total)


@dataclass(frozen=True, slots=True)
class _Asked:
    """An item as the model sees it."""

    requests: tuple[LoglikRequest, ...]
    """a first: letter of a, letter of b; b first: letter of a, letter of b."""
    cut: str
    """What was clipped; empty for nothing."""


def _ask(model: LanguageModel, item: JudgeItem) -> _Asked:
    letters = [tuple(_plain(model.tokenizer, letter)) for letter in IDENTIFIERS]
    limit = min(LONGEST, model.max_length) - max(map(len, letters))
    instruction, a, b, cut = _fitted(model.tokenizer, item, limit)
    orders = (((a, b), letters), ((b, a), letters[::-1]))
    requests = [
        LoglikRequest(tuple(_render(model.tokenizer, instruction, *shown)), letter)
        for shown, letters_of_a_and_b in orders
        for letter in letters_of_a_and_b
    ]
    return _Asked(tuple(requests), cut)


def _verdict(asked: _Asked, totals: Sequence[float]) -> Verdict:
    """Both orders' P(a better), and their mean."""
    per_order = tuple(_share(totals[i], totals[i + 1]) for i in (0, 2))
    if not all(map(math.isfinite, per_order)):
        return Verdict(
            0.5, (), json.dumps({"logprobs": list(map(str, totals))}), 0, 0.0, "the model gave no probability"
        )
    raw = json.dumps({"logprobs": [totals[:2], totals[2:]], "cut": asked.cut})
    tokens = sum(len(r.context) + len(r.continuation) for r in asked.requests[::2])
    return Verdict(sum(per_order) / 2, per_order, raw, tokens, 0.0)


def _share(mine: float, other: float) -> float:
    """exp(mine) / (exp(mine) + exp(other)), without overflow."""
    return 0.5 * (1.0 + math.tanh((mine - other) / 2))


# ---------------------------------------------------------------- fitting the prompt


def _fitted(tokenizer: Any, item: JudgeItem, limit: int) -> tuple[str, str, str, str]:
    """Instruction and both answers so that the prompt has at most `limit` tokens, and what was cut.

    An instruction above its share loses its beginning. Answers lose their end, both above the same number of tokens.
    Raises HarnessError when the model takes hardly more than the template.
    """
    room = limit - len(_render(tokenizer, "", "", ""))
    if room < LEAST_ROOM:
        raise HarnessError(
            f"the judge's template leaves {room} tokens of {limit} for texts: at least {LEAST_ROOM} needed"
        )
    instruction, notes = conversation(item.prompt), []
    allowed = int(room * INSTRUCTION_SHARE)
    ids = _plain(tokenizer, instruction)
    if len(ids) > allowed and _excess(tokenizer, instruction, item.a, item.b, limit) > 0:
        instruction = f"{CUT} {tokenizer.decode(ids[-allowed:])}"
        notes.append(f"instruction to its last {allowed} tokens")
    a, b, kept = _fitted_answers(tokenizer, instruction, (item.a, item.b), limit)
    if kept is not None:
        notes.append(f"answers to {kept} tokens")
    return instruction, a, b, "; ".join(notes)


def _fitted_answers(
    tokenizer: Any, instruction: str, answers: tuple[str, str], limit: int
) -> tuple[str, str, int | None]:
    """The answers, cut above the same number of tokens where the prompt is too long, and that number."""
    ids = [_plain(tokenizer, text) for text in answers]
    shown, kept = list(answers), None
    while (excess := _excess(tokenizer, instruction, shown[0], shown[1], limit)) > 0 and kept != 1:
        before = max(map(len, ids)) if kept is None else kept
        kept = max(1, _level([min(len(one), before) for one in ids], excess))
        shown = [
            text if len(one) <= kept else f"{tokenizer.decode(one[:kept])} {CUT}"
            for text, one in zip(answers, ids, strict=True)
        ]
    return shown[0], shown[1], kept


def _level(lengths: Sequence[int], excess: int) -> int:
    """The largest length to which both must be cut so that together they lose `excess`; the shorter loses last."""
    short, target = min(lengths), sum(lengths) - excess
    return target - short if 2 * short <= target else target // 2


def _excess(tokenizer: Any, instruction: str, a: str, b: str, limit: int) -> int:
    """Tokens above the limit, in the longer of the two orders."""
    return max(len(_render(tokenizer, instruction, *shown)) for shown in ((a, b), (b, a))) - limit


def _render(tokenizer: Any, instruction: str, first: str, second: str) -> list[int]:
    return render_prompt(tokenizer, comparison(instruction, first, second), _UNLIMITED)


def _plain(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@hookimpl
def harness_judges() -> list[type[Judge]]:
    """The judge of this module."""
    return [Local]
