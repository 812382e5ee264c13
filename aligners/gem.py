"""GEM: generative entropy-guided preference modelling (arXiv 2511.13007).

Few-shot alignment without a reward model or a judge. In the paper's order:

    1. reflective SFT: maximise log pi(chosen | q) under a chain-of-thought prompt that asks for a marked final answer
    2. for each prompt q, sample k chains of thought a_1 .. a_k from the policy
    3. cognitive filtering (Eq. 1): score each by its own token entropies H_t = -sum_x p_t(x) log p_t(x) in nats,
           S(a) = -H_final(a) + lambda * H_fork(a)
    4. SEGA (Eq. 2): r_i = f(S_i), A_i = r_i - mean(r), optionally over the group's standard deviation
    5. step along  -(1/k) sum_i A_i grad log pi(a_i | q),  log pi summed over the answer's tokens, A detached

Preference labels enter through step 1 alone. That step is what the aligner `sft` does, so the two differ by SEGA only:
`optimise=none` is `sft`. A setting says where its default is from: paper, released code, either (authors), or ours.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median, stdev
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from harness.contracts import (
    Aligned,
    Aligner,
    Bench,
    Completion,
    FewShot,
    HarnessError,
    HeldOutFigure,
    Message,
    Messages,
    Need,
    Pair,
    Regime,
    Schedule,
    Spans,
    TokenLogprobs,
)
from harness.hookspecs import hookimpl
from harness.methods.fields import Preset, setting, with_preset
from harness.methods.figures import grouped
from harness.methods.losses import entropies, kl_loss, log_ratio, margins, summed
from harness.methods.means import means, note
from harness.methods.schedules import PAIR_EPOCHS, PAIR_WARMUP, SFT_RATE, batches, steps_over
from harness.methods.spans import Decode, Split, marker_pattern, nothing_to_filter, split, split_ahead
from harness.util.hashes import seed_of
from harness.util.maths import sigmoid

if TYPE_CHECKING:
    from torch import Tensor

REFERENCE = "sft"
"""Adapter name of the frozen copy of the policy after SFT."""
PAPER = {"sft_lr": 2e-5, "sega_lr": 1e-5}
"""What `preset=paper` sets: learning rates for all weights, not for an adapter."""
SEGA_SHARE = 1 / 4
"""Optimizer steps of SEGA, as a share of the regime's least number."""
REFERENCE_EVERY = 4
"""Steps between two estimates of the KL divergence to the SFT model, where no switch needs it at every step."""
MIN_STD, STD_EPS = 1e-6, 1e-8
MARKED_FINAL = 1 / 4
"""Final share of an answer under `spans=positional` where the marker occurs anywhere in it (released code)."""
COT = 'You are a helpful assistant. Think step by step, then give your answer after the words "{marker}:".'
ASKED, FREE = MappingProxyType({"cot_prompt": COT}), MappingProxyType({"sega_steps": None, "sft_steps": None})
REFLECT = (
    "{question}\n\nTwo answers were given.\n\nAnswer 1: {first}\n\nAnswer 2: {second}\n\n"
    "Reflect on what is right and what is wrong in each, then write the better answer in full."
)


