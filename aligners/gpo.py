"""GPO: group preference optimization (Zhao et al. 2023, arXiv 2310.11523).

A small transformer beside the frozen language model learns, over many groups, to read a group's taste from a few rated
options and to predict its preferences for others. In the paper's order:

    1. embed each option once: x = mean hidden state over prompt, listed options and "A. option text"
    2. an episode: a source's questions at random, some as context (x, y), others as targets (x, 0)
    3. the module gives (mu, raw) per target; p = softmax of mu over the options of one question
    4. loss -log N(y; p, sigma), or cross-entropy, or Bradley-Terry; Adam, cosine to 0
    5. a new group is asked about with its own few ratings as context; nothing is trained for it

With several groups the module starts, unless `preset=paper`, from what they share: it reads by how much a group departs
from their mean, over features that are the axes along which they depart, and its mu is added to the logarithm of the
mean (`Outlook`).

A source is a group, or the few-shot pairs as one more group: each pair is a question, y is 1 for the chosen answer and
0 for the rejected. Sources of the settings: [S] the paper, [R] our reading, [N] not given in the paper, ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.contracts import (
    BASE,
    Aligned,
    Aligner,
    Bench,
    BudgetExceeded,
    Capability,
    ChooseRequest,
    Completion,
    FewShot,
    GenerateRequest,
    HarnessError,
    LanguageModel,
    Need,
    Pair,
    Preference,
    PreferRequest,
)
from harness.fit.recipes import with_preset
from harness.hookspecs import hookimpl
from harness.opinions.features import Embedder, Features
from harness.opinions.outlook import Outlook
from harness.opinions.questions import (
    Question,
    Rated,
    answers_question,
    known_group,
    option_question,
    plain,
    rated,
    rated_pairs,
)
from harness.opinions.results import log_distribution, read, write

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.opinions.neural_process import NeuralProcess, Targets

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]

Contexts = Mapping[str, tuple[Rated, ...]]
"""Rated questions by source."""
Spender = Callable[[float], None]
"""Counts FLOPs; raises BudgetExceeded at the cap."""
PAIRS = ""
"""Name of the source that the few-shot pairs make; no group may be called so."""
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
    "context_y": "raw",
    "axes": 0,
}
"""What `preset=paper` sets where nothing else is given."""
STEPS_WITH_PAIRS, STEPS_WITH_GROUPS = 5, 20
"""Steps of the module for one of the regime's least steps, where it learns from pairs alone or from groups."""
JUDGED_BATCHES = 4
"""Training batches on which the module is judged before and after."""
LEAST_EPISODES = 3
"""Episodes a batch where there are fewer sources: with pairs there is one."""
CHECKPOINT_EVERY = 64
LOOKS = 4
"""How often held-out pairs are looked at, where the regime holds some out; also how often the loss is logged."""
TARGETS_AT_ONCE = 512
"""Questions of one forward at inference."""
MIN_SENSITIVITY = 1e-3


def _probe(value: object, **needed: object) -> dict[str, Any]:
    """Probed in short fits: whether a setting matters shows after a few steps."""
    return {"probe": value, "probe_with": {"steps": 6, **needed}}


