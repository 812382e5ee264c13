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
Sources of the settings: [S] the paper, [N] not given there, [R] our reading or choice.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.contracts import (
    BASE,
    POLICY,
    Aligned,
    Aligner,
    Bench,
    Completion,
    FewShot,
    HarnessError,
    JudgeItem,
    Message,
    Messages,
    Need,
    Pair,
    Prompt,
    Regime,
)
from harness.fit.recipes import require_pairs, with_preset
from harness.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.lm.rows import Group

ROUND_SHARES = (8, 20, 30)
"""Unlabelled prompts of rounds 1, 2 and 3, in proportion [S]."""
PAPER = {"learning_rate": 5e-7}
"""What `preset=paper` sets: the rate for all weights, not for an adapter."""
SAMPLE_BLOCK = 32
"""Prompts of one planned batch of samples, which has its own seed."""
GOLD_PAIRS = 64
"""Most labelled pairs that the judge is checked against in a round."""
MIN_PAIRS_USED, MAX_TRUNCATION, MIN_SEED_AGREEMENT = 0.5, 0.9, 0.5
COUNT = "selfie count of "
"""Prefix of the tallies that count how often a figure was had, or what else it is a mean over."""
MARKED, WATCHED = "selfie pairs with z", "selfie pairs under detection"
VERDICTS = "selfie verdicts"
COMPARE = (
    "{question}\n\nTwo answers were given.\n\nAnswer A: {a}\n\nAnswer B: {b}\n\n"
    "Which answer is better? Reply with A or B only."
)


# ---------------------------------------------------------------- settings


def _probe(value: object, **needed: object) -> dict[str, Any]:
    """Metadata of a field: a second value that must change the result, and other settings without which it cannot."""
    return {"probe": value, "probe_with": needed} if needed else {"probe": value}


DETECTING: Mapping[str, object] = MappingProxyType({"rounds": 1, "round_epochs": 3.0, "alpha": 0.5, "quantile": 0.6})
"""Settings under which detection has margins enough even in the shortest regime, and some weight."""


