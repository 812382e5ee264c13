"""Where the kit fits aligners: a tiny model, small budgets, results kept for several checks."""

from __future__ import annotations

import gc
import hashlib
import random
import tempfile
import unittest
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from harness.config import Lora
from harness.conformance.answers import NEVER, answers, margins
from harness.conformance.lesson import HELD_OUT, lesson, lesson_pairs
from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import (
    BASE,
    POLICY,
    Aligned,
    Aligner,
    Budget,
    Capability,
    FewShot,
    LanguageModel,
    Lengths,
    Need,
    Regime,
    capabilities,
)
from harness.fit.demands import takes
from harness.meter import Meter

if TYPE_CHECKING:
    from harness.fit.bench import LocalBench
    from harness.fit.fitting import Fitted


SHORT = Regime(
    Budget(batch=2, min_steps=8),
    Lengths(prompt=256, completion=48, new_tokens=32, sample_prompts=2),
    device="cpu",
    precision="fp32",
)
"""Enough to see whether something changes."""


LONG = SHORT.with_budget(batch=4, min_steps=64)
"""Enough to learn the lesson."""


HALF = SHORT.with_budget(batch=4, min_steps=32)
"""Enough to see which way it is learned."""


LORA = Lora(r=8, alpha=256)
"""A large scale, so that learning rates meant for real models move a tiny one."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The terms of one fit. `salt` seeds the process's global random states, which must not matter."""

    regime: Regime = SHORT
    pairs: int = 8
    swapped: bool = False
    shuffled: bool = False
    opinions: bool = False
    """Groups' opinions instead of pairs; always so for an aligner that takes no pairs."""
    seed: int = 0
    salt: int = 0
    cap: float | None = None


FULL = Trial(LONG, pairs=32)


AGAINST = Trial(HALF, pairs=32)
"""For labels that are all exchanged: what they teach shows before it is learned well."""


@dataclass(frozen=True, slots=True)
class Result:
    """What is remembered of a fit. `behaviour` holds everything that the fitted model answers, exactly."""

    behaviour: tuple[Any, ...]
    adapter: str
    trained: bool
    likelihood: bool
    """Whether the model's rule of preference is its likelihood."""
    margins: tuple[float, ...]
    """log pi(right answer) - log pi(wrong answer) of every held-out pair, or the log-odds of its own rule, in nats."""
    choices: tuple[tuple[float, ...], ...]
    """Log-probabilities over yes and no of every question asked of the target groups."""
    flops: float
    capabilities: frozenset[Capability]
    outside: tuple[str, ...]
    """Trainers that were run without the bench."""

    @property
    def accuracy(self) -> float:
        """Share of held-out pairs whose right answer is the more likely one."""
        return fmean(margin > 0 for margin in self.margins)


@dataclass
class LabSession:
    """One bench with a tiny model in it, before and after a fit."""

    aligner: Aligner
    bench: LocalBench
    meter: Meter
    few_shot: FewShot
    folder: Path
    kept: list[str] = field(default_factory=list)
    """Adapter hashes of the candidates that `bench.keep` took, in order."""
    outside: list[str] = field(default_factory=list)
    """Trainers that were run without the bench."""

    def fit(self, few_shot: FewShot | None = None) -> Fitted:
        """Fit as the harness does."""
        from harness.fit.fitting import fit

        return fit(self.aligner, self.bench, self.few_shot if few_shot is None else few_shot)

    def adapter(self, name: str = POLICY) -> str:
        """Hash of an adapter's weights, by default the live one's."""
        own = [(n, p) for n, p in self.bench.policy.named_parameters() if f".{name}." in n]
        return _digest((n.replace(f".{name}.", "."), p) for n, p in own)

    def base(self) -> str:
        """Hash of every weight and buffer that belongs to no adapter."""
        own = [*self.bench.policy.named_parameters(), *self.bench.policy.named_buffers()]
        return _digest((n, p) for n, p in own if ".lora_" not in n)

    def base_answers(self) -> list[list[float]]:
        """Log-probabilities of the held-out answers' tokens with the adapter off, in nats."""
        pairs = lesson_pairs(HELD_OUT)
        scored = self.bench.score([p.prompt for p in pairs], [[p.chosen] for p in pairs], of=BASE)
        return [scores[0].logprobs.tolist() for scores in scored]


@dataclass(frozen=True)
class PlainFit:
    """A fit that is over, with what the base model was before it."""

    session: LabSession
    aligned: Aligned
    result: Result
    base: str
    """Hash of the weights and buffers that belong to no adapter, before the fit."""
    base_answers: list[list[float]]
    folder: tempfile.TemporaryDirectory[str]
    """Removed with the laboratory."""


