"""Selfie, also SPA: preference data that the model makes itself (arXiv 2406.04412), from a small labelled seed.

    1. seed: DPO on the labelled pairs, reference pi_init (the base model) -> pi_0
    2. for round i = 1, 2, 3 on prompts that no round saw before:
       a. GENERATE two answers a prompt from pi_{i-1}
       b. JUDGE with the implicit reward, whose reference stays pi_init (Eqs. 7, 8, 13):
              p(y1 > y2) = sigmoid(beta log pi_{i-1}(y1)/pi_init(y1) - beta log pi_{i-1}(y2)/pi_init(y2))
       c. TRAIN from pi_{i-1} with reference pi_{i-1} on m = beta (d_w - d_l), d = log pi/pi_{i-1} of an answer:
              loss = -(1 - alpha z) log sigmoid(m) - alpha z log sigmoid(-m)                        (Eqs. 9, 10)
          z = 1 where the margin m~ of the extrapolated logits (1+lam) h - lam h_ref is among the lowest (Eqs. 11, 12)

One base model serves all policies: adapters off is pi_init, a frozen copy of the adapter pi_{i-1}, the live one pi.
The seed is what the aligner `dpo` does: `rounds=0` is `dpo`. A setting says whether its default is the paper's or ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, model_validator

from harness.contracts import (
    BASE,
    POLICY,
    Aligned,
    Aligner,
    Bench,
    Completion,
    FewShot,
    Ids,
    Need,
    Pair,
    Prompt,
    Regime,
    Schedule,
)
from harness.hookspecs import hookimpl
from harness.methods.extrapolation import extrapolated_pairs
from harness.methods.fields import Preset, setting, with_preset
from harness.methods.figures import sampled
from harness.methods.losses import margins, summed
from harness.methods.means import means, note
from harness.methods.schedules import CONTRAST_RATE, PAIR_EPOCHS, PAIR_WARMUP, batches, in_epochs, require_pairs
from harness.methods.self_judging import JUDGES, Duel, Reign, judged
from harness.util.checked import demanded, write_checked
from harness.util.hashes import seed_of
from harness.util.maths import sigmoid

if TYPE_CHECKING:
    from torch import Tensor

ROUND_SHARES = (8, 20, 30)
"""Unlabelled prompts of rounds 1, 2 and 3, in proportion (paper: 8K, 20K, 30K)."""
PAPER = {"learning_rate": 5e-7}
"""What `preset=paper` sets: the rate for all weights, not for an adapter."""
SAMPLE_BLOCK = 32
"""Prompts of one planned batch of samples, which has its own seed."""
GOLD_PAIRS = 64
"""Most labelled pairs that the judge is checked against in a round."""
MIN_PAIRS_USED, MAX_TRUNCATION, MIN_SEED_AGREEMENT = 0.5, 0.9, 0.5
DETECTING: Mapping[str, object] = MappingProxyType({"rounds": 1, "round_epochs": 3.0, "alpha": 0.5, "quantile": 0.6})
"""Settings under which detection has margins enough even in the shortest regime, and some weight."""


class SelfieConfig(BaseModel):
    """Every hyper-parameter of Selfie. Batch, lengths, precision and adapter shape belong to the study, not to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = "ours"
    beta: float = setting(0.1, "scale of the margins, in judging and in training (paper)", tried=1.0, gt=0)
    learning_rate: float = setting(
        CONTRAST_RATE, "peak of each phase, cosine to 0 (ours; paper 5e-7, all weights)", tried=1e-3, gt=0
    )
    warmup: float = setting(PAIR_WARMUP, "share of a phase's steps with rising rate (paper)", tried=0.5, ge=0, lt=1)
    seed_epochs: float = setting(
        PAIR_EPOCHS, "passes over the labelled pairs (paper), more where the regime asks (ours)", tried=1.0, gt=0
    )
    rounds: int = setting(
        3, "rounds on 8:20:30 of the unlabelled prompts (paper); 0 is the seed alone", tried=1, ge=0, le=3
    )
    round_epochs: float = setting(1.0, "passes over a round's own pairs (paper)", tried=3.0, gt=0)
    temperature: float = setting(0.7, "temperature of the two samples (paper)", tried=1.5, gt=0)
    top_p: float = setting(1.0, "nucleus of the samples (paper)", tried=0.3, gt=0, le=1)
    top_k: int = setting(0, "likeliest tokens sampled from, 0 for all (ours; the paper names none)", tried=2, ge=0)
    judge: str = setting(
        "implicit",
        "who labels the samples: implicit, the reward against pi_init (paper); previous, the same against the policy "
        "of the round before; none, without a reference; llm, the model is asked in both orders; or any judge of "
        "`list judges`",
        tried="none",
        min_length=1,
    )
    length_penalty: float = setting(
        0.0, "taken off a score for each token, Eq. 13 (paper 0.001 to 0.01, where used; unit ours)", tried=10.0, ge=0
    )
    alpha: float = setting(
        0.1, "weight of the opposite label for noise, Eq. 10 (paper)", tried=0.0, beside=DETECTING, ge=0, le=1
    )
    quantile: float = setting(
        0.1, "K: share of lowest margins taken for noise, Eq. 9 (paper)", tried=0.2, beside=DETECTING, gt=0, lt=1
    )
    lam: float = setting(
        0.5, "extrapolation in round 1, Eq. 11, halved each round (paper)", tried=12.0, beside=DETECTING, ge=0
    )
    detect_after: float = setting(
        0.2, "share of a round's steps before detection (paper)", tried=0.9, beside=DETECTING, ge=0, lt=1
    )
    window: int = setting(50, "latest margins behind the threshold (paper)", tried=2, beside=DETECTING, ge=2)
    min_margins: int = setting(10, "margins needed for a threshold (ours)", tried=1000, beside=DETECTING, ge=2)

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, data: Any) -> Any:
        return with_preset(data, PAPER)