class SelfieConfig(BaseModel):
    """Every hyper-parameter of Selfie. Batch, lengths, precision and adapter shape belong to the study, not to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["ours", "paper"] = Field(
        "ours",
        description="whose learning rate stands where none is given: ours, for an adapter [R]; the paper's [S]",
        json_schema_extra=_probe("paper"),
    )
    beta: float = Field(
        0.1, gt=0, description="scale of the margins, in judging and in training [S]", json_schema_extra=_probe(1.0)
    )
    learning_rate: float = Field(
        5e-5,
        gt=0,
        description="peak of every phase, cosine to 0: 5e-5 for an adapter [R]; paper 5e-7, all weights [S]",
        json_schema_extra=_probe(1e-3),
    )
    warmup: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of a phase's steps with rising rate, rounded down [S; rounding R]",
        json_schema_extra=_probe(0.5),
    )
    seed_epochs: float = Field(
        3.0,
        gt=0,
        description="passes over the labelled pairs; more where the regime's least number of steps asks for it [S]",
        json_schema_extra=_probe(1.0),
    )
    rounds: int = Field(
        3,
        ge=0,
        le=3,
        description="rounds of self-labelling on 8:20:30 of the unlabelled prompts; 0 is the seed alone [S]",
        json_schema_extra=_probe(1),
    )
    round_epochs: float = Field(
        1.0, gt=0, description="passes over a round's own pairs [S]", json_schema_extra=_probe(3.0)
    )
    temperature: float = Field(0.7, gt=0, description="of the two samples [S]", json_schema_extra=_probe(1.5))
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus of the samples [S]", json_schema_extra=_probe(0.3))
    top_k: int = Field(
        0, ge=0, description="most likely tokens sampled from, 0 for all [N]", json_schema_extra=_probe(2)
    )
    judge: str = Field(
        "implicit",
        min_length=1,
        description="who labels: implicit, the reward against pi_init; previous, against the round before's policy; "
        "none, without reference; llm, the model asked which answer is better, in both orders [S]; or a registered "
        "judge by name (`list judges`), whose calls are reported",
        json_schema_extra=_probe("none"),
    )
    length_penalty: float = Field(
        0.0,
        ge=0,
        description="taken off an answer's score per token at labelling, Eq. 13; paper 0.001 to 0.01 [S; unit R]",
        json_schema_extra=_probe(10.0),
    )
    alpha: float = Field(
        0.1,
        ge=0,
        le=1,
        description="weight of the opposite label for pairs taken for noise, Eq. 10; 0 is data expansion only [S]",
        json_schema_extra=_probe(0.0, **DETECTING),
    )
    quantile: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="K: share of lowest margins that is taken for noise, Eq. 9 [S]",
        json_schema_extra=_probe(0.2, **DETECTING),
    )
    lam: float = Field(
        0.5,
        ge=0,
        description="extrapolation of the logits in round 1, Eq. 11, halved each round; 0 detects on plain margins [S]",
        json_schema_extra=_probe(12.0, **DETECTING),
    )
    detect_after: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="share of a round's steps before detection [S]",
        json_schema_extra=_probe(0.9, **DETECTING),
    )
    window: int = Field(
        50,
        ge=2,
        description="latest margins that the threshold is taken over [S]",
        json_schema_extra=_probe(2, **DETECTING),
    )
    min_margins: int = Field(
        10,
        ge=2,
        description="margins needed before there is a threshold [R]",
        json_schema_extra=_probe(1000, **DETECTING),
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, data: Any) -> Any:
        return with_preset(data, PAPER)


# ---------------------------------------------------------------- plan: prompts and steps of each phase


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


def schedule(items: int, per_step: int, steps: int, seed: int) -> list[list[int]]:
    """Indices that each step takes: shuffled epochs, each cut into batches; empty ones without items."""
    rng, batches = random.Random(seed), list[list[int]]()
    while items and len(batches) < steps:
        epoch = rng.sample(range(items), items)
        batches += [epoch[i : i + per_step] for i in range(0, items, per_step)]
    return batches[:steps] if items else [[] for _ in range(steps)]


def _seed(*parts: object) -> int:
    from harness.util.hashes import content_hash

    return int(content_hash("selfie", *parts)[:8], 16) >> 1


# ---------------------------------------------------------------- losses and detection: pure functions


def margins(totals: Tensor, reference: Tensor, beta: float) -> Tensor:
    """m = beta (d_w - d_l), d = log pi - log pi_ref; both (B, 2): summed nats of winner and loser. Returns (B,)."""
    ratio = totals - reference
    return beta * (ratio[:, 0] - ratio[:, 1])


def noise_aware_loss(margin: Tensor, noisy: Tensor, alpha: float) -> Tensor:
    """Eq. 10, the mean over (B,) margins: -(1 - alpha z) log sigmoid(m) - alpha z log sigmoid(-m); z in {0, 1}."""
    from torch.nn.functional import logsigmoid

    weight = alpha * noisy.to(margin.dtype)
    return -((1 - weight) * logsigmoid(margin) + weight * logsigmoid(-margin)).mean()


def decoupled_ratio(policy: Tensor, reference: Tensor, ids: Tensor, lam: float) -> Tensor:
    """Per-token log pi~ - log pi_ref in nats, pi~ = softmax((1+lam) h - lam h_ref), Eqs. 11, 12.

    `policy` and `reference` (T, V) are logits or log-probabilities, `ids` (T,) the answer's tokens. Returns (T,).
    """
    extrapolated = ((1 + lam) * policy - lam * reference).log_softmax(-1)
    return (extrapolated - reference.log_softmax(-1)).gather(-1, ids[:, None])[:, 0]


def quantile(values: Sequence[float], share: float) -> float:
    """Value below which `share` of the values lie, linear between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def flag(recent: Sequence[float], current: Sequence[float], config: SelfieConfig) -> tuple[float | None, list[bool]]:
    """Eq. 9: (tau, z of each current margin). tau is the K quantile of the latest margins, these included.

    None, and no z, while there are fewer than `min_margins`.
    """
    seen = [*recent, *current]
    if len(seen) < config.min_margins:
        return None, [False] * len(current)
    tau = quantile(seen[-config.window :], config.quantile)
    return tau, [margin < tau for margin in current]


# ---------------------------------------------------------------- 2b. judges


@dataclass(frozen=True, slots=True)
class Item:
    """Two answers to a prompt: samples, or a labelled pair's texts with the chosen one first."""

    prompt: Messages
    a: str | Completion
    b: str | Completion


