"""GEM: generative entropy-guided preference modelling (arXiv 2511.13007).

Few-shot alignment without a reward model or a judge. In the paper's order:

    1. reflective SFT: maximise log pi(chosen | q) under a chain-of-thought prompt that asks for a marked final answer
    2. for each prompt q, sample k chains of thought a_1 .. a_k from the policy
    3. cognitive filtering (Eq. 1): score each by its own token entropies H_t = -sum_x p_t(x) log p_t(x) in nats,
           S(a) = -H_final(a) + lambda * H_fork(a)
    4. SEGA (Eq. 2): r_i = f(S_i), A_i = r_i - mean(r), optionally over the group's standard deviation
    5. step along  -(1/k) sum_i A_i grad log pi(a_i | q),  log pi summed over the answer's tokens, A detached

Preference labels enter through step 1 alone, so `optimise=none` (SFT only) is the arm that GEM must be told from.
Sources of the settings: [S] the authors' released code or figures, [N] the paper's text, [R] our reading.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.contracts import (
    POLICY,
    Aligned,
    Aligner,
    Bench,
    Completion,
    FewShot,
    HarnessError,
    Message,
    Messages,
    Need,
    Pair,
)
from harness.fit.recipes import with_preset
from harness.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.lm.rows import TokenStats

REFERENCE = "sft"
"""Adapter name of the frozen copy of the policy after SFT."""
PAPER = {"sft_lr": 2e-5, "sega_lr": 1e-5}
"""What `preset=paper` sets: learning rates for all weights, not for an adapter."""
SEGA_SHARE = 1 / 4
"""Share of the regime's least number of optimizer steps that SEGA takes; SFT takes the rest."""
MIN_STD, STD_EPS = 1e-6, 1e-8
MIN_MARKER_RATE, MIN_GROUPS_USED = 0.80, 0.75
SFT_SCHEDULE = {"lr_scheduler_type": "cosine", "warmup_steps": 0.1}
"""That of the `sft` arm, so that the two differ by SEGA alone."""
COUNT = "steps with "
"""Prefix of the tallies that count the steps in which a figure was had."""
REFERENCE_EVERY = 4
"""Steps between two estimates of the KL divergence to the SFT model, where no switch needs it at every step."""
COT = 'You are a helpful assistant. Think step by step, then give your answer after the words "{marker}:".'
REFLECT = (
    "{question}\n\nTwo answers were given.\n\nAnswer 1: {first}\n\nAnswer 2: {second}\n\n"
    "Reflect on what is right and what is wrong in each, then write the better answer in full."
)


# ---------------------------------------------------------------- settings


def _probe(value: object, **needed: object) -> dict[str, Any]:
    """Metadata of a field: a second value that must change the result, and other settings without which it cannot."""
    return {"probe": value, "probe_with": needed} if needed else {"probe": value}