class Lab:
    """Fits one aligner on the tiny model and remembers the results, since many checks ask for the same fit."""

    def __init__(self, aligner: type[Aligner] | Aligner) -> None:
        given = aligner if isinstance(aligner, type) else type(aligner)
        self.aligner_class: type[Aligner] = given
        self._given = None if isinstance(aligner, type) else aligner.config
        self._results: dict[tuple[str, Trial], Result] = {}

    @cached_property
    def base_margins(self) -> tuple[float, ...]:
        """Margins of the untouched model on the held-out pairs, in nats."""
        return margins(bare_model(tiny_model()))

    def gain(self, result: Result) -> float:
        """Mean margin over what an untouched model has: base's own, or 0 for a rule that is no likelihood."""
        return fmean(result.margins) - (fmean(self.base_margins) if result.likelihood else 0.0)

    @property
    def config(self) -> BaseModel:
        """The config that fits use: the instance's own, else the defaults."""
        return self._given or self.aligner_class.Config()

    @property
    def only_groups(self) -> bool:
        """Whether the aligner learns from groups' opinions and nothing else."""
        taken = takes(self.aligner_class)
        return bool(taken) and not taken - {"groups", "auxiliary"}

    def unless_it_takes(self, *wanted: Need) -> None:
        """Skip the running check unless the aligner takes one of these."""
        if not set(wanted) & takes(self.aligner_class):
            raise unittest.SkipTest(f"aligner {self.aligner_class.name} takes no {' or '.join(wanted)}")

    def result(self, trial: Trial = Trial(), config: BaseModel | None = None) -> Result:
        """The outcome of a fit, from memory where it was done before."""
        config = self.config if config is None else config
        if trial == Trial() and config == self.config:
            return self.plain.result
        key = (config.model_dump_json(), trial)
        if key not in self._results:
            with self.session(trial, config) as session:
                before = session.adapter()
                aligned = session.fit().aligned
                self._results[key] = self._result(session, aligned, before)
        return self._results[key]

    @cached_property
    def plain(self) -> PlainFit:
        """The fit on the usual terms, whose model is still there to be asked: checks look at it and change nothing."""
        folder = tempfile.TemporaryDirectory()
        with self._ready(Path(folder.name), Trial(), self.config) as session:
            adapter, base, answers = session.adapter(), session.base(), session.base_answers()
            aligned = session.fit().aligned
            result = self._result(session, aligned, adapter)
        return PlainFit(session, aligned, result, base, answers, folder)

    @contextmanager
    def session(self, trial: Trial = Trial(), config: BaseModel | None = None) -> Iterator[LabSession]:
        """A bench ready for a fit; its folder and the global random states are put back afterwards."""
        with (
            tempfile.TemporaryDirectory() as folder,
            self._ready(Path(folder), trial, self.config if config is None else config) as session,
        ):
            yield session

    @contextmanager
    def _ready(self, folder: Path, trial: Trial, config: BaseModel) -> Iterator[LabSession]:
        from harness.fit.bench import LocalBench

        meter = Meter(cap_flops=trial.cap)
        with _salted(trial.salt), _short_collections():
            bench = LocalBench.create(
                tiny_model(),
                tiny_tokenizer(),
                regime=trial.regime,
                meter=meter,
                seed=trial.seed,
                workdir=folder / "work",
                lora=LORA,
                checkpoint_steps=NEVER,
            )
            _same_start(bench.policy)
            opinions = trial.opinions or self.only_groups
            few_shot = lesson(trial.pairs, swapped=trial.swapped, shuffled=trial.shuffled, opinions=opinions)
            session = LabSession(self.aligner_class(config), bench, meter, few_shot, folder)
            _watch_keeps(session)
            with _watched_trainers(session):
                yield session

    def _result(self, session: LabSession, aligned: Aligned, before: str) -> Result:
        adapter = session.adapter()
        flops = session.meter.spend.flops
        told = answers(aligned)
        return Result(
            told.behaviour,
            adapter,
            adapter != before,
            told.likelihood,
            told.margins,
            told.choices,
            flops,
            capabilities(aligned),
            tuple(session.outside),
        )


def bare_model(model: Any, folder: Path | None = None) -> LanguageModel:
    """A model as tasks see it, with the demonstrations saved in `folder`."""
    from harness.lm.backends.hf import HfEngine
    from harness.lm.language_model import ModelAligned, demonstrations

    shown = () if folder is None else demonstrations(folder)
    backend = HfEngine(model.eval(), tiny_tokenizer())
    return ModelAligned(backend, SHORT.prompt_tokens, SHORT.completion_tokens, shown)


@contextmanager
def _salted(salt: int) -> Iterator[None]:
    """Set the global random states to `salt`, and put them back."""
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(salt)
        random.seed(salt)
        np.random.seed(salt)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def _short_collections() -> Iterator[None]:
    """Trainers collect garbage when they end, which takes longer than a tiny fit unless older objects are left out."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _same_start(policy: Any) -> None:
    """Start every fit from the same adapter, so that only the method's own use of the seed can tell two fits apart."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if f".lora_A.{POLICY}." in name:
                torch.nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)


def _watch_keeps(session: LabSession) -> None:
    keep = session.bench.keep

    def watched(score: float, name: str = POLICY) -> bool:
        better = keep(score, name)
        if better:
            session.kept.append(session.adapter(name))
        return better

    vars(session.bench)["keep"] = watched


@contextmanager
def _watched_trainers(session: LabSession) -> Iterator[None]:
    """Note every trainer of transformers that runs without the bench, which counts, stores and resumes its steps."""
    from transformers import Trainer

    from harness.fit.phases import OfTheBench

    train = Trainer.train

    def watched(trainer: Any, *arguments: Any, **named: Any) -> Any:
        if not any(isinstance(callback, OfTheBench) for callback in trainer.callback_handler.callbacks):
            session.outside.append(type(trainer).__name__)
        return train(trainer, *arguments, **named)

    Trainer.train = watched
    try:
        yield
    finally:
        Trainer.train = train


def _digest(tensors: Iterable[tuple[str, Any]]) -> str:
    import torch

    total = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