@dataclass(frozen=True, slots=True)
class Reign:
    """Adapters by their part in a round: pi_{i-1}, and pi_{i-2} (pi_init in round 1)."""

    current: str
    before: str


Odds = Sequence[float | None]
Rule = Callable[[Bench, Reign, float, Sequence[Item]], Odds]
"""A judge: from (bench, reign, beta, items) to the log-odds that each item's `a` is better; None: no verdict."""


def totals(bench: Bench, items: Sequence[Item], of: str) -> list[tuple[float, float]]:
    """Summed log-probability (nats) of both answers of each item under one policy."""
    scores = bench.score([i.prompt for i in items], [(i.a, i.b) for i in items], of=of)
    return [(a.total, b.total) for a, b in scores]


def implicit(bench: Bench, reign: Reign, beta: float, items: Sequence[Item]) -> Odds:
    """Eq. 7: the reference is the fixed initial model."""
    return _log_odds(totals(bench, items, reign.current), totals(bench, items, BASE), beta)


def previous(bench: Bench, reign: Reign, beta: float, items: Sequence[Item]) -> Odds:
    """The ablation with the policy of the round before as reference."""
    return _log_odds(totals(bench, items, reign.current), totals(bench, items, reign.before), beta)


def unreferenced(bench: Bench, reign: Reign, beta: float, items: Sequence[Item]) -> Odds:
    """The ablation without a reference: the more likely answer wins."""
    return _log_odds(totals(bench, items, reign.current), [(0.0, 0.0)] * len(items), beta)


def asked(bench: Bench, reign: Reign, beta: float, items: Sequence[Item]) -> Odds:
    """The model itself is asked which answer is better, in both orders; beta plays no part."""
    shown = [(i, first, second) for i in items for first, second in ((i.a, i.b), (i.b, i.a))]
    letters = [_letter(bench, "A"), _letter(bench, "B")]
    prompts = [comparison(i.prompt, _text(first), _text(second)) for i, first, second in shown]
    scores = bench.score(prompts, [letters] * len(prompts), of=reign.current)
    odds = [first.total - second.total for first, second in scores]
    return [_logit((_sigmoid(x) + _sigmoid(-y)) / 2) for x, y in zip(odds[::2], odds[1::2], strict=True)]


JUDGES: Mapping[str, Rule] = MappingProxyType(
    {"implicit": implicit, "previous": previous, "none": unreferenced, "llm": asked}
)


def judged(bench: Bench, judge: str, reign: Reign, beta: float, items: Sequence[Item]) -> Odds:
    """What the judge of that name says: one of `JUDGES`, or a registered one, which knows neither policy nor beta."""
    if judge in JUDGES:
        return JUDGES[judge](bench, reign, beta, items)
    asked = [JudgeItem(str(i), item.prompt, _text(item.a), _text(item.b)) for i, item in enumerate(items)]
    verdicts = bench.judge(judge, asked)
    failed = next((v.status for v in verdicts if v.status != "ok"), None)
    ever = bench.tally(**{VERDICTS: float(sum(v.status == "ok" for v in verdicts))})[VERDICTS]
    if failed is not None and not ever:
        raise HarnessError(f"judge {judge!r} gave no verdict on any of {len(items)} pairs of answers: {failed}")
    return [_logit(v.p_a) if v.status == "ok" else None for v in verdicts]


def comparison(prompt: Messages, a: str, b: str) -> Messages:
    """The prompt that asks which of two answers is better."""
    text = COMPARE.format(question=prompt[-1].content, a=a, b=b)
    return (*prompt[:-1], Message(prompt[-1].role, text))


def lead(config: SelfieConfig, log_odds: float, tokens_a: int, tokens_b: int) -> float:
    """Eqs. 8 and 13: how far the first answer is ahead, each score less the length penalty; 0 is a tie."""
    return log_odds - config.length_penalty * (tokens_a - tokens_b)


def _log_odds(policy: Sequence[tuple[float, float]], reference: Sequence[tuple[float, float]], beta: float) -> Odds:
    return [beta * ((a - c) - (b - d)) for (a, b), (c, d) in zip(policy, reference, strict=True)]


def _letter(bench: Bench, letter: str) -> Completion:
    """A letter as an open answer, so that no end of turn is counted."""
    return Completion(letter, tuple(bench.tokenizer(letter, add_special_tokens=False)["input_ids"]), "length")


