"""Episodes: one source's questions cut into what the module reads and what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aligners.gpo.config import ModuleConfig
from aligners.gpo.network import Targets
from aligners.gpo.outlook import View
from aligners.gpo.sources import PAIRS
from harness.opinions.questions import Rated

LEAST_EPISODES = 3
"""Episodes a step where there are fewer sources."""
LEAST_EPISODES_WITH_PAIRS = 8
"""The same where the pairs are a source; with 3 the module seldom learns to read them."""
EXCHANGED = 0.5
"""Share of the pairs' episodes whose labels are exchanged."""

Half = Sequence[tuple[tuple[int, ...], tuple[float, ...]]]
"""Questions of one source: (rows of the table, preferences) of each."""


@dataclass(frozen=True, eq=False)
class OptionTable:
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
    pairs: int | None = None
    """Which source the pairs are, or None."""
    exchange: bool = False
    """Half of the pairs' episodes have every label exchanged."""

    @classmethod
    def of(
        cls, sources: Mapping[str, Sequence[Rated]], view: View, device: Any, *, exchange: bool = False
    ) -> OptionTable:
        """Lay out each distinct question once."""
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
        shared = torch.cat(shares).to(device) if view.relative else None
        pairs = list(sources).index(PAIRS) if PAIRS in sources else None
        return cls(x, laid, shared, view.unit, pairs, exchange)

    def label(self, row: int, y: float) -> float:
        """What the module reads for a preference."""
        return y if self.shared is None else (y - self._shares[row]) / self.unit

    @cached_property
    def _shares(self) -> list[float]:
        return [] if self.shared is None else self.shared.tolist()


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


def draw(table: OptionTable, config: ModuleConfig, seed: tuple[int, ...]) -> Episodes:
    """One batch of episodes: each takes one source's questions, some as context, some as targets, none as both.

    The sizes of context and target set are drawn once a batch, so that little of it is padding.
    """
    rng = np.random.default_rng(seed)
    least = LEAST_EPISODES if table.pairs is None else LEAST_EPISODES_WITH_PAIRS
    rows = min(config.batch, max(len(table.sources), least))
    order = [int(i) for _ in range(-(-rows // len(table.sources))) for i in rng.permutation(len(table.sources))][:rows]
    shares = (float(rng.random()), float(rng.random()))
    cut = [_cut(table.sources[i], config, shares, rng) for i in order]
    if table.exchange and table.pairs is not None:
        turned = rng.random(rows) < EXCHANGED
        cut = [
            exchanged(one) if i == table.pairs and turn else one
            for one, i, turn in zip(cut, order, turned, strict=True)
        ]
    return collate(cut, table.x.device, config.context, table.label)


def exchanged(episode: tuple[Half, Half]) -> tuple[Half, Half]:
    """The episode of somebody who prefers every rejected answer.

    One source with fixed labels lets x alone give y: the module remembers its training texts and never reads a context.
    Here the same texts stand with either labels, and only the context tells which.
    """
    context, targets = ([(rows, y[::-1]) for rows, y in half] for half in episode)
    return context, targets


def _cut(
    source: Half, config: ModuleConfig, shares: tuple[float, float], rng: np.random.Generator
) -> tuple[Half, Half]:
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