class Selfie:
    """DPO on the pairs, then rounds of DPO on its own answers to new prompts under its own labels."""

    name: ClassVar[str] = "selfie"
    aliases: ClassVar[tuple[str, ...]] = ("spa",)
    paper: ClassVar[str] = "2406.04412"
    version: ClassVar[str] = "7"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset({"prompts"})
    Config: ClassVar[type[BaseModel]] = SelfieConfig

    def __init__(self, config: SelfieConfig) -> None:
        self.config = config

    @property
    def asked_judge(self) -> str | None:
        """The registered judge that labels, where it is none of the method's own."""
        return None if self.config.judge in JUDGES else self.config.judge

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train the live policy. Raises HarnessError without pairs, BudgetExceeded at the track's cap."""
        require_pairs(self.name, few_shot.pairs)
        config = self.config
        pairs, held_out = bench.split(few_shot.pairs)
        sizes = round_sizes(len(few_shot.prompts), config.rounds)
        seed_steps, round_steps = phase_steps(config, bench.regime, len(pairs), sizes)
        fit_steps = seed_steps + sum(round_steps)
        prompts = iter(in_epochs(few_shot.prompts, len(few_shot.prompts), "selfie", bench.seed, "prompts"))
        planned = [
            Round(i + 1, tuple(islice(prompts, size)), steps, pairs, held_out, fit_steps)
            for i, (size, steps) in enumerate(zip(sizes, round_steps, strict=True))
        ]
        rounds = [one for one in planned if one.prompts]
        try:
            seed = Schedule(config.learning_rate, seed_steps, config.warmup)
            bench.train(bench.trainers.dpo(pairs, seed, beta=config.beta), held_out=held_out, fit_steps=fit_steps)
            train_rounds(bench, config, rounds)
        finally:
            report(bench, config, rounds)
        return bench.aligned()


# ---------------------------------------------------------------- plan: prompts and steps of each phase


@dataclass(frozen=True, slots=True)
class Round:
    """One round's share of the plan."""

    number: int
    prompts: tuple[Prompt, ...]
    steps: int
    pairs: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    fit_steps: int

    @property
    def gold(self) -> tuple[Pair, ...]:
        """SelfLabelled pairs that the judge is checked against: held-out ones where there are any, else the seed's."""
        return (self.held_out or self.pairs)[:GOLD_PAIRS]