class GemConfig(BaseModel):
    """Every hyper-parameter of GEM. Batch, lengths, precision and adapter shape belong to the study, not to it."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    preset: Preset = "ours"
    k: int = setting(5, "samples per prompt (reported of the paper; released code 4)", tried=3, ge=2)
    temperature: float = setting(0.9, "temperature of the samples (code)", tried=0.5, gt=0)
    top_p: float = setting(1.0, "nucleus of the samples (code)", tried=0.6, gt=0, le=1)
    top_k: int = setting(0, "likeliest tokens sampled from, 0 all (ours; code: a library's silent 50)", tried=2, ge=0)
    lambda_: float = setting(
        1.0, "weight of H_fork in S (code, which tries 0.4, 1, 2); 0 is the ablation", tried=0.0, ge=0, alias="lambda"
    )
    top_m: float = setting(0.1, "share of the n reasoning tokens that are forks (authors)", tried=0.5, gt=0, le=1)
    fork_norm: Literal["m", "n"] = setting("m", "H_fork divides by the number of forks (authors) or by n", tried="n")
    use_final: bool = setting(True, "keep -H_final in S; false is the authors' ablation", tried=False)
    spans: Literal["pool", "marker", "positional"] = setting(
        "pool", "final answer after the marker (paper), by position (code), as the pool says (ours)", tried="positional"
    )
    marker: str = setting(
        "Final Answer",
        "words that begin the final answer; the last occurrence counts (paper)",
        tried="In short",
        beside=ASKED,
        min_length=1,
    )
    final_fallback: float = setting(
        0.2,
        "share of the tokens that is the final answer if there is no marker (code)",
        tried=0.6,
        beside={"marker": "In short"},
        gt=0,
        lt=1,
    )
    cot_prompt: str = setting(
        "", "system message that asks for the marker (authors; ours: none, for pools ask)", tried=COT
    )
    reflect_on_pair: bool = setting(False, "SFT also trains on prompts that show both answers (ours)", tried=True)
    f: Literal["identity", "softmax", "bt"] = setting(
        "identity", "reward: S or softmax(S/tau) (authors), mean_j sigmoid((S_i-S_j)/tau) (ours)", tried="bt"
    )
    tau: float = setting(1.0, "temperature of softmax and bt (authors, ours)", tried=0.1, beside={"f": "bt"}, gt=0)
    scale: Literal["std", "none"] = setting(
        "std", "advantages over their deviation (code), or Eq. 2 as it is (paper)", tried="none"
    )
    weights: Literal["entropy", "random", "length"] = setting(
        "entropy", "S: Eq. 1 (paper), or a control: normal noise, number of tokens (ours)", tried="random"
    )
    optimise: Literal["sega", "dpo", "none"] = setting(
        "sega", "after SFT: SEGA, DPO of best S against worst, nothing (all are the authors')", tried="none"
    )
    dpo_beta: float = setting(0.1, "beta of optimise=dpo (ours)", tried=2.0, beside={"optimise": "dpo"}, gt=0)
    beta_kl: float = setting(
        0.0, "weight of KL to the SFT model (authors: none)", tried=0.5, beside={"sft_lr": 2e-3}, ge=0
    )
    min_tokens: int = setting(8, "samples with fewer tokens leave their group (ours)", tried=24, ge=2)
    sft_lr: float = setting(SFT_RATE, "rate of SFT, that of sft (ours; authors 2e-5, all weights)", tried=2e-3, gt=0)
    sega_lr: float = setting(1e-4, "rate of SEGA (ours; reported 1e-5, all weights; code 1e-6)", tried=1e-3, gt=0)
    sft_steps: int | None = setting(
        None, "optimizer steps of SFT; by default as many as sft takes (ours)", tried=3, ge=1
    )
    sega_steps: int | None = setting(
        None, "optimizer steps of SEGA; by default a quarter of the regime's least (ours)", tried=4, ge=1
    )
    sega_epochs: float | None = setting(
        None, "passes over all prompts, in place of sega_steps (paper: 1; ours: none)", tried=1.5, beside=FREE, gt=0
    )
    grad_clip: float = setting(1.0, "largest norm of a gradient (ours)", tried=1e-3, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, data: Any) -> Any:
        return with_preset(data, PAPER)

    @model_validator(mode="after")
    def _score_can_vary(self) -> GemConfig:
        if not self.use_final and self.lambda_ == 0:
            raise ValueError("use_final=false with lambda=0 leaves no score: S would be 0 for every sample")
        return self


class Gem:
    """Fine-tunes on the chosen answers, then reinforces its own samples by the entropies of their tokens (SEGA)."""

    name: ClassVar[str] = "gem"
    paper: ClassVar[str] = "2511.13007"
    version: ClassVar[str] = "8"
    chosen_by: ClassVar[HeldOutFigure] = "likelihood"
    requires: ClassVar[frozenset[Need]] = frozenset()
    accepts: ClassVar[frozenset[Need]] = frozenset({"pairs", "prompts"})
    Config: ClassVar[type[BaseModel]] = GemConfig

    def __init__(self, config: GemConfig) -> None:
        self.config = config

    def ahead(self, regime: Regime, few_shot: FewShot) -> tuple[str, ...]:
        """Where samples will be split, and what SEGA's whole passes cost."""
        config, spans = self.config, self._spans(few_shot)
        if config.optimise == "none":
            return ()
        where = split_ahead(spans, config.marker, by_pool=config.spans == "pool")
        return f"gem: the final answer of a sample begins {where}", *self._passes(regime, few_shot)

    def _passes(self, regime: Regime, few_shot: FewShot) -> tuple[str, ...]:
        config, prompts = self.config, len(few_shot.pairs) + len(few_shot.prompts)
        if not config.sega_epochs or config.sega_steps:
            return ()
        without = config.model_copy(update={"sega_epochs": None})
        (_, steps), (_, usual) = (phase_steps(one, regime, len(few_shot.pairs), prompts) for one in (config, without))
        samples = steps * regime.sample_prompts * config.k
        return (
            f"gem: sega_epochs={config.sega_epochs:g} over {prompts} prompts takes about {steps} steps of SEGA, where "
            f"the default takes {usual}: {samples:,} samples of up to {regime.new_tokens} tokens",
        )

    def _spans(self, few_shot: FewShot) -> Spans:
        return few_shot.spans if self.config.spans == "pool" else self.config.spans

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train the live policy. Raises HarnessError without data, BudgetExceeded at the track's cap."""
        config = self.config
        if not few_shot.pairs and (config.optimise == "none" or not few_shot.prompts):
            needed = "pairs" if config.optimise == "none" else "pairs or prompts"
            raise HarnessError(f"aligner gem needs {needed} and was given none; raise --budget")
        pairs, held_out = bench.split(few_shot.pairs)
        prompts = [*(pair.prompt for pair in pairs), *(item.messages for item in few_shot.prompts)]
        sft_steps, sega_steps = phase_steps(config, bench.regime, len(pairs), len(prompts))
        if pairs:
            schedule = Schedule(config.sft_lr, sft_steps, PAIR_WARMUP, max_grad_norm=config.grad_clip)
            examples = sft_rows(pairs, config, bench.seed)
            bench.train(bench.trainers.sft(examples, schedule), held_out=held_out, fit_steps=sft_steps + sega_steps)
        if sega_steps:
            step = SegaStep(bench, config, self._spans(few_shot), last=sega_steps - 1)
            sega(bench, step, [with_cot(prompt, config) for prompt in prompts], held_out, (sft_steps, sega_steps))
        return bench.aligned()