class GemConfig(BaseModel):
    """Every hyper-parameter of GEM. Batch, lengths, precision and adapter shape belong to the study, not to it."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    preset: Literal["ours", "paper"] = Field(
        "ours",
        description="whose learning rates stand where none is given: ours, for an adapter [R]; the paper's [N]",
        json_schema_extra=_probe("paper"),
    )
    k: int = Field(5, ge=2, description="samples per prompt [N]; released code 4 [S]", json_schema_extra=_probe(3))
    temperature: float = Field(0.9, gt=0, description="of the samples [S]", json_schema_extra=_probe(0.5))
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus of the samples [S]", json_schema_extra=_probe(0.6))
    top_k: int = Field(
        0,
        ge=0,
        description="most likely tokens sampled from, 0 for all [R]; released code leaves the library's silent 50 [S]",
        json_schema_extra=_probe(2),
    )
    lambda_: float = Field(
        1.0,
        ge=0,
        alias="lambda",
        description="weight of H_fork in S, Eq. 1 [S]; sweep 0.4, 1, 2; 0 is the ablation",
        json_schema_extra=_probe(0.0),
    )
    top_m: float = Field(
        0.1,
        gt=0,
        le=1,
        description="share of the n reasoning tokens that are forks: m = max(1, floor(top_m * n)) [S]",
        json_schema_extra=_probe(0.5),
    )
    fork_norm: Literal["m", "n"] = Field(
        "m",
        description="H_fork divides the forks' entropies by m [S] or by n [S, a secondary summary]",
        json_schema_extra=_probe("n"),
    )
    use_final: bool = Field(
        True, description="keep -H_final in S; false is the ablation without it [S]", json_schema_extra=_probe(False)
    )
    marker: str = Field(
        "Final Answer",
        min_length=1,
        description="words before the final answer, any case and spacing; the last occurrence counts [S prose]",
        json_schema_extra=_probe("In short", cot_prompt=COT),
    )
    final_fallback: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of the tokens taken as final answer where there is no marker [S]",
        json_schema_extra=_probe(0.6, marker="In short"),
    )
    cot_prompt: str = Field(
        "",
        description="system message of prompts that do not name the marker; empty: pools ask for it themselves [S/R]",
        json_schema_extra=_probe(COT),
    )
    reflect_on_pair: bool = Field(
        False,
        description="SFT also shows (q, rejected, chosen) unlabelled and trains the reflection to chosen [N/R]",
        json_schema_extra=_probe(True),
    )
    f: Literal["identity", "softmax", "bt"] = Field(
        "identity",
        description="from S to reward: S itself [S], softmax(S/tau) [S], mean_j sigmoid((S_i-S_j)/tau) [R]",
        json_schema_extra=_probe("bt"),
    )
    tau: float = Field(
        1.0, gt=0, description="temperature of softmax and bt [S/R]", json_schema_extra=_probe(0.1, f="bt")
    )
    scale: Literal["std", "none"] = Field(
        "std",
        description="advantages over the group's sample standard deviation [S code], or as in Eq. 2 [S figure]",
        json_schema_extra=_probe("none"),
    )
    weights: Literal["entropy", "random", "length"] = Field(
        "entropy",
        description="what S is: Eq. 1, or the controls standard normal noise and number of tokens [R]",
        json_schema_extra=_probe("random"),
    )
    optimise: Literal["sega", "dpo", "none"] = Field(
        "sega",
        description="after SFT: SEGA [S]; filtering and DPO, best S against worst [S]; nothing (`neither`) [S]",
        json_schema_extra=_probe("none"),
    )
    dpo_beta: float = Field(
        0.1, gt=0, description="beta of optimise=dpo [R]", json_schema_extra=_probe(2.0, optimise="dpo")
    )
    beta_kl: float = Field(
        0.0,
        ge=0,
        description="weight of the KL divergence to the SFT model [S: 0]",
        json_schema_extra=_probe(0.5, sft_lr=2e-3),
    )
    min_tokens: int = Field(
        8,
        ge=2,
        description="shorter samples leave their group, end of turn not counted [R]",
        json_schema_extra=_probe(24),
    )
    sft_lr: float = Field(
        2e-4,
        gt=0,
        description="2e-4 for an adapter (pilot search) [R]; paper 2e-5, all weights [S]",
        json_schema_extra=_probe(2e-3),
    )
    sega_lr: float = Field(
        1e-4,
        gt=0,
        description="1e-4 for an adapter [R]; paper 1e-5, all weights [N]; latest code 1e-6 [S]",
        json_schema_extra=_probe(1e-3),
    )
    sft_steps: int | None = Field(
        None,
        ge=1,
        description="optimizer steps of SFT; by default 3/4 of the regime's least [R]; paper one epoch [S]",
        json_schema_extra=_probe(3),
    )
    sega_steps: int | None = Field(
        None,
        ge=1,
        description="optimizer steps of SEGA; by default 1/4 of the regime's least [R]; paper one epoch [N]",
        json_schema_extra=_probe(4),
    )
    grad_clip: float = Field(1.0, gt=0, description="gradient norm [R]", json_schema_extra=_probe(1e-3))

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, data: Any) -> Any:
        return with_preset(data, PAPER)

    @model_validator(mode="after")
    def _score_can_vary(self) -> GemConfig:
        if not self.use_final and self.lambda_ == 0:
            raise ValueError("use_final=false with lambda=0 leaves no score: S would be 0 for every sample")
        return self


# ---------------------------------------------------------------- 1. prompts and rows of reflective SFT


def with_cot(messages: Messages, config: GemConfig) -> Messages:
    """The prompt with the chain-of-thought system message, unless it already names the marker."""
    pattern = marker_pattern(config.marker)
    if not config.cot_prompt or any(pattern.search(m.content) for m in messages):
        return messages
    cot = config.cot_prompt.replace("{marker}", config.marker)
    if messages[0].role == "system":
        return (Message("system", f"{messages[0].content}\n\n{cot}"), *messages[1:])
    return (Message("system", cot), *messages)


def reflection_prompt(pair: Pair, *, chosen_first: bool) -> Messages:
    """The pair's prompt with both answers shown and neither named the better one."""
    first, second = (pair.chosen, pair.rejected) if chosen_first else (pair.rejected, pair.chosen)
    text = REFLECT.format(question=pair.prompt[-1].content, first=first, second=second)
    return (*pair.prompt[:-1], Message(pair.prompt[-1].role, text))


