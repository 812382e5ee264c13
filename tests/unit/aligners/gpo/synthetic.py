"""Groups whose tastes are known: y = softmax(w_g . x)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from aligners.gpo.episodes import OptionTable
from aligners.gpo.outlook import Departs
from aligners.gpo.result import Reader
from harness.opinions.features import Embedder
from harness.opinions.questions import Rated, option_question

DIM = 6
RESIDUAL = Departs(labels=True, axes=4)


def softmax(values: list[float]) -> np.ndarray[Any, Any]:
    shares = np.exp(np.array(values))
    return np.asarray(shares / shares.sum())


def table(
    groups: int = 5, questions: int = 12, dim: int = DIM, *, sharp: float = 1.0, seed: int = 0, axis: bool = False
) -> OptionTable:
    """Synthetic groups: y = softmax(w_g . x) over the options of each question, two to four of them.

    With `axis` every w_g is plus or minus the first unit vector, else random.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 5, questions)
    starts = 1 + np.concatenate([[0], np.cumsum(sizes)[:-1]])
    x = np.concatenate([np.zeros((1, dim)), rng.normal(size=(int(sizes.sum()), dim))])
    sources = []
    tastes = np.outer((-1.0) ** np.arange(groups), np.eye(dim)[0]) if axis else rng.normal(size=(groups, dim))
    for w in sharp * tastes:
        rows = [tuple(range(s, s + k)) for s, k in zip(starts.tolist(), sizes.tolist(), strict=True)]
        sources.append(tuple((r, tuple(softmax((x[list(r)] @ w).tolist()).tolist())) for r in rows))
    return OptionTable(torch.from_numpy(x).float(), tuple(sources))


class World:
    """Questions whose options are points, and groups whose tastes share a direction and differ along two."""

    def __init__(self, dim: int) -> None:
        rng = np.random.default_rng(0)
        self.common, *self.apart = rng.normal(size=(3, dim)) / math.sqrt(dim)
        self.dim = dim
        self.embedder = Embedder(self.embed)

    def embed(self, texts: Sequence[str], **_: Any) -> Any:
        return np.stack([self.point(text) for text in texts])

    def point(self, text: str) -> Any:
        return np.random.default_rng(list(text.encode())).normal(size=self.dim).astype(np.float32)

    def group(self, number: int, questions: Iterable[int]) -> tuple[Rated, ...]:
        z = np.random.default_rng((1, number)).normal(size=2)
        w = self.common + z[0] * self.apart[0] + z[1] * self.apart[1]
        asked = [option_question(f"What of {i}?", ["tea", "rain", "snow"][: 2 + i % 2]) for i in questions]
        return tuple(Rated(q, tuple(softmax((self.embed(q.texts) @ w).tolist()).tolist())) for q in asked)

    def error(self, reader: Reader, groups: Sequence[int], shift: int | None) -> float:
        """Mean |p - y| of new groups on new questions, in the context of the `shift`-next group, or in none."""
        gaps = []
        for i, number in enumerate(groups):
            shown = [] if shift is None else self.group(groups[(i + shift) % len(groups)], range(20))
            asked = self.group(number, range(40, 80))
            here = replace(reader, contexts={"g": reader.view.tokens(shown)})
            found = here.mu([one.question for one in asked], "g")
            gaps += [abs(softmax(mu) - np.array(one.y)).mean() for mu, one in zip(found, asked, strict=True)]
        return float(np.mean(gaps))


def taste(groups: int, questions: int, dim: int, seed: int) -> OptionTable:
    """Synthetic groups that differ along one direction, in half of the cases one way and in half the other."""
    return table(groups, questions, dim, sharp=3, seed=seed, axis=True)