def round_sizes(prompts: int, rounds: int) -> list[int]:
    """Prompts of each round: all of them, in proportion 8:20:30, by largest remainder."""
    shares = ROUND_SHARES[:rounds]
    exact = [prompts * share / sum(shares) for share in shares]
    sizes = [math.floor(x) for x in exact]
    by_remainder = sorted(range(rounds), key=lambda i: sizes[i] - exact[i])
    for i in by_remainder[: prompts - sum(sizes) if rounds else 0]:
        sizes[i] += 1
    return sizes


def phase_steps(config: SelfieConfig, regime: Regime, pairs: int, sizes: Sequence[int]) -> tuple[int, list[int]]:
    """Optimizer steps of the seed and of each round.

    A round takes `round_epochs` over its prompts, the seed `seed_epochs` over its pairs, and what the regime's least
    number of steps asks for beyond that goes to the seed, the only phase with labels.
    """
    rounds = [math.ceil(config.round_epochs * size / regime.batch) for size in sizes]
    return max(math.ceil(config.seed_epochs * pairs / regime.batch), regime.min_steps - sum(rounds), 1), rounds


# ---------------------------------------------------------------- 2. rounds


@dataclass(frozen=True, slots=True)
class SelfLabelled:
    """A self-labelled pair to train on, as token ids."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


LABELLED = TypeAdapter(list[SelfLabelled])


def train_rounds(bench: Bench, config: SelfieConfig, rounds: Sequence[Round]) -> None:
    """Frozen copies of the policy live as long as a judge needs them."""
    held: list[str] = []
    try:
        for one in rounds:
            bench.fork(f"selfie{one.number}")
            held.append(f"selfie{one.number}")
            train_round(bench, config, one, Reign(held[-1], held[-2] if len(held) > 1 else BASE))
            while len(held) > 1:
                bench.drop(held.pop(0))
    finally:
        for name in held:
            bench.drop(name)


def train_round(bench: Bench, config: SelfieConfig, one: Round, reign: Reign) -> None:
    """Steps 2a to 2c from pi_{i-1}, against pi_{i-1}.

    A round is prepared inside its training phase: one that an interrupted process had finished is not sampled again,
    and one that goes on from a checkpoint reads the pairs that it had made.
    """
    name = f"selfie-round-{one.number}"
    stored = bench.workdir / f"{name}-pairs.json"

    def data(resuming: bool) -> list[list[SelfLabelled]]:
        if not resuming:
            write_checked(stored, LABELLED.dump_json(self_label(bench, config, one, reign)))
        rows = LABELLED.validate_json(demanded(stored))
        return batches(rows, bench.regime.batch, one.steps, name, bench.seed)

    step = NoiseAwareStep(bench, config, one.steps, reign.current, config.lam / 2 ** (one.number - 1), name)
    # As a share it would be rounded up, and a round of one step would be a step at rate 0.
    schedule = Schedule(config.learning_rate, one.steps, math.floor(config.warmup * one.steps))
    trainer = bench.trainers.steps(data, step, schedule)
    bench.train(trainer, held_out=one.held_out, fit_steps=one.fit_steps)


def self_label(bench: Bench, config: SelfieConfig, one: Round, reign: Reign) -> list[SelfLabelled]:
    """Two answers to each prompt, labelled by the judge: winner first. Notes the round's figures."""
    agrees = agreement(bench, config, one.gold, reign)
    samples = sample(bench, config, one, reign.current)
    duels = [Duel(p.messages, *pair) for p, pair in zip(one.prompts, samples, strict=True) if usable(*pair)]
    log_odds = judged(bench, config.judge, reign, config.beta, duels) if duels else []
    rows, odds = [], []
    for duel, odd in zip(duels, log_odds, strict=True):
        a, b = bench.encode(duel.a), bench.encode(duel.b)
        ahead = 0.0 if odd is None else lead(config, odd, len(a), len(b))
        if odd is None or ahead == 0:
            continue  # no verdict, or a tie: no winner to learn from
        odds.append(odd if ahead > 0 else -odd)
        rows.append(SelfLabelled(bench.render(duel.prompt), *((a, b) if ahead > 0 else (b, a))))
    figures = round_figures(samples, rows, odds) | agrees
    bench.log("selfie_round", round=one.number, **figures)
    note(bench, {f"{name}_round_{one.number}": value for name, value in figures.items()})
    note(bench, {"pairs_used": figures.pop("pairs_used")}, weight=len(samples))  # of all prompts, not of rounds
    note(bench, figures)
    return rows