class GpoConfig(BaseModel):
    """Every hyper-parameter of GPO; the module's sizes are the paper's and cannot be set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["ours", "paper"] = Field(
        "ours",
        description="whose settings stand where none is given: ours, for few shots [R]; the paper's [S]",
        json_schema_extra=_probe("paper"),
    )
    steps: int | None = Field(
        None,
        ge=1,
        description="steps; by default 5 times the regime's least, 20 with groups [R]; paper 200,000 [S]",
        json_schema_extra={"probe": 5},
    )
    learning_rate: float = Field(3e-4, gt=0, description="of Adam, cosine to 0 [S]", json_schema_extra=_probe(3e-3))
    warmup: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of the steps in which the rate rises from 0 [R]; paper 0 [S]",
        json_schema_extra=_probe(0.5),
    )
    batch: int = Field(
        32, ge=1, description="episodes a step: all training groups, at most so many [S]", json_schema_extra=_probe(2)
    )
    least: int = Field(
        10,
        ge=1,
        description="questions of a context and of a target set, at least [S]; no more than half of a source's [R]",
        json_schema_extra=_probe(1),
    )
    most: int = Field(
        20,
        ge=1,
        description="questions of a context or target set, at most; half a source's if less [R]; paper 100 [S]",
        json_schema_extra=_probe(1),
    )
    loss: Literal["gaussian", "cross_entropy", "bradley_terry"] = Field(
        "cross_entropy",
        description="-log N(y; p, sigma) [S]; -sum y log p [R]; -log sigmoid(mu_w - mu_l) [R]",
        json_schema_extra=_probe("gaussian"),
    )
    sigma: Literal["exp", "bounded"] = Field(
        "bounded",
        description="exp(raw) [S], or 0.05 + 0.95 softplus(raw), under which the likelihood cannot diverge [R]",
        json_schema_extra=_probe("exp", loss="gaussian"),
    )
    balanced: bool = Field(
        True,
        description="first weights give y as much say as all of x together [R]; false: as little as one dimension [S]",
        json_schema_extra=_probe(False),
    )
    context_y: Literal["residual", "raw"] = Field(
        "residual",
        description="groups' labels as they are [S], or what they add to the training groups' mean, as does mu [R]",
        json_schema_extra={"no_effect": "groups only: pairs share no mean"},
    )
    axes: int = Field(
        4,
        ge=0,
        description="axes of the training groups' differences, read off the embeddings, as x [R]; 0: embeddings [S]",
        json_schema_extra={"no_effect": "groups only: pairs do not differ along axes"},
    )
    centre: Literal["none", "question", "both"] = Field(
        "both",
        description="embeddings as they are [S], less the mean of their question's options, or both side by side [R]",
        json_schema_extra=_probe("none"),
    )
    standardise: bool = Field(
        True,
        description="unit variance per dimension over the training texts [R]; paper false [S]",
        json_schema_extra=_probe(False),
    )
    pool: Literal["all", "answer"] = Field(
        "all",
        description="tokens in the mean: prompt, options and answer [S], or those of the answer only [R]",
        json_schema_extra=_probe("answer"),
    )
    layer: int = Field(
        -1, description="hidden layer; -1 is the last [S], 0 the token embeddings", json_schema_extra=_probe(1)
    )
    context: Literal["own", "swapped", "none"] = Field(
        "own",
        description="what the module reads: the group's own ratings [S]; as controls another's, or nothing [R]",
        json_schema_extra=_probe("swapped"),
    )
    n: int = Field(4, ge=1, description="samples of which `generate` gives the best [R]", json_schema_extra=_probe(1))
    temperature: float = Field(
        0.7,
        gt=0,
        description="of the n samples where a task asks for greedy decoding [R]",
        json_schema_extra={"no_effect": "greedy requests only; others bring their own"},
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, data: Any) -> Any:
        return with_preset(data, PAPER)


# ---------------------------------------------------------------- 1. sources and their embeddings


def training_sources(few_shot: FewShot, pairs: Sequence[Pair]) -> dict[str, tuple[Rated, ...]]:
    """What episodes are cut from: auxiliary groups (without them the target groups' own ratings), and the pairs.

    Raises HarnessError when no source has the two questions that an episode needs.
    """
    sources = {name: rated(ratings) for name, ratings in (few_shot.auxiliary or few_shot.groups).items()}
    if pairs:
        sources[PAIRS] = rated_pairs(pairs)
    usable = {name: source for name, source in sources.items() if len(source) > 1}
    if not usable:
        raise HarnessError(
            "aligner gpo needs two labelled pairs, or a group with two rated questions, and was given neither; "
            "raise --budget or train on a pool with pairs or groups"
        )
    return usable


def contexts_of(few_shot: FewShot, pairs: Sequence[Pair], rule: str) -> dict[str, tuple[Rated, ...]]:
    """What the module reads on behalf of each group (`PAIRS`: on nobody's), by the switch `context`.

    Swapped, a group gets the ratings of the next one in order of name, and pairs have their labels exchanged. Raises
    HarnessError when there is one group only and it should be swapped.
    """
    names = sorted(few_shot.groups)
    if rule == "swapped" and len(names) == 1:
        raise HarnessError(f"context=swapped needs two target groups, there is only {names[0]!r}")
    shift = 1 if rule == "swapped" else 0
    found = {name: rated(few_shot.groups[names[(i + shift) % len(names)]]) for i, name in enumerate(names)}
    if pairs:
        found[PAIRS] = rated_pairs(pairs, swapped=rule == "swapped")
    return dict.fromkeys(found, ()) if rule == "none" else found


@dataclass(frozen=True, eq=False)
class Seen:
    """A question's options as the module meets them: inputs x (options, D), and what groups share (options,)."""

    x: Singles
    shared: Floats


@dataclass(frozen=True, eq=False)
class View:
    """Turns questions into the module's inputs, and preferences into its labels."""

    embedder: Embedder
    features: Features
    outlook: Outlook | None
    """None: there is nothing that groups share, and embeddings are read as they are."""
    relative: bool
    """Labels depart from what groups share, and so does mu."""

    @classmethod
    def of(cls, sources: Contexts, embedder: Embedder, config: GpoConfig) -> View:
        """Fit on the training sources; groups share something where there is no source but groups."""
        distinct = {one.question.key: one.question for source in sources.values() for one in source}
        raw = [embedder(question) for question in distinct.values()]
        features = Features.of(raw, config.centre, standardise=config.standardise)
        relative, axes = config.context_y == "residual", config.axes
        wanted = (relative or axes) and PAIRS not in sources
        outlook = Outlook.of(list(sources.values()), lambda q: features(embedder(q)), axes) if wanted else None
        return cls(embedder, features, outlook, relative and outlook is not None)

    def __call__(self, question: Question) -> Seen:
        """The question's options."""
        import numpy as np

        x = self.features(self.embedder(question)).astype(np.float32)
        if self.outlook is None:
            return Seen(x, np.ones(len(x)))
        shared, axes = self.outlook(question, x)
        return Seen(axes if self.outlook.axes else x, shared)

    @property
    def dim_x(self) -> int:
        """Width of x."""
        return (self.outlook.axes if self.outlook else 0) or len(self.features.mean)

    @property
    def unit(self) -> float:
        """Of labels that are departures."""
        return self.outlook.unit if self.outlook and self.relative else 1.0

    def tokens(self, context: Sequence[Rated]) -> tuple[Singles, Singles]:
        """(x (C, D), labels (C,)) of a context; one null token where it holds nothing."""
        import numpy as np

        if not context:
            return np.zeros((1, self.dim_x), np.float32), np.zeros(1, np.float32)
        seen = [self(one.question) for one in context]
        y = np.array([value for one in context for value in one.y])
        labels = (y - np.concatenate([one.shared for one in seen])) / self.unit if self.relative else y
        return np.concatenate([one.x for one in seen]), labels.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Table:
    """Features of every training option, (1 + N, D), and where each source's questions stand in them.

    Row 0 is zero: it stands for padding, and for a context that holds nothing.
    """

    x: Tensor
    sources: tuple[tuple[tuple[tuple[int, ...], tuple[float, ...]], ...], ...]
    """Per source, per question: (rows of x, y)."""
    shared: Tensor | None = None
    """What groups share (1 + N,), to whose logarithm mu is added and from which labels depart; None: nothing."""
    unit: float = 1.0
    """Of departures."""

    @classmethod
    def of(cls, sources: Mapping[str, Sequence[Rated]], view: View, device: Any) -> Table:
        """Lay out each distinct question once."""
        import torch

        blocks: list[Any] = []
        shares: list[Any] = [torch.ones(1)]
        place: dict[str, tuple[int, ...]] = {}
        count = 1
        for one in (one for source in sources.values() for one in source):
            if one.question.key not in place:
                seen = view(one.question)
                blocks.append(torch.from_numpy(seen.x))
                shares.append(torch.from_numpy(seen.shared).float())
                place[one.question.key] = tuple(range(count, count + len(one.y)))
                count += len(one.y)
        x = torch.cat([torch.zeros(1, blocks[0].shape[1]), *blocks]).to(device)
        laid = tuple(tuple((place[one.question.key], one.y) for one in source) for source in sources.values())
        return cls(x, laid, torch.cat(shares).to(device) if view.relative else None, view.unit)

    def label(self, row: int, y: float) -> float:
        """What the module reads for a preference."""
        return y if self.shared is None else (y - self._shares[row]) / self.unit

    @cached_property
    def _shares(self) -> list[float]:
        return [] if self.shared is None else self.shared.tolist()


# ---------------------------------------------------------------- 2. episodes


@dataclass(frozen=True, eq=False)
class Episodes:
    """A batch: `index` (B, T) into the table's rows, `y` (B, T) with 0 at targets and padding, `context` (B,) tokens.

    `place` (M,) are the targets' positions in the batch laid end to end.
    """

    index: Tensor
    y: Tensor
    context: Tensor
    place: Tensor
    targets: Targets


def draw(table: Table, config: GpoConfig, seed: tuple[int, ...]) -> Episodes:
    """One batch of episodes: each takes one source's questions, some as context, some as targets, none as both.

    The sizes of context and target set are drawn once a batch, so that little of it is padding.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    rows = min(config.batch, max(len(table.sources), LEAST_EPISODES))
    order = [int(i) for _ in range(-(-rows // len(table.sources))) for i in rng.permutation(len(table.sources))]
    shares = (float(rng.random()), float(rng.random()))
    cut = [_cut(table.sources[i], config, shares, rng) for i in order[:rows]]
    return collate(cut, table.x.device, config.context, table.label)


Half = Sequence[tuple[tuple[int, ...], tuple[float, ...]]]


def _cut(source: Half, config: GpoConfig, shares: tuple[float, float], rng: np.random.Generator) -> tuple[Half, Half]:
    """(context, targets): whole questions, each set of `least` to `most` and no more than half of the source."""
    most = min(config.most, len(source) // 2)
    least = min(config.least, most)
    context, targets = (least + int(share * (most - least + 1)) for share in shares)
    order = rng.permutation(len(source))
    return [source[i] for i in order[:context]], [source[i] for i in order[context : context + targets]]


def collate(
    rows: Sequence[tuple[Half, Half]],
    device: Any,
    rule: str = "own",
    label: Callable[[int, float], float] = lambda _, y: y,
) -> Episodes:
    """Pad episodes to one length. A context that holds nothing (always under `none`) becomes one null token.

    `label` gives what the module reads for a row of the table and a preference.
    """
    import torch

    shown = [[] if rule == "none" else [t for q in c for t in zip(*q, strict=True)] for c, _ in rows]
    context = [[(row, label(row, y)) for row, y in one] or [(0, 0.0)] for one in shown]
    targets = [[i for indices, _ in t for i in indices] for _, t in rows]
    length = max(len(c) + len(t) for c, t in zip(context, targets, strict=True))
    index = torch.zeros(len(rows), length, dtype=torch.long)
    y = torch.zeros(len(rows), length)
    place: list[int] = []
    for b, (c, t) in enumerate(zip(context, targets, strict=True)):
        index[b, : len(c) + len(t)] = torch.tensor([i for i, _ in c] + t)
        y[b, : len(c)] = torch.tensor([v for _, v in c])
        place += range(b * length + len(c), b * length + len(c) + len(t))
    sizes = torch.tensor([len(c) for c in context], device=device)
    to = partial(torch.as_tensor, device=device)
    return Episodes(to(index), to(y), sizes, to(place), truth([q for _, t in rows for q in t], len(rows), device))


def truth(questions: Half, rows: int, device: Any) -> Targets:
    """The target tokens' preferences, and which of them belong together."""
    import torch

    from harness.opinions.neural_process import Targets

    owner = [number for number, (indices, _) in enumerate(questions) for _ in indices]
    y = [value for _, values in questions for value in values]
    better, worse, start = list[int](), list[int](), 0
    for _, values in questions:
        couples = [(i, j) for i, a in enumerate(values) for j, b in enumerate(values) if a > b]
        better += [start + i for i, _ in couples]
        worse += [start + j for _, j in couples]
        start += len(values)
    whole = partial(torch.tensor, dtype=torch.long, device=device)
    real = torch.tensor(y, dtype=torch.float32, device=device)
    return Targets(real, whole(owner), len(questions), rows, whole(better), whole(worse))


# ---------------------------------------------------------------- 3. and 4. the module and its training


def loss_of(module: NeuralProcess, table: Table, batch: Episodes, config: GpoConfig) -> Tensor:
    """The chosen loss of one batch, in nats."""
    from harness.opinions import neural_process as np_

    mu, raw = module(table.x[batch.index], batch.y, batch.context)
    mu, raw = mu.flatten()[batch.place], raw.flatten()[batch.place]
    if table.shared is not None:
        mu = mu + table.shared[batch.index.flatten()[batch.place]].log()
    losses = {
        "gaussian": lambda: np_.gaussian(mu, raw, batch.targets, config.sigma),
        "cross_entropy": lambda: np_.cross_entropy(mu, batch.targets),
        "bradley_terry": lambda: np_.bradley_terry(mu, batch.targets),
    }
    return losses[config.loss]()


def new_module(dim_x: int, seed: int, device: Any, *, balanced: bool = False) -> NeuralProcess:
    """A module whose first weights follow from the seed alone.

    Among hundreds of standardised dimensions a single y is not heard, and the module learns the questions and never the
    groups. `balanced` multiplies its column in the first layer by sqrt(D + 1), at the start only.
    """
    import torch

    from harness.opinions.neural_process import NeuralProcess

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = NeuralProcess(dim_x)
    if balanced:
        with torch.no_grad():
            module.get_parameter("embedder.0.weight")[:, -1] *= math.sqrt(dim_x + 1)
    return module.to(device)


def steps_of(table: Table) -> int:
    """Steps for one of the regime's: learning to tell groups apart takes longer than learning one taste."""
    return STEPS_WITH_GROUPS if len(table.sources) > 1 else STEPS_WITH_PAIRS


def rate_at(step: int, steps: int, config: GpoConfig) -> float:
    """Learning rate of a step: half a cosine to 0, times a straight rise over the first steps."""
    rise = min(1.0, (step + 1) / max(1.0, config.warmup * steps))
    return rise * 0.5 * config.learning_rate * (1 + math.cos(math.pi * step / steps))


class Training:
    """Meta-training under way: everything that a checkpoint must hold."""

    def __init__(self, bench: Bench, config: GpoConfig, table: Table, held_out: Episodes | None) -> None:
        import torch

        self.bench, self.config, self.table, self.held_out = bench, config, table, held_out
        self.steps = config.steps or steps_of(table) * bench.regime.min_steps
        self.module = self._fresh()
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=config.learning_rate)
        self.losses: list[float] = []
        self.best: tuple[float, dict[str, Tensor]] | None = None

    def run(self) -> None:
        """All steps, from the last checkpoint where there is one. Raises BudgetExceeded at the track's cap."""
        self._resume()
        every = max(1, self.steps // LOOKS)
        while len(self.losses) < self.steps:
            self._step()
            done = len(self.losses)
            if done % every == 0 or done == self.steps:
                self.bench.log("gpo", step=done, loss=self.losses[-1])
                self._look()
            if done % CHECKPOINT_EVERY == 0:
                self._store()
        self.finish()

    def finish(self) -> None:
        """Take the module that did best on held-out pairs, where there are any."""
        if self.best is not None:
            self.module.load_state_dict(self.best[1])

    def _step(self) -> None:
        step = len(self.losses)
        batch = draw(self.table, self.config, (self.bench.seed, step))
        # A backward costs twice its forward.
        self.bench.spend(3.0 * _flops(self.module, batch))
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(step, self.steps, self.config)
        loss = loss_of(self.module, self.table, batch, self.config)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.losses.append(loss.item())
        if not math.isfinite(self.losses[-1]):
            raise HarnessError(f"gpo's loss is {self.losses[-1]} at step {step}; try sigma=bounded or a lower rate")

    def _look(self) -> None:
        """Keep the module if it is the best so far on held-out pairs: mean log sigmoid(mu_w - mu_l)."""
        import torch

        if self.held_out is None:
            return
        self.bench.spend(_flops(self.module, self.held_out))
        judged = self.config.model_copy(update={"loss": "bradley_terry"})
        with torch.no_grad():
            score = -float(loss_of(self.module, self.table, self.held_out, judged))
        kept = self.best is None or score > self.best[0]
        if kept:
            self.best = (score, {k: v.clone() for k, v in self.module.state_dict().items()})
        self.bench.log("held_out", step=len(self.losses), score=score, kept=kept)

    def judge(self, spend: Spender) -> tuple[float, float]:
        """Loss of the first and of the present module, in nats, both on the same few training batches.

        Batches differ by more than the module gains: how sure groups are differs from question to question.
        """
        import torch

        batches = [draw(self.table, self.config, (self.bench.seed, step)) for step in range(JUDGED_BATCHES)]
        found = []
        for module in (self._fresh(), self.module):
            spend(sum(_flops(module, batch) for batch in batches))
            with torch.no_grad():
                found.append(fmean(float(loss_of(module, self.table, b, self.config)) for b in batches))
        return found[0], found[1]

    def _fresh(self) -> NeuralProcess:
        device = self.table.x.device
        return new_module(self.table.x.shape[1], self.bench.seed, device, balanced=self.config.balanced)

    def _store(self) -> None:
        self.bench.store(
            {
                "module": self.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "losses": self.losses,
                "best": self.best,
            }
        )

    def _resume(self) -> None:
        """Go on where an interrupted fit was, with what it had spent: texts embedded again are not counted twice."""
        state = self.bench.stored()
        if state is None:
            return
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.losses, self.best = list(state["losses"]), state["best"]


# ---------------------------------------------------------------- 5. the result


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
        import numpy as np
        import torch

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
    config: GpoConfig
    n: int
    heat: float
    """Temperature of the samples where greedy decoding is asked for."""

    @classmethod
    def around(cls, model: LanguageModel, reader: Reader, config: GpoConfig) -> GpoAligned:
        """Embeds under the model's base weights, as the fit did."""
        embedder = Embedder(model.embed, config.layer, config.pool, model.adapter_off)
        reader = replace(reader, view=replace(reader.view, embedder=embedder))
        made = PairsGpoAligned if PAIRS in reader.contexts else cls
        return made(model, reader, config, config.n, config.temperature)

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
                found[i] = log_distribution(_softmax(mu))
        return found

    def save(self, folder: Path) -> None:
        """Write the language model's part, the module, the features and the contexts: safetensors and JSON."""
        import numpy as np

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
        contiguous = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
        write(folder, Gpo.name, {"config": self.config.model_dump(mode="json"), "contexts": names}, contiguous)

    def _group(self, group: str | None) -> str:
        return known_group(group, self.reader.contexts)

    def _mu(self, questions: Sequence[Question], group: str) -> list[list[float]]:
        self.model.spend(self.reader.flops(questions, group))
        return self.reader.mu(questions, group)


@dataclass(frozen=True, eq=False)
class PairsGpoAligned(GpoAligned):
    """Trained on pairs too, it also prefers, and ranks the language model's answers."""

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        """P(a better) = sigmoid(mu_a - mu_b): no likelihood of the language model's enters."""
        asked = [answers_question(plain(r.prompt), (r.a, r.b)) for r in requests]
        return [Preference(_softmax(mu)[0], None, None) for mu in self._mu(asked, PAIRS)]

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


def _softmax(mu: Sequence[float]) -> list[float]:
    top = max(mu)
    shares = [math.exp(value - top) for value in mu]
    return [share / sum(shares) for share in shares]


def load_reader(
    settings: Mapping[str, Any], arrays: Mapping[str, Any], config: GpoConfig, embedder: Embedder, device: Any
) -> Reader:
    """What `GpoAligned.save` wrote, its module on `device`."""
    import torch

    def under(prefix: str) -> dict[str, Any]:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    features = Features(config.centre, arrays["features.mean"], arrays["features.scale"])
    outlook = None
    if "outlook.weights" in arrays:
        outlook = Outlook(arrays["outlook.weights"], float(arrays["outlook.unit"][0]), under("outlook.known."))
    view = View(embedder, features, outlook, config.context_y == "residual" and outlook is not None)
    module = new_module(view.dim_x, 0, device)
    module.load_state_dict({k: torch.from_numpy(v) for k, v in under("module.").items()})
    names = settings["contexts"]
    contexts = {n: (arrays[f"context.{i}.x"], arrays[f"context.{i}.y"]) for i, n in enumerate(names)}
    return Reader(module.eval(), view, contexts)


# ---------------------------------------------------------------- the aligner


class Gpo:
    """Learns over groups, or splits of the pairs, to predict preferences in context; the language model is frozen."""

    name: ClassVar[str] = "gpo"
    paper: ClassVar[str] = "2310.11523"
    version: ClassVar[str] = "2"
    requires: ClassVar[frozenset[Need]] = frozenset()
    accepts: ClassVar[frozenset[Need]] = frozenset({"pairs", "groups", "auxiliary"})
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"choose", "generate", "prefer"})
    Config: ClassVar[type[BaseModel]] = GpoConfig

    def __init__(self, config: GpoConfig) -> None:
        self.config = config

    @classmethod
    def load(cls, model: LanguageModel, folder: Path) -> Aligned:
        """The saved module around the model; the model alone where the fit was stopped before its first step."""
        saved = read(folder, cls.name)
        if saved is None:
            return model
        config = GpoConfig.model_validate(saved[0]["config"])
        embedder = Embedder(model.embed, config.layer, config.pool, model.adapter_off)
        return GpoAligned.around(model, load_reader(*saved, config, embedder, model.device), config)

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Embed, meta-train, and hand over the module with the contexts that the labels bought."""
        pairs, held_out = bench.split(few_shot.pairs)
        sources = training_sources(few_shot, pairs)
        contexts = contexts_of(few_shot, pairs, self.config.context)
        embedder = Embedder(partial(bench.embed, of=BASE), self.config.layer, self.config.pool)
        view = View.of(sources, embedder, self.config)
        held = {"held out": rated_pairs(held_out)} if held_out and PAIRS in sources else {}
        table = Table.of({**sources, **held}, view, _device(bench))
        training = self._training(bench, table, bool(held), list(sources).index(PAIRS) if held else 0)
        tokens = {name: view.tokens(context) for name, context in contexts.items()}
        reader = Reader(training.module.eval(), view, tokens)
        tell = partial(self._tell, training, reader, sources, swappable(few_shot, pairs))
        try:
            training.run()
            tell(bench.spend)
        except BudgetExceeded:
            if not training.losses:
                raise
            training.finish()
            tell(lambda flops: None)  # past the cap it costs the method nothing, and the floor holds as for any other
        return GpoAligned.around(bench.aligned(), reader, self.config)

    def _tell(
        self, training: Training, reader: Reader, sources: Contexts, sides: Sequence[Contexts], spend: Spender
    ) -> None:
        moved = None
        if sides and self.config.context != "none":
            questions = {one.question.key: one.question for source in sources.values() for one in source}
            moved = sensitivity(reader, list(questions.values()), sides, spend)
        report(training, moved, spend)

    def _training(self, bench: Bench, table: Table, held: bool, pairs: int) -> Training:
        """The training; a held-out source stands last in the table, and is asked about in the context of the pairs."""
        if not held:
            return Training(bench, self.config, table, None)
        looked = collate([(table.sources[pairs], table.sources[-1])], table.x.device, self.config.context)
        return Training(bench, self.config, replace(table, sources=table.sources[:-1]), looked)


def report(training: Training, moved: float | None, spend: Spender) -> None:
    """Liveness: did the loss fall, and does it matter whose context is read?

    `moved` is the mean |p(own) - p(swapped)| over the options of the training questions; None where nothing can be
    swapped. `spend` is told what looking costs.
    """
    start, end = training.judge(spend)
    figures = {"steps": float(len(training.losses)), "loss_start": start, "loss_end": end}
    reason = None if end < start else f"the loss did not fall: {start:.4f} at the start, {end:.4f} at the end"
    if moved is not None:
        figures["context_sensitivity"] = moved
        if moved < MIN_SENSITIVITY:
            reason = f"the module ignores its context: swapped, it moves predictions by {moved:.1e} on average"
    training.bench.liveness(degenerate=reason, **figures)


def sensitivity(reader: Reader, questions: Sequence[Question], sides: Sequence[Contexts], spend: Spender) -> float:
    """Mean |p(one side) - p(other side)| over all options and contexts."""
    found = []
    for contexts in sides:
        tokens = {name: reader.view.tokens(context) for name, context in contexts.items()}
        one = replace(reader, contexts=tokens)
        for name in tokens:
            spend(one.flops(questions, name))
        found.append([p for name in tokens for mu in one.mu(questions, name) for p in _softmax(mu)])
    return fmean(abs(a - b) for a, b in zip(*found, strict=True))


def swappable(few_shot: FewShot, pairs: Sequence[Pair]) -> list[Contexts]:
    """The contexts that have a swapped counterpart, own and swapped; empty where there are none."""
    alone = FewShot(groups=few_shot.groups if len(few_shot.groups) > 1 else {})
    return [contexts_of(alone, pairs, rule) for rule in ("own", "swapped")] if alone.groups or pairs else []


def _flops(module: NeuralProcess, batch: Episodes) -> float:
    rows, tokens = batch.index.shape
    return module.flops(rows, tokens, int(batch.context.max()))


def _device(bench: Bench) -> Any:
    return next(bench.policy.parameters()).device


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Gpo]