def sft_rows(pairs: Sequence[Pair], config: GemConfig, seed: int) -> list[tuple[Messages, str]]:
    """(prompt, answer) of every row SFT trains on: each pair's `chosen`, and its reflection where that is on."""
    rows = [(with_cot(p.prompt, config), p.chosen) for p in pairs]
    if not config.reflect_on_pair:
        return rows
    rng = random.Random(seed)
    shown = [(reflection_prompt(p, chosen_first=rng.random() < 0.5), p.chosen) for p in pairs]
    return rows + [(with_cot(prompt, config), chosen) for prompt, chosen in shown]


def phase_steps(config: GemConfig, min_steps: int, *, any_pairs: bool = True) -> tuple[int, int]:
    """Optimizer steps of SFT and of SEGA: together at least `min_steps`, unless both are given."""
    if config.optimise == "none":
        return config.sft_steps or min_steps, 0
    if not any_pairs:
        return 0, config.sega_steps or min_steps
    share = max(1, round(SEGA_SHARE * min_steps))
    sega = config.sega_steps or max(share, min_steps - (config.sft_steps or min_steps))
    return config.sft_steps or max(1, min_steps - sega), sega


def schedule(items: int, per_step: int, steps: int, seed: int) -> list[list[int]]:
    """Indices that each step takes: shuffled epochs, one after the other, cut into `steps` of `per_step`."""
    rng, stream = random.Random(seed), list[int]()
    while len(stream) < per_step * steps:
        epoch = list(range(items))
        rng.shuffle(epoch)
        stream += epoch
    return [stream[i * per_step : (i + 1) * per_step] for i in range(steps)]


# ---------------------------------------------------------------- 3a. where reasoning ends and the final answer begins


@dataclass(frozen=True, slots=True)
class Spans:
    """Reasoning is tokens [0, reasoning), the final answer [final, length); the marker itself is in neither."""

    reasoning: int
    final: int
    length: int
    marked: bool
    """Found by the marker, not by position."""


def marker_pattern(marker: str) -> re.Pattern[str]:
    """The marker in any case, with any white space between its words."""
    return re.compile(r"\s+".join(re.escape(word) for word in marker.split()) or re.escape(marker), re.IGNORECASE)


def marker_tokens(ids: Sequence[int], decode: Callable[[Sequence[int]], str], marker: str) -> tuple[int, int] | None:
    """Token range of the last marker, or None.

    Works on token ids under any tokenisation, without encoding text again. The range ends with the shortest prefix
    whose text holds as many markers as the whole: that count never falls as tokens are added, so it can be bisected.
    It starts with the last offset from which the decoded range still holds one.
    """
    pattern = marker_pattern(marker)

    def count(end: int) -> int:
        return sum(1 for _ in pattern.finditer(decode(ids[:end])))

    total = count(len(ids))
    if total == 0:
        return None
    low, high = 1, len(ids)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) == total else (middle + 1, high)
    start = low - 1
    while start > 0 and not pattern.search(decode(ids[start:low])):
        start -= 1
    return start, low


def split(ids: Sequence[int], decode: Callable[[Sequence[int]], str], config: GemConfig) -> Spans:
    """Split a sample of at least two tokens (end of turn excluded) so that neither span is empty."""
    length = len(ids)
    found = marker_tokens(ids, decode, config.marker)
    if found is None:
        final = max(1, length - max(1, math.floor(config.final_fallback * length + 1e-9)))
        return Spans(final, final, length, marked=False)
    return Spans(max(1, found[0]), min(found[1], length - 1), length, marked=True)