# ---------------------------------------------------------------- 2a. generate


def sample(bench: Bench, config: SelfieConfig, one: Round, of: str) -> list[tuple[Completion, Completion]]:
    """Two answers to each of the round's prompts, in planned batches with their own seeds."""
    found: list[tuple[Completion, Completion]] = []
    for start in range(0, len(one.prompts), SAMPLE_BLOCK):
        block = bench.generate(
            [p.messages for p in one.prompts[start : start + SAMPLE_BLOCK]],
            n=2,
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            seed=seed_of("selfie", bench.seed, "samples", one.number, start),
            of=of,
        )
        found += [(a, b) for a, b in block]
    return found


def usable(a: Completion, b: Completion) -> bool:
    """Whether two samples make a pair: neither is empty, and they differ."""
    return bool(a.text.strip()) and bool(b.text.strip()) and a.text.strip() != b.text.strip()


# ---------------------------------------------------------------- 2b. judge (Eq. 7: harness/methods/self_judging.py)


def lead(config: SelfieConfig, log_odds: float, tokens_a: int, tokens_b: int) -> float:
    """Eqs. 8 and 13: how far the first answer is ahead, each score less the length penalty; 0 is a tie."""
    return log_odds - config.length_penalty * (tokens_a - tokens_b)


def agreement(bench: Bench, config: SelfieConfig, gold: Sequence[Pair], reign: Reign) -> dict[str, float]:
    """Share of labelled pairs on which the judge, length penalty included, says what the label says; ties are half.

    Empty where it gave no verdict on any.
    """
    log_odds = judged(bench, config.judge, reign, config.beta, [Duel(p.prompt, p.chosen, p.rejected) for p in gold])
    lengths = [(len(bench.encode(p.chosen)), len(bench.encode(p.rejected))) for p in gold]
    leads = [lead(config, odd, *both) for odd, both in zip(log_odds, lengths, strict=True) if odd is not None]
    return {"agreement": fmean(0.5 if ahead == 0 else float(ahead > 0) for ahead in leads)} if leads else {}


# ---------------------------------------------------------------- 2c. train (Eqs. 11, 12: .../extrapolation.py)


@dataclass(frozen=True, slots=True)
class NoiseAwareStep:
    """The loss of one optimizer step of a round: `reference` is pi_{i-1}, `name` that of the round's latest margins."""

    bench: Bench
    config: SelfieConfig
    steps: int
    reference: str
    lam: float
    name: str

    def __call__(self, step: int, rows: Sequence[SelfLabelled]) -> Tensor | None:
        """Mean loss of the step's pairs; None when it has none, so that nothing moves."""
        import torch

        if not rows:
            return None
        config, decoupled = self.config, None
        prompts, pairs = [row.prompt for row in rows], [(row.chosen, row.rejected) for row in rows]
        detecting = config.alpha > 0 and step >= math.ceil(config.detect_after * self.steps)
        if detecting and self.lam > 0:
            reference, lifted = extrapolated_pairs(self.bench, prompts, pairs, lam=self.lam, reference=self.reference)
            decoupled = margins(lifted, torch.zeros_like(lifted), config.beta)
        else:
            reference = self._totals(prompts, pairs, self.reference)
        own = self._totals(prompts, pairs, POLICY)
        margin = margins(own, reference.to(own), config.beta)
        note(self.bench, {"margin": float(margin.detach().mean()), "margin_positive": fmean((margin > 0).tolist())})
        if decoupled is not None:
            note(self.bench, {"decoupled_margin": float(decoupled.mean())})
        known = margin.detach() if decoupled is None else decoupled
        noisy = self._flags(step, known) if detecting else [False] * len(rows)
        return noise_aware_loss(margin, torch.tensor(noisy, device=margin.device), config.alpha)

    def _totals(self, prompts: Sequence[Ids], pairs: Sequence[tuple[Ids, Ids]], of: str) -> Tensor:
        """Summed log-probabilities (B, 2) of winners and losers."""
        import torch

        return torch.stack([summed(pair) for pair in self.bench.logprobs(prompts, pairs, of=of)])

    def _flags(self, step: int, judged: Tensor) -> list[bool]:
        """z of the step's pairs; the window takes their margins."""
        config, current = self.config, [float(x) for x in judged.tolist()]
        keep = max(config.window, config.min_margins)
        tau, noisy = flag(self.bench.latest(self.name, (), keep=keep), current, config)
        self.bench.latest(self.name, current, keep=keep)
        if tau is not None:
            note(self.bench, {"tau": tau})
            note(self.bench, {"share_z": fmean(noisy)}, weight=len(noisy))
            self.bench.log("selfie_detection", step=step, tau=tau, z=fmean(noisy))
        return noisy