def _text(answer: str | Completion) -> str:
    return answer if isinstance(answer, str) else answer.text


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _logit(p: float) -> float:
    clipped = min(max(p, 1e-12), 1 - 1e-12)
    return math.log(clipped) - math.log1p(-clipped)


# ---------------------------------------------------------------- the method


@dataclass(frozen=True, slots=True)
class Row:
    """A pair to train on, as token ids, with the log-probabilities (nats) of both answers where the reference's are
    known beforehand."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    reference: tuple[float, float] | None = None


class Selfie:
    """DPO on the pairs, then rounds of DPO on its own answers to new prompts under its own labels."""

    name: ClassVar[str] = "selfie"
    aliases: ClassVar[tuple[str, ...]] = ("spa",)
    paper: ClassVar[str] = "2406.04412"
    version: ClassVar[str] = "5"
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
        pairs, held_out = bench.split(few_shot.pairs)
        sizes = round_sizes(len(few_shot.prompts), self.config.rounds)
        seed_steps, round_steps = phase_steps(self.config, bench.regime, len(pairs), sizes)
        prompts = iter(random.Random(_seed(bench.seed, "prompts")).sample(few_shot.prompts, len(few_shot.prompts)))
        planned = [
            Round(index + 1, tuple(next(prompts) for _ in range(size)), steps, pairs, held_out)
            for index, (size, steps) in enumerate(zip(sizes, round_steps, strict=True))
        ]
        rounds = [one for one in planned if one.prompts]
        try:
            train_seed(bench, self.config, pairs, held_out, seed_steps)
            train_rounds(bench, self.config, rounds)
        finally:
            report(bench, self.config, rounds)
        return bench.aligned()


@dataclass(frozen=True, slots=True)
class Round:
    """One round's share of the plan."""

    number: int
    prompts: tuple[Prompt, ...]
    steps: int
    pairs: tuple[Pair, ...]
    held_out: tuple[Pair, ...]

    @property
    def gold(self) -> tuple[Pair, ...]:
        """Labelled pairs that the judge is checked against: held-out ones where there are any, else the seed's."""
        return (self.held_out or self.pairs)[:GOLD_PAIRS]


def train_seed(bench: Bench, config: SelfieConfig, pairs: Sequence[Pair], held_out: Sequence[Pair], steps: int) -> None:
    """Step 1: plain DPO against the base model, whose log-probabilities are computed once for all passes."""
    rows = [Row(bench.render(p.prompt), bench.encode(p.chosen), bench.encode(p.rejected)) for p in pairs]
    trainer = phase_trainer(bench, config, "seed", lambda _: rows, DpoStep(bench, config, steps, BASE))
    bench.train(trainer, held_out=held_out)


def train_rounds(bench: Bench, config: SelfieConfig, rounds: Sequence[Round]) -> None:
    """Step 2. Frozen copies of the policy live as long as a judge needs them.

    A round is prepared inside its training phase: one that an interrupted process had finished is not sampled again.
    """
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
    """Steps 2a to 2c from pi_{i-1}, against pi_{i-1}."""
    name = f"round-{one.number}"
    lam = config.lam / 2 ** (one.number - 1)
    window = Window(bench.workdir / f"selfie-{name}-margins.jsonl") if config.alpha else None
    step = DpoStep(bench, config, one.steps, reign.current, lam, window)
    stored = bench.workdir / f"selfie-{name}-pairs.json"

    def rows(resuming: bool) -> list[Row]:
        """Made anew from the round's seeds unless a checkpoint counts them as made."""
        if not resuming:
            write_rows(stored, self_label(bench, config, one, reign))
        return read_rows(stored)

    bench.train(phase_trainer(bench, config, name, rows, step), held_out=one.held_out)


# ---------------------------------------------------------------- 2a, 2b. a round's data