# ---------------------------------------------------------------- 3b. cognitive filtering


@dataclass(frozen=True, slots=True)
class Score:
    """S and its two parts, in nats."""

    s: float
    h_final: float
    h_fork: float


def score(entropies: Sequence[float], spans: Spans, config: GemConfig) -> Score:
    """Eq. 1 of one sample: S = -H_final + lambda * H_fork. `entropies` has a value (nats) for each of its tokens."""
    h_final = fmean(entropies[spans.final : spans.length])
    n = spans.reasoning
    m = max(1, math.floor(config.top_m * n + 1e-9))
    forks = sorted(entropies[:n], reverse=True)[:m]
    h_fork = math.fsum(forks) / (m if config.fork_norm == "m" else n)
    s = config.lambda_ * h_fork - (h_final if config.use_final else 0.0)
    return Score(s, h_final, h_fork)


def with_control(scores: Sequence[Score], lengths: Sequence[int], config: GemConfig, rng: random.Random) -> list[Score]:
    """The group's scores with S replaced as `weights` says: noise, or the number of tokens."""
    if config.weights == "random":
        return [replace(one, s=rng.gauss(0.0, 1.0)) for one in scores]
    if config.weights == "length":
        return [replace(one, s=float(n)) for one, n in zip(scores, lengths, strict=True)]
    return list(scores)


# ---------------------------------------------------------------- 4. group-relative advantages


def shape(scores: Sequence[float], config: GemConfig) -> list[float]:
    """r = f(S)."""
    if config.f == "identity":
        return list(scores)
    if config.f == "softmax":
        top = max(scores)
        weights = [math.exp((s - top) / config.tau) for s in scores]
        return [w / math.fsum(weights) for w in weights]
    return [
        fmean(_sigmoid((s - other) / config.tau) for j, other in enumerate(scores) if j != i)
        for i, s in enumerate(scores)
    ]


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


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


# ---------------------------------------------------------------- 5. losses


def sega_loss(totals: Tensor, weights: Sequence[float]) -> Tensor:
    """-(1/k) sum_i w_i log pi(a_i | q): `totals` (k,) summed log-probabilities in nats, `weights` constants."""
    return -(totals.new_tensor(weights) * totals).mean()


def dpo_loss(totals: Tensor, reference: Tensor, scores: Sequence[float], beta: float) -> Tensor:
    """-log sigmoid(beta * log-ratio margin) of the group's best S against its worst; both tensors (k,)."""
    from torch.nn.functional import logsigmoid

    best, worst = max(range(len(scores)), key=scores.__getitem__), min(range(len(scores)), key=scores.__getitem__)
    ratio = totals - reference
    return -logsigmoid(beta * (ratio[best] - ratio[worst]))