def phase_steps(config: GemConfig, regime: Regime, pairs: int, prompts: int) -> tuple[int, int]:
    """Optimizer steps of SFT and of SEGA: together at least the regime's, unless both are given."""
    sft = (config.sft_steps or steps_over(regime, pairs, PAIR_EPOCHS)) if pairs else 0
    if config.optimise == "none":
        return sft, 0
    share = max(1, round(SEGA_SHARE * regime.min_steps))
    if config.sega_epochs:
        share = math.ceil(config.sega_epochs * prompts / regime.sample_prompts)
    return sft, config.sega_steps or max(share, regime.min_steps - sft)


# ---------------------------------------------------------------- 1. reflective SFT


def with_cot(messages: Messages, config: GemConfig) -> Messages:
    """The prompt with the chain-of-thought system message, unless it already names the marker."""
    pattern = marker_pattern(config.marker)
    if not config.cot_prompt or any(pattern.search(m.content) for m in messages):
        return messages
    cot = config.cot_prompt.replace("{marker}", config.marker)
    if messages[0].role == "system":
        return (Message("system", f"{messages[0].content}\n\n{cot}"), *messages[1:])
    return (Message("system", cot), *messages)


def sft_rows(pairs: Sequence[Pair], config: GemConfig, seed: int) -> list[tuple[Messages, str]]:
    """(prompt, answer) of every row SFT trains on: each pair's `chosen`, and its reflection where that is on."""
    rows = [(with_cot(p.prompt, config), p.chosen) for p in pairs]
    if not config.reflect_on_pair:
        return rows
    rng = random.Random(seed_of("gem", seed, "reflect"))
    for p in pairs:
        first, second = (p.chosen, p.rejected) if rng.random() < 0.5 else (p.rejected, p.chosen)
        text = REFLECT.format(question=p.prompt[-1].content, first=first, second=second)
        rows.append((with_cot((*p.prompt[:-1], Message(p.prompt[-1].role, text)), config), p.chosen))
    return rows


# ---------------------------------------------------------------- 2. to 5. SEGA