def self_label(bench: Bench, config: SelfieConfig, one: Round, reign: Reign) -> list[Row]:
    """Two answers to each prompt, labelled by the judge: winner first. Notes the round's figures."""
    agrees = agreement(bench, config, one.gold, reign)
    samples = sample(bench, config, one, reign.current)
    items = [Item(p.messages, *pair) for p, pair in zip(one.prompts, samples, strict=True) if usable(*pair)]
    log_odds = judged(bench, config.judge, reign, config.beta, items) if items else []
    rows, odds = [], []
    for item, odd in zip(items, log_odds, strict=True):
        a, b = bench.encode(item.a), bench.encode(item.b)
        ahead = 0.0 if odd is None else lead(config, odd, len(a), len(b))
        if odd is None or ahead == 0:
            continue  # no verdict, or a tie: no winner to learn from
        first = ahead > 0
        odds.append(odd if first else -odd)
        rows.append(Row(bench.render(item.prompt), *((a, b) if first else (b, a))))
    figures = round_figures(samples, rows, odds) | agrees
    bench.log("selfie_round", round=one.number, **figures)
    note(bench, {f"{name}_round_{one.number}": value for name, value in figures.items()})
    note(bench, {"pairs_used": figures.pop("pairs_used")}, weight=len(samples))  # of all prompts, not of rounds
    note(bench, figures)
    return rows


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
            seed=_seed(bench.seed, "samples", one.number, start),
            of=of,
        )
        found += [(a, b) for a, b in block]
    return found


def usable(a: Completion, b: Completion) -> bool:
    """Whether two samples make a pair: neither is empty, and they differ."""
    return bool(a.text.strip()) and bool(b.text.strip()) and a.text.strip() != b.text.strip()


def agreement(bench: Bench, config: SelfieConfig, gold: Sequence[Pair], reign: Reign) -> dict[str, float]:
    """Share of labelled pairs on which the judge, length penalty included, says what the label says; ties are half.

    Empty where it gave no verdict on any.
    """
    items = [Item(p.prompt, p.chosen, p.rejected) for p in gold]
    log_odds = judged(bench, config.judge, reign, config.beta, items)
    lengths = [(len(bench.encode(p.chosen)), len(bench.encode(p.rejected))) for p in gold]
    leads = [lead(config, odd, *both) for odd, both in zip(log_odds, lengths, strict=True) if odd is not None]
    return {"agreement": fmean(0.5 if ahead == 0 else float(ahead > 0) for ahead in leads)} if leads else {}


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Store a round's pairs; a crash leaves the whole file or none."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")
    temporary.replace(path)


def read_rows(path: Path) -> list[Row]:
    """What `write_rows` stored; samples carry no reference."""
    return [Row(r["prompt"], r["chosen"], r["rejected"]) for r in json.loads(path.read_text(encoding="utf-8"))]


# ---------------------------------------------------------------- 2c. one step


@dataclass(slots=True)
class Window:
    """Margins of the steps under detection, one line a step in a file, so that a resumed round goes on with the same.

    What stands there of steps that are about to be done again is left out, a half-written line with it.
    """

    path: Path
    _known: dict[int, list[float]] | None = field(default=None, init=False)

    def before(self, step: int) -> list[float]:
        """Margins of all earlier steps, oldest first."""
        known = self._load()
        return [margin for s in sorted(known) if s < step for margin in known[s]]

    def add(self, step: int, values: Sequence[float]) -> None:
        """Remember one step's margins."""
        self._load()[step] = list(values)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps([step, list(values)]))

    def _load(self) -> dict[int, list[float]]:
        if self._known is None:
            lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
            self._known = dict(entry for entry in map(_entry, lines) if entry is not None)
        return self._known


def _entry(line: str) -> tuple[int, list[float]] | None:
    try:
        step, values = json.loads(line)
    except ValueError:
        return None
    return int(step), [float(v) for v in values]


