"""The result: the trained module, the contexts that it reads, and what it answers beside the language model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aligners.gpo.config import ModuleConfig
from aligners.gpo.network import NeuralProcess, new_module
from aligners.gpo.outlook import Outlook, View
from aligners.gpo.sources import PAIRS
from harness.contracts import (
    ChooseRequest,
    Completion,
    GenerateRequest,
    LanguageModel,
    Preference,
    PreferRequest,
)
from harness.opinions.features import Embedder, Features
from harness.opinions.questions import Question, answers_question, known_group, option_question, plain
from harness.opinions.results import log_distribution, read, write
from harness.util.maths import softmax

if TYPE_CHECKING:
    from harness.opinions.questions import Singles

TARGETS_AT_ONCE = 512
"""Questions of one forward at inference."""


@dataclass(frozen=True, eq=False)
class Reader:
    """The trained module, the features it was trained on, and the contexts it reads: predicts mu for any option."""

    module: NeuralProcess
    view: View
    contexts: Mapping[str, tuple[Singles, Singles]]
    """By group: inputs (C, D) and labels (C,) of its context tokens."""

    def mu(self, questions: Sequence[Question], group: str) -> list[list[float]]:
        """Preference of every option of every question, on behalf of `group`; defined up to a constant per question.

        Where labels depart from what groups share, its logarithm is in it.
        """
        found: list[list[float]] = []
        self.view.embedder.prepare(questions)
        for several in _at_once(questions):
            part = [self.view(q) for q in several]
            flat = iter(self._forward([one.x for one in part], group))
            base = [[math.log(p) if self.view.relative else 0.0 for p in one.shared] for one in part]
            found += [[next(flat) + log_p for log_p in one] for one in base]
        return found

    def flops(self, questions: Sequence[Question], group: str) -> float:
        """What `mu` costs beside the embeddings, in FLOPs."""
        context = len(self.contexts[group][1])
        options = [sum(len(one.texts) for one in several) for several in _at_once(questions)]
        return sum(self.module.flops(1, context + count, context) for count in options)

    def _forward(self, part: Sequence[Singles], group: str) -> list[float]:
        shown, y = self.contexts[group]
        device = next(self.module.parameters()).device
        x = torch.from_numpy(np.concatenate([shown, *part])).to(device)
        preferences = torch.zeros(len(x), device=device)
        preferences[: len(y)] = torch.from_numpy(y)
        with torch.no_grad():
            mu, _ = self.module(x[None], preferences[None], torch.tensor([len(y)], device=device))
        found: list[float] = mu[0, len(y) :].tolist()
        return found


def _at_once(questions: Sequence[Question]) -> list[Sequence[Question]]:
    """Parts that one forward takes."""
    return [questions[start : start + TARGETS_AT_ONCE] for start in range(0, len(questions), TARGETS_AT_ONCE)]


@dataclass(frozen=True, eq=False)
class GpoAligned:
    """The frozen language model and the module that chooses beside it."""

    model: LanguageModel
    reader: Reader
    config: ModuleConfig
    name: str
    """Of the aligner, and of its files."""

    @property
    def tokenizer(self) -> Any:
        """The language model's tokenizer."""
        return self.model.tokenizer

    @property
    def max_length(self) -> int:
        """The language model's, in tokens."""
        return self.model.max_length

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """log softmax(mu) over the options of each question, read in the context of its group (else of the pairs)."""
        by_group: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            by_group.setdefault(self._group(request.group), []).append(index)
        found: list[list[float]] = [[] for _ in requests]
        for group, indices in by_group.items():
            ask = answers_question if group == PAIRS else option_question  # as the module saw them in training
            asked = [ask(plain(requests[i].prompt), requests[i].options) for i in indices]
            for i, mu in zip(indices, self._mu(asked, group), strict=True):
                found[i] = log_distribution(softmax(mu))
        return found

    def save(self, folder: Path) -> None:
        """Write the language model's part, the module, the features and the contexts: safetensors and JSON."""
        self.model.save(folder)
        reader, names = self.reader, sorted(self.reader.contexts)
        arrays = {f"module.{k}": v.detach().cpu().numpy() for k, v in reader.module.state_dict().items()}
        view, outlook = reader.view, reader.view.outlook
        arrays |= {"features.mean": view.features.mean, "features.scale": view.features.scale}
        if outlook is not None:
            arrays |= {f"outlook.known.{key}": rows for key, rows in outlook.known.items()}
            arrays |= {"outlook.weights": outlook.weights, "outlook.unit": np.array([outlook.unit])}
        for i, name in enumerate(names):
            arrays[f"context.{i}.x"], arrays[f"context.{i}.y"] = reader.contexts[name]
        settings = {
            "config": self.config.model_dump(mode="json"),
            "contexts": names,
            "relative": view.relative,
        }
        contiguous = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
        write(folder, self.name, settings, contiguous)

    def _group(self, group: str | None) -> str:
        return known_group(group, self.reader.contexts)

    def _mu(self, questions: Sequence[Question], group: str) -> list[list[float]]:
        self.model.spend(self.reader.flops(questions, group))
        return self.reader.mu(questions, group)