def sega(
    bench: Bench, step: SegaStep, prompts: Sequence[Messages], held_out: Sequence[Pair], phases: tuple[int, int]
) -> None:
    """On-policy steps from the SFT model; reports the figures that show whether they were alive, also at the cap."""
    config, steps = step.config, phases[1]
    rows = batches(prompts, bench.regime.sample_prompts, steps, "gem", bench.seed, "sega order")
    schedule = Schedule(config.sega_lr, steps, shape="constant", max_grad_norm=config.grad_clip)
    bench.fork(REFERENCE)
    try:
        trainer = bench.trainers.steps(lambda resuming: rows, step, schedule)
        kept = bench.train(trainer, held_out=held_out, fit_steps=sum(phases))
        if kept is not None:
            bench.liveness(sega_kept=float(kept > phases[0]))
    finally:
        if figures := means(bench):
            bench.liveness(degenerate=nothing_to_filter(figures, step.spans), **figures)
        bench.drop(REFERENCE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sample long enough to be split: its tokens, end of turn included, and where its final answer begins."""

    ids: list[int]
    split: Split


@dataclass(frozen=True, slots=True)
class SegaStep:
    """Steps 2 to 5 on one batch of prompts: sample, score, compare, and the loss to differentiate."""

    bench: Bench
    config: GemConfig
    spans: Spans
    last: int
    """Index of the last step."""

    def __call__(self, step: int, prompts: Sequence[Messages]) -> Tensor | None:
        """Loss of one step, a mean over the groups used; None when no group was, so that nothing moves."""
        import torch

        samples = self._sample(step, prompts)
        members = [
            [c for one in group if (c := candidate(one, self._decode, self.config, self.spans))] for group in samples
        ]
        valid = [(prompt, group) for prompt, group in zip(prompts, members, strict=True) if len(group) >= 2]
        losses, figures = self._losses(valid, step) if valid else ([], {})
        used = [loss for loss in losses if loss is not None]
        of_step = grouped(samples, members) | {"groups_equal": (len(losses) - len(used)) / len(samples)}
        note(self.bench, of_step)
        note(self.bench, figures, weight=sum(len(group) for _, group in valid))
        self.bench.log("sega", step=step, **of_step, **figures)
        return torch.stack(used).mean() if used else None

    def _sample(self, step: int, prompts: Sequence[Messages]) -> list[list[Completion]]:
        config, seed = self.config, seed_of("gem", self.bench.seed, "sega", step)
        return self.bench.generate(
            prompts, n=config.k, temperature=config.temperature, top_p=config.top_p, top_k=config.top_k, seed=seed
        )

    def _decode(self, ids: Sequence[int]) -> str:
        text = self.bench.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    def _losses(
        self, groups: Sequence[tuple[Messages, list[Candidate]]], step: int
    ) -> tuple[list[Tensor | None], dict[str, float]]:
        """One forward over all groups: a loss for each that tells its members apart, and figures of the samples."""
        config, bench = self.config, self.bench
        prompts = [bench.render(prompt) for prompt, _ in groups]
        answers = [[c.ids for c in members] for _, members in groups]
        needed = config.optimise == "dpo" or config.beta_kl > 0
        told = step == self.last or (step + 1) % REFERENCE_EVERY == 0
        reference = bench.logprobs(prompts, answers, of=REFERENCE) if needed or told else []
        scored = bench.logprobs(prompts, answers, entropy=True)
        rng = random.Random(seed_of("gem", bench.seed, "random weights", step))
        scores = [filtered(one, members, config, rng) for one, (_, members) in zip(scored, groups, strict=True)]
        losses = [
            group_loss(one, reference[i] if reference else None, [score.s for score in scores[i]], config)
            for i, one in enumerate(scored)
        ]
        figures = score_figures(scores, [c.split for _, members in groups for c in members])
        return losses, figures | ({"kl_sft": log_ratio(scored, reference)} if reference else {})


def candidate(sample: Completion, decode: Decode, config: GemConfig, spans: Spans) -> Candidate | None:
    """The sample as a member of its group; None when it is shorter than `min_tokens`, or truncated.

    A split by position keeps truncated samples, as the released code does: no marker is cut off with their end.
    """
    whole = sample.finish == "stop"
    body = sample.ids[:-1] if whole else sample.ids  # without the end of turn
    if len(body) < config.min_tokens or not (whole or spans == "positional"):
        return None
    return Candidate(list(sample.ids), split(body, decode, config.marker, (config.final_fallback, MARKED_FINAL), spans))


# ---------------------------------------------------------------- 3. cognitive filtering


@dataclass(frozen=True, slots=True)
class CotScore:
    """S of a chain of thought and its two parts, in nats."""

    s: float
    h_final: float
    h_fork: float


def score(entropies: Sequence[float], where: Split, config: GemConfig) -> CotScore:
    """Eq. 1 of one sample: S = -H_final + lambda * H_fork. `entropies` has a value (nats) for each of its tokens."""
    h_final = fmean(entropies[where.final : where.length])
    n = where.reasoning
    m = max(1, math.floor(config.top_m * n + 1e-9))
    forks = sorted(entropies[:n], reverse=True)[:m]
    h_fork = math.fsum(forks) / (m if config.fork_norm == "m" else n)
    return CotScore(config.lambda_ * h_fork - (h_final if config.use_final else 0.0), h_final, h_fork)


def filtered(
    scored: Sequence[TokenLogprobs], members: Sequence[Candidate], config: GemConfig, rng: random.Random
) -> list[CotScore]:
    """The scores of a group, constants to the gradient; under a control S is noise, or the number of tokens."""
    scores = [score(entropies(one), c.split, config) for one, c in zip(scored, members, strict=True)]
    if config.weights == "random":
        return [replace(one, s=rng.gauss(0.0, 1.0)) for one in scores]
    if config.weights == "length":
        return [replace(one, s=float(c.split.length)) for one, c in zip(scores, members, strict=True)]
    return scores


# ---------------------------------------------------------------- 4. group-relative advantages


def shape(scores: Sequence[float], config: GemConfig) -> list[float]:
    """r = f(S)."""
    if config.f == "identity":
        return list(scores)
    if config.f == "softmax":
        weights = [math.exp((s - max(scores)) / config.tau) for s in scores]
        return [w / math.fsum(weights) for w in weights]
    others = [[other for j, other in enumerate(scores) if j != i] for i in range(len(scores))]
    return [fmean(sigmoid((s - o) / config.tau) for o in rest) for s, rest in zip(scores, others, strict=True)]


def advantages(scores: Sequence[float], config: GemConfig) -> list[float] | None:
    """Eq. 2: rewards less their mean, over their sample deviation where scaled; None when they tell nothing apart."""
    if len(scores) < 2:
        return None
    rewards = shape(scores, config)
    mean, spread = fmean(rewards), stdev(rewards)
    if spread < MIN_STD:
        return None
    unit = spread + STD_EPS if config.scale == "std" else 1.0
    return [(r - mean) / unit for r in rewards]


# ---------------------------------------------------------------- 5. losses


def group_loss(
    own: Sequence[TokenLogprobs],
    reference: Sequence[TokenLogprobs] | None,
    scores: Sequence[float],
    config: GemConfig,
) -> Tensor | None:
    """SEGA's loss, or DPO's on its best against its worst, plus the KL term where it is on; None for equal scores."""
    weights = advantages(scores, config)
    if weights is None:
        return None
    totals = summed(own)
    if config.optimise == "dpo" and reference is not None:
        loss = dpo_loss(totals, summed(reference), scores, config.dpo_beta)
    else:
        loss = sega_loss(totals, weights)
    return loss + config.beta_kl * kl_loss(own, reference) if config.beta_kl > 0 and reference is not None else loss


def sega_loss(totals: Tensor, weights: Sequence[float]) -> Tensor:
    """-(1/k) sum_i w_i log pi(a_i | q): `totals` (k,) summed log-probabilities in nats, `weights` constants."""
    return -(totals.new_tensor(weights) * totals).mean()


def dpo_loss(totals: Tensor, reference: Tensor, scores: Sequence[float], beta: float) -> Tensor:
    """-log sigmoid(beta * log-ratio margin) of the group's best S against its worst; both tensors (k,)."""
    from torch.nn.functional import logsigmoid

    ends = [max(range(len(scores)), key=scores.__getitem__), min(range(len(scores)), key=scores.__getitem__)]
    return -logsigmoid(margins(totals[ends][None], reference[ends][None], beta))[0]


# ---------------------------------------------------------------- what shows that the method was alive


def score_figures(scores: Sequence[Sequence[CotScore]], splits: Sequence[Split]) -> dict[str, float]:
    """Means over the scored samples of a step, in nats and tokens, and the mean deviation of S within a group."""
    flat = [one for group in scores for one in group]
    return {
        "h_final": fmean(one.h_final for one in flat),
        "h_fork": fmean(one.h_fork for one in flat),
        "score": fmean(one.s for one in flat),
        "score_std": fmean(stdev(one.s for one in group) for group in scores),
        "marker_rate": fmean(one.marked for one in splits),
        "reasoning_tokens": float(median(one.reasoning for one in splits)),
        "reasoned": fmean(one.reasoned for one in splits),
    }


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """GEM."""
    return [Gem]