@dataclass(frozen=True, slots=True)
class DpoStep:
    """The loss of one optimizer step of a phase; with a `window`, the noise-aware one."""

    bench: Bench
    config: SelfieConfig
    steps: int
    reference: str
    """Adapter that the policy is held against."""
    lam: float = 0.0
    window: Window | None = None

    @property
    def seeding(self) -> bool:
        """The seed alone is held against the base model, in many passes."""
        return self.reference == BASE

    def __call__(self, model: Any, step: int, rows: Sequence[Row]) -> Tensor | None:
        """Mean loss of the step's pairs; None when it has none, so that nothing moves."""
        import torch

        from harness.lm.logprobs import group_logprobs

        if not rows:
            return None
        model.eval()  # without dropout all margins are 0 at the first step
        groups = _groups(rows)
        detecting = self.window is not None and step >= math.ceil(self.config.detect_after * self.steps)
        reference, decoupled = self._reference(model, rows, decouple=detecting and self.lam > 0)
        stats = group_logprobs(model, groups)
        own = torch.stack([torch.stack([one.logprobs.sum() for one in group]) for group in stats])
        margin = margins(own, reference.to(own), self.config.beta)
        judged = margin.detach() if decoupled is None else decoupled
        noisy = self._flags(step, judged) if detecting else [False] * len(rows)
        if not self.seeding:
            self._note(margin.detach(), decoupled)
        return noise_aware_loss(margin, torch.tensor(noisy, device=margin.device), self.config.alpha)

    def referenced(self, rows: Sequence[Row]) -> list[Row]:
        """The rows with the reference's log-probabilities."""
        model, batch = self.bench.policy, self.bench.regime.batch
        model.eval()
        found: list[Row] = []
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            sums = self._reference(model, part, decouple=False)[0].tolist()
            found += [Row(r.prompt, r.chosen, r.rejected, (w, lo)) for r, (w, lo) in zip(part, sums, strict=True)]
        return found

    def _reference(self, model: Any, rows: Sequence[Row], *, decouple: bool) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities (B, 2) under the reference and, with `decouple`, m~ (B,): both without gradient."""
        import torch

        from harness.lm.logprobs import group_logprobs

        if decouple:
            return self._decoupled(model, rows)
        known = [row.reference for row in rows if row.reference is not None]
        if len(known) == len(rows):
            return torch.tensor(known, dtype=torch.float64), None
        with self.bench.using(self.reference), torch.no_grad():
            stats = group_logprobs(model, _groups(rows))
        return torch.stack([torch.stack([one.logprobs.sum() for one in group]) for group in stats]), None

    def _decoupled(self, model: Any, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """The reference's log-probabilities and m~, Eqs. 11 and 12, from both policies' full vocabulary, in blocks."""
        import torch

        answers = [answer for row in rows for answer in (row.chosen, row.rejected)]
        ids = torch.tensor([token for answer in answers for token in answer], device=model.device)
        fixed, ratios, start = [], [], 0
        with torch.no_grad():
            own, reference = (_blocks(self.bench, model, rows, of) for of in (POLICY, self.reference))
            for policy, other in zip(own, reference, strict=True):
                tokens = ids[start : start + len(policy)]
                start += len(policy)
                fixed.append(other.gather(-1, tokens[:, None])[:, 0])
                ratios.append(decoupled_ratio(policy, other, tokens, self.lam))
        sizes = [len(answer) for answer in answers]
        sums, lifted = (
            torch.stack([part.sum() for part in torch.split(torch.cat(parts), sizes)]).view(-1, 2)
            for parts in (fixed, ratios)
        )
        return sums, margins(lifted, torch.zeros_like(lifted), self.config.beta)

    def _flags(self, step: int, judged: Tensor) -> list[bool]:
        """z of the step's pairs; the window takes their margins."""
        window = self.window
        if window is None:
            return [False] * len(judged)
        current = [float(x) for x in judged.tolist()]
        tau, noisy = flag(window.before(step), current, self.config)
        window.add(step, current)
        if tau is not None:
            note(self.bench, {"tau": tau})
            self.bench.log("selfie_detection", step=step, tau=tau, z=sum(noisy) / len(noisy))
            self.bench.tally(**{MARKED: float(sum(noisy)), WATCHED: float(len(noisy))})
        return noisy

    def _note(self, margin: Tensor, decoupled: Tensor | None) -> None:
        figures = {"margin": float(margin.mean()), "margin_positive": float((margin > 0).double().mean())}
        if decoupled is not None:
            figures["decoupled_margin"] = float(decoupled.mean())
        note(self.bench, figures)


def _groups(rows: Sequence[Row]) -> list[Group]:
    from harness.lm.rows import Group

    return [Group(row.prompt, (row.chosen, row.rejected)) for row in rows]