def kl_loss(logprobs: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
    """Estimate of KL(policy || SFT) per sample, nats: sum over tokens of e^d - d - 1, d = reference - policy."""
    import torch

    gaps = [(ref - own) for own, ref in zip(logprobs, reference, strict=True)]
    return torch.stack([(gap.exp() - gap - 1).sum() for gap in gaps]).mean()


# ---------------------------------------------------------------- the method


class Gem:
    """Reflective SFT on `chosen`, then SEGA on the pairs' prompts and the unlabelled ones."""

    name: ClassVar[str] = "gem"
    paper: ClassVar[str] = "2511.13007"
    version: ClassVar[str] = "4"
    requires: ClassVar[frozenset[Need]] = frozenset()
    accepts: ClassVar[frozenset[Need]] = frozenset({"pairs", "prompts"})
    Config: ClassVar[type[BaseModel]] = GemConfig

    def __init__(self, config: GemConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train the live policy. Raises HarnessError without data, BudgetExceeded at the track's cap."""
        config, pairs = self.config, few_shot.pairs
        if not pairs and (config.optimise == "none" or not few_shot.prompts):
            needed = "pairs" if config.optimise == "none" else "pairs or prompts"
            raise HarnessError(f"aligner gem needs {needed} and was given none; raise --budget")
        sft_steps, sega_steps = phase_steps(config, bench.regime.min_steps, any_pairs=bool(pairs))
        pairs, held_out = bench.split(pairs)
        if pairs:
            _sft(bench, config, pairs, held_out, sft_steps)
        if sega_steps:
            prompts = [*(item.prompt for item in pairs), *(item.messages for item in few_shot.prompts)]
            _sega(bench, config, [with_cot(prompt, config) for prompt in prompts], held_out, sega_steps)
        return bench.aligned()


def _seed(*parts: object) -> int:
    from harness.util.hashes import content_hash

    return int(content_hash("gem", *parts)[:8], 16) >> 1


def _sft(bench: Bench, config: GemConfig, pairs: Sequence[Pair], held_out: Sequence[Pair], steps: int) -> None:
    """Mean negative log-likelihood per answer token of the batch, as TRL's SFT trainer has it."""
    import torch

    from harness.lm.logprobs import group_logprobs
    from harness.lm.rows import Group

    rows = sft_rows(pairs, config, _seed(bench.seed, "reflect"))
    groups = [Group(bench.render(prompt), [bench.encode(answer)]) for prompt, answer in rows]

    def loss(model: Any, step: int, items: Sequence[int]) -> Tensor:
        stats = group_logprobs(model, [groups[i] for i in items])
        return -torch.cat([one.logprobs for group in stats for one in group]).mean()

    order = schedule(len(groups), bench.regime.batch, steps, _seed(bench.seed, "sft order"))
    method = {"learning_rate": config.sft_lr, "max_grad_norm": config.grad_clip, **SFT_SCHEDULE}
    bench.train(step_trainer(bench, order, loss, **method), held_out=held_out)


def _sega(bench: Bench, config: GemConfig, prompts: Sequence[Messages], held_out: Sequence[Pair], steps: int) -> None:
    """On-policy steps from the SFT model; reports the figures that show whether they were alive, also at the cap."""
    bench.fork(REFERENCE)
    order = schedule(len(prompts), bench.regime.sample_prompts, steps, _seed(bench.seed, "sega order"))
    loss = SegaStep(bench, config, prompts, last=steps - 1)
    method = {"learning_rate": config.sega_lr, "max_grad_norm": config.grad_clip, "lr_scheduler_type": "constant"}
    try:
        bench.train(step_trainer(bench, order, loss, **method), held_out=held_out)
        if held_out:
            bench.liveness(sega_kept=float(differs(bench.policy)))
    finally:
        report(bench)
        bench.drop(REFERENCE)


def differs(policy: Any) -> bool:
    """Whether the policy is another model than SFT's: with pairs held out, the best look may have been one of SFT's."""
    weights = dict(policy.named_parameters())
    live = {name: weight for name, weight in weights.items() if f".{POLICY}." in name}
    of_sft = {name: weights[name.replace(f".{POLICY}.", f".{REFERENCE}.")] for name in live}
    return any(not weight.equal(of_sft[name]) for name, weight in live.items())


# ---------------------------------------------------------------- one SEGA step


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finished sample, long enough to be split."""

    ids: list[int]
    """Its tokens, end of turn included: the action whose log-probability is differentiated."""
    spans: Spans


def candidate(sample: Completion, decode: Callable[[Sequence[int]], str], config: GemConfig) -> Candidate | None:
    """The sample as a member of its group; None when it was truncated or is shorter than `min_tokens`."""
    body = sample.ids[:-1]  # without the end of turn
    if sample.finish == "length" or len(body) < config.min_tokens:
        return None
    return Candidate(list(sample.ids), split(body, decode, config))


@dataclass(frozen=True, slots=True)
class SegaStep:
    """Steps 2 to 5 on one batch of prompts: sample, score, compare, and the loss to differentiate."""

    bench: Bench
    config: GemConfig
    prompts: Sequence[Messages]
    last: int
    """Index of the last step."""

    def __call__(self, model: Any, step: int, items: Sequence[int]) -> Tensor | None:
        """Loss of one step, a mean over the groups used; None when no group was, so that nothing moves."""
        import torch

        batch = [self.prompts[i] for i in items]
        model.eval()  # S is scored without dropout, and the forward that scores is the one differentiated
        samples = self._sample(batch, step)
        members = [[c for one in group if (c := candidate(one, self._decode, self.config))] for group in samples]
        valid = [(prompt, group) for prompt, group in zip(batch, members, strict=True) if len(group) >= 2]
        used, figures = self._losses(model, valid, step) if valid else ([], {})
        figures |= sample_figures(samples, members, marker=self.config.marker)
        figures["groups_equal"] = (len(valid) - len(used)) / len(samples)
        note(self.bench, step, figures)
        return torch.stack(used).mean() if used else None

    def _sample(self, batch: Sequence[Messages], step: int) -> list[list[Completion]]:
        config = self.config
        seed = _seed(self.bench.seed, "sega", step)
        return self.bench.generate(
            batch, n=config.k, temperature=config.temperature, top_p=config.top_p, top_k=config.top_k, seed=seed
        )

    def _decode(self, ids: Sequence[int]) -> str:
        text = self.bench.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    def _losses(
        self, model: Any, valid: Sequence[tuple[Messages, list[Candidate]]], step: int
    ) -> tuple[list[Tensor], dict[str, float]]:
        """One forward over all groups: a loss for each group that tells its members apart, and the step's figures."""
        from harness.lm.logprobs import group_logprobs
        from harness.lm.rows import Group

        groups = [Group(self.bench.render(prompt), [c.ids for c in members]) for prompt, members in valid]
        reference = self._reference(model, groups, step)
        stats = group_logprobs(model, groups, entropy=True)
        rng = random.Random(_seed(self.bench.seed, "random weights", step))
        scores = [self._scores(group, one, rng) for (_, group), one in zip(valid, stats, strict=True)]
        losses = [
            self._group_loss(one, reference[i] if reference else None, [s.s for s in scores[i]])
            for i, one in enumerate(stats)
        ]
        figures = score_figures(scores, [c.spans for _, group in valid for c in group])
        if reference:
            figures["kl_sft"] = log_ratio(stats, reference)
        return [loss for loss in losses if loss is not None], figures

    def _scores(self, members: Sequence[Candidate], stats: Sequence[TokenStats], rng: random.Random) -> list[Score]:
        entropies = [_entropies(one) for one in stats]
        scores = [score(h, c.spans, self.config) for h, c in zip(entropies, members, strict=True)]
        return with_control(scores, [c.spans.length for c in members], self.config, rng)

    def _reference(self, model: Any, groups: Any, step: int) -> list[list[Tensor]] | None:
        """Per-token log-probabilities under the SFT model, where this step needs or reports them."""
        import torch

        from harness.lm.logprobs import group_logprobs

        needed = self.config.optimise == "dpo" or self.config.beta_kl > 0
        if not needed and step != self.last and (step + 1) % REFERENCE_EVERY:
            return None
        with self.bench.using(REFERENCE), torch.no_grad():
            stats = group_logprobs(model, groups)
        return [[one.logprobs for one in group] for group in stats]

    def _group_loss(
        self, stats: Sequence[TokenStats], reference: list[Tensor] | None, scores: Sequence[float]
    ) -> Tensor | None:
        """SEGA's loss, or DPO's on its best against its worst, plus the KL term where it is on."""
        import torch

        config = self.config
        weights = advantages(scores, config)
        if weights is None:
            return None
        totals = torch.stack([one.logprobs.sum() for one in stats])
        if config.optimise == "dpo" and reference is not None:
            fixed = torch.stack([one.sum() for one in reference])
            loss = dpo_loss(totals, fixed, scores, config.dpo_beta)
        else:
            loss = sega_loss(totals, weights)
        if config.beta_kl > 0 and reference is not None:
            loss = loss + config.beta_kl * kl_loss([one.logprobs for one in stats], reference)
        return loss


def _entropies(stats: TokenStats) -> list[float]:
    """Detached: S is a constant to the gradient."""
    if stats.entropies is None:
        raise RuntimeError("token entropies were asked for and not returned")
    return [float(h) for h in stats.entropies.detach().tolist()]


# ---------------------------------------------------------------- what shows that the method was alive


def sample_figures(
    samples: Sequence[Sequence[Completion]], members: Sequence[Sequence[Candidate]], *, marker: str
) -> dict[str, float]:
    """Rates over all samples of a step, and the share of its groups that have at least two candidates."""
    flat = [one for group in samples for one in group]
    pattern = marker_pattern(marker)
    bigrams = [pair for one in flat for pair in zip(one.ids, one.ids[1:], strict=False)]
    return {
        "marker_rate": fmean(pattern.search(one.text) is not None for one in flat),
        "truncation": fmean(one.finish == "length" for one in flat),
        "dropped": 1 - sum(map(len, members)) / len(flat),
        "length": fmean(len(one.ids) for one in flat),
        "distinct_2": len(set(bigrams)) / max(1, len(bigrams)),
        "groups_used": fmean(len(group) >= 2 for group in members),
    }


def score_figures(scores: Sequence[Sequence[Score]], spans: Sequence[Spans]) -> dict[str, float]:
    """Means over the scored samples of a step, in nats, and the mean deviation of S within a group."""
    flat = [one for group in scores for one in group]
    return {
        "h_final": fmean(one.h_final for one in flat),
        "h_fork": fmean(one.h_fork for one in flat),
        "score": fmean(one.s for one in flat),
        "score_std": fmean(stdev(one.s for one in group) for group in scores),
        "positional_fallback": fmean(not one.marked for one in spans),
    }


def log_ratio(stats: Sequence[Sequence[TokenStats]], reference: Sequence[Sequence[Tensor]]) -> float:
    """Mean over the policy's own samples of log pi - log pi_sft, nats per sample: an estimate of the KL divergence."""
    gaps = [
        float((own.logprobs.detach() - fixed).sum())
        for group, refs in zip(stats, reference, strict=True)
        for own, fixed in zip(group, refs, strict=True)
    ]
    return fmean(gaps)


def degenerate(figures: Mapping[str, float]) -> str | None:
    """Why SEGA was not GEM any more, or None: too few samples with the marker, or too few groups that could be used."""
    rate, used = figures["marker_rate"], figures["groups_used"]
    if rate < MIN_MARKER_RATE:
        return f"{rate:.0%} of the samples hold the final-answer marker, {MIN_MARKER_RATE:.0%} are needed"
    if used < MIN_GROUPS_USED:
        return f"{used:.0%} of the groups could be used, {MIN_GROUPS_USED:.0%} are needed"
    return None


def note(bench: Bench, step: int, figures: Mapping[str, float]) -> None:
    """Log a step's figures and add them to the sums that survive a resume."""
    bench.log("sega", step=step, **figures)
    bench.tally(**figures, **{COUNT + name: 1.0 for name in figures})


def report(bench: Bench) -> None:
    """Liveness of the fit: the mean of each figure over the steps that had it."""
    sums = bench.tally()
    figures = {name: value / sums[COUNT + name] for name, value in sums.items() if COUNT + name in sums}
    if figures:
        bench.liveness(degenerate=degenerate(figures), **figures)


# ---------------------------------------------------------------- the trainer


StepLoss = Callable[[Any, int, Sequence[int]], "Tensor | None"]


def step_trainer(bench: Bench, order: Sequence[Sequence[int]], loss: StepLoss, **method: Any) -> Any:
    """A transformers Trainer that takes one optimizer step per row of `order`, on `loss(model, step, row)`.

    A step's rows and seed follow from its index alone, so a resumed run repeats exactly. A loss of None leaves the
    gradients unset: AdamW then skips every weight, and neither decay nor momentum moves the policy.
    """
    import torch
    from torch.utils.data import DataLoader
    from transformers import Trainer, TrainingArguments

    rows: Any = [{"step": step, "items": list(items)} for step, items in enumerate(order)]

    class StepTrainer(Trainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(rows, batch_size=1, shuffle=False, collate_fn=lambda batch: batch[0])

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Tensor:
            value = loss(model, inputs["step"], inputs["items"])
            self.skipped = value is None
            return _still(model) if value is None else value

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
            value: Tensor = super().training_step(model, inputs, num_items_in_batch)
            if self.skipped:
                model.zero_grad(set_to_none=True)
            return value

    def _still(model: Any) -> Tensor:
        return torch.stack([p.sum() for p in model.parameters() if p.requires_grad]).sum() * 0.0

    arguments = bench.arguments(TrainingArguments, max_steps=len(order), weight_decay=0.0, **method)
    return StepTrainer(model=bench.policy, args=arguments, train_dataset=rows)


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """GEM."""
    return [Gem]