@dataclass(frozen=True, eq=False)
class PairsGpoAligned(GpoAligned):
    """Trained on pairs too, it is a reward model as well: it prefers, and ranks the language model's answers."""

    n: int
    """Samples of which the best is given."""
    heat: float
    """Temperature of the samples where greedy decoding is asked for."""

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        """P(a better) = sigmoid(mu_a - mu_b): no likelihood of the language model's enters."""
        asked = [answers_question(plain(r.prompt), (r.a, r.b)) for r in requests]
        return [Preference(softmax(mu)[0], None, None) for mu in self._mu(asked, PAIRS)]

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        """Best of n: the frozen model samples n answers for each that is asked for, the highest mu is given."""
        wider = [replace(r, n=r.n * self.n, temperature=self._heat(r)) for r in requests]
        samples = self.model.generate(wider)
        return [self._best(r, several) for r, several in zip(requests, samples, strict=True)]

    def _group(self, group: str | None) -> str:
        return PAIRS if group is None or group not in self.reader.contexts else group

    def _heat(self, request: GenerateRequest) -> float:
        greedy = request.temperature == 0 and self.n > 1
        return self.heat if greedy else request.temperature

    def _best(self, request: GenerateRequest, samples: Sequence[Completion]) -> list[Completion]:
        prompt = request.context if isinstance(request.context, str) else plain(request.context)
        n = self.n
        if n == 1:
            return list(samples)
        lots = [samples[i : i + n] for i in range(0, len(samples), n)]
        asked = [answers_question(prompt, [one.text for one in lot]) for lot in lots]
        found = self._mu(asked, PAIRS)
        return [lot[max(range(n), key=mu.__getitem__)] for lot, mu in zip(lots, found, strict=True)]


def around(model: LanguageModel, reader: Reader, config: ModuleConfig, name: str) -> GpoAligned:
    """The result that embeds under the model's base weights, as the fit did."""
    embedder = Embedder(model.embed, config.layer, config.pool, model.adapter_off)
    reader = replace(reader, view=replace(reader.view, embedder=embedder))
    return GpoAligned(model, reader, config, name)


def ranking(result: GpoAligned, n: int, heat: float) -> GpoAligned:
    """The same result, as a reward model too where the pairs taught it."""
    if PAIRS not in result.reader.contexts:
        return result
    return PairsGpoAligned(result.model, result.reader, result.config, result.name, n, heat)


def load(model: LanguageModel, folder: Path, config_class: type[ModuleConfig], name: str) -> GpoAligned | None:
    """What `GpoAligned.save` wrote, around `model`; None where the fit was stopped before its first step."""
    saved = read(folder, name)
    if saved is None:
        return None
    settings, arrays = saved
    config = config_class.model_validate(settings["config"])
    view = _view(arrays, config, Embedder(model.embed), relative=settings["relative"])
    module = new_module(view.dim_x, 0, model.device)
    module.load_state_dict({k: torch.from_numpy(v) for k, v in _under(arrays, "module.").items()})
    contexts = {n: (arrays[f"context.{i}.x"], arrays[f"context.{i}.y"]) for i, n in enumerate(settings["contexts"])}
    return around(model, Reader(module.eval(), view, contexts), config, name)


def _view(arrays: Mapping[str, Any], config: ModuleConfig, embedder: Embedder, *, relative: bool) -> View:
    features = Features(config.centre, arrays["features.mean"], arrays["features.scale"])
    outlook = None
    if "outlook.weights" in arrays:
        known = _under(arrays, "outlook.known.")
        outlook = Outlook(arrays["outlook.weights"], float(arrays["outlook.unit"][0]), known)
    return View(embedder, features, outlook, relative)


def _under(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