def _blocks(bench: Bench, model: Any, rows: Sequence[Row], of: str) -> Iterator[Tensor]:
    """Log-probabilities (<= chunk, V) behind every answer token under one policy.

    The adapter is on only while a block is computed, so that two policies' blocks can be read side by side.
    """
    from harness.lm.logprobs import completion_log_softmax
    from harness.lm.peft_internals import base_lm
    from harness.lm.rows import CHUNK_ELEMENTS

    chunk = max(1, CHUNK_ELEMENTS // base_lm(model).config.get_text_config().vocab_size)
    blocks = completion_log_softmax(model, _groups(rows), chunk=chunk)
    while True:
        with bench.using(of):
            block = next(blocks, None)
        if block is None:
            return
        yield block


# ---------------------------------------------------------------- what shows that the method was alive


def round_figures(
    samples: Sequence[tuple[Completion, Completion]], rows: Sequence[Row], log_odds: Sequence[float]
) -> dict[str, float]:
    """Of a round's data: shares of prompts and samples, lengths in tokens, the judge's mean confidence in its label."""
    flat = [one for pair in samples for one in pair]
    figures = {
        "pairs_used": len(rows) / len(samples),
        "truncation": fmean(one.finish == "length" for one in flat),
        "sample_tokens": fmean(len(one.ids) for one in flat),
    }
    if rows:
        figures["winner_tokens"] = fmean(len(row.chosen) for row in rows)
        figures["loser_tokens"] = fmean(len(row.rejected) for row in rows)
        figures["confidence"] = fmean(_sigmoid(odd) for odd in log_odds)
    return figures


def note(bench: Bench, figures: Mapping[str, float], weight: float = 1.0) -> None:
    """Add figures to the sums that survive a resume; `report` divides by the sum of the weights."""
    bench.tally(
        **{name: weight * value for name, value in figures.items()}, **{COUNT + name: weight for name in figures}
    )


def report(bench: Bench, config: SelfieConfig, rounds: Sequence[Round]) -> None:
    """Liveness of the fit: the mean of each figure over the steps or rounds that had it, and what detection did."""
    if not config.rounds:
        return
    sums = bench.tally()
    figures = {name: value / sums[COUNT + name] for name, value in sums.items() if COUNT + name in sums}
    held_out = any(one.held_out for one in rounds)
    if config.alpha:
        figures["share_z"] = sums.get(MARKED, 0.0) / max(1.0, sums.get(WATCHED, 0.0))
        figures["detection_never_fired"] = float(not sums.get(MARKED))
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


# ---------------------------------------------------------------- the trainer


def phase_trainer(
    bench: Bench, config: SelfieConfig, name: str, rows: Callable[[bool], Sequence[Row]], step: DpoStep
) -> Any:
    """A transformers Trainer of one phase. `rows(resuming)` makes its data once training has really begun.

    A step's rows follow from the phase's seed and its index alone, so a resumed phase repeats exactly. A step without
    rows leaves the gradients unset: AdamW then skips every weight.
    """
    from torch.utils.data import DataLoader
    from transformers import Trainer

    class PhaseTrainer(Trainer):  # type: ignore[misc]
        def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
            self.resuming = resume_from_checkpoint is not None
            return super().train(resume_from_checkpoint, *args, **kwargs)

        def get_train_dataloader(self) -> DataLoader[Any]:
            data = rows(self.resuming)
            if step.seeding:  # many passes, one reference: computed once
                data = step.referenced(data)
            order = schedule(len(data), bench.regime.batch, step.steps, _seed(bench.seed, name, "order"))
            batches: Any = [{"step": index, "rows": [data[i] for i in items]} for index, items in enumerate(order)]
            return DataLoader(batches, batch_size=1, shuffle=False, collate_fn=lambda batch: batch[0])

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Tensor:
            value = step(model, inputs["step"], inputs["rows"])
            self.skipped = value is None
            return _still(model) if value is None else value

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
            value: Tensor = super().training_step(model, inputs, num_items_in_batch)
            if self.skipped:
                model.zero_grad(set_to_none=True)
            return value

    arguments = phase_arguments(bench, config, step.steps)
    unread: Any = [{}] * step.steps
    return PhaseTrainer(model=bench.policy, args=arguments, train_dataset=unread)


def phase_arguments(bench: Bench, config: SelfieConfig, steps: int) -> Any:
    """The shared settings and the method's own schedule."""
    from transformers import TrainingArguments

    return bench.arguments(
        TrainingArguments,
        max_steps=steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        # As a share it is rounded up, and a round of one step would be a step at rate 0.
        warmup_steps=math.floor(config.warmup * steps),
        weight_decay=0.0,
    )


def _still(model: Any) -> Tensor:
    """A loss of 0 that reaches every trainable weight."""
    import torch

    return torch.stack([p.sum() for p in model.parameters() if p.requires_grad]).sum() * 0.0


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Selfie."""
    return [Selfie]