def noise_aware_loss(margin: Tensor, noisy: Tensor, alpha: float) -> Tensor:
    """Eq. 10, the mean over (B,) margins: -(1 - alpha z) log sigmoid(m) - alpha z log sigmoid(-m); z in {0, 1}."""
    from torch.nn.functional import logsigmoid

    weight = alpha * noisy.to(margin.dtype)
    return -((1 - weight) * logsigmoid(margin) + weight * logsigmoid(-margin)).mean()


def flag(recent: Sequence[float], current: Sequence[float], config: SelfieConfig) -> tuple[float | None, list[bool]]:
    """Eq. 9: (tau, z of each current margin). tau is the K quantile of the latest margins, these included.

    None, and no z, while there are fewer than `min_margins`.
    """
    import numpy as np

    seen = [*recent, *current]
    if len(seen) < config.min_margins:
        return None, [False] * len(current)
    tau = float(np.quantile(seen[-config.window :], config.quantile))
    return tau, [margin < tau for margin in current]


# ---------------------------------------------------------------- what shows that the method was alive


def round_figures(
    samples: Sequence[tuple[Completion, Completion]], rows: Sequence[SelfLabelled], log_odds: Sequence[float]
) -> dict[str, float]:
    """Of a round's data: shares of prompts and samples, lengths in tokens, the judge's mean confidence in its label."""
    figures = {"pairs_used": len(rows) / len(samples), **sampled(samples)}
    if rows:
        figures["winner_tokens"] = fmean(len(row.chosen) for row in rows)
        figures["loser_tokens"] = fmean(len(row.rejected) for row in rows)
        figures["confidence"] = fmean(sigmoid(odd) for odd in log_odds)
    return figures


def report(bench: Bench, config: SelfieConfig, rounds: Sequence[Round]) -> None:
    """Liveness of the fit: the mean of each figure over the steps or rounds that had it, and what detection did."""
    if not config.rounds:
        return
    figures = means(bench)
    held_out = any(one.held_out for one in rounds)
    if config.alpha:
        figures.setdefault("share_z", 0.0)
        figures["detection_never_fired"] = float(figures["share_z"] == 0)
    figures["agreement_held_out"] = float(held_out)
    why = degenerate(figures, held_out=held_out) if rounds else "no round was run: there are no unlabelled prompts"
    bench.liveness(degenerate=why, **figures)


def degenerate(figures: Mapping[str, float], *, held_out: bool) -> str | None:
    """Why the rounds were not Selfie's, or None: nothing to label, nothing that ends, or a judge that lost its seed."""
    used = figures.get("pairs_used")
    if used is None:
        return "no round was run before the fit was stopped"
    if used < MIN_PAIRS_USED:
        return f"{used:.0%} of the prompts gave a labelled pair of answers, {MIN_PAIRS_USED:.0%} are needed"
    if figures["truncation"] > MAX_TRUNCATION:
        return f"{figures['truncation']:.0%} of the samples were cut off, at most {MAX_TRUNCATION:.0%} may be"
    agrees = figures.get("agreement", 1.0)
    if not held_out and agrees < MIN_SEED_AGREEMENT:
        return f"the judge agrees with {agrees:.0%} of its own seed labels, {MIN_SEED_AGREEMENT:.0%} are needed"
    return None


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Selfie."""
    return [Selfie]
