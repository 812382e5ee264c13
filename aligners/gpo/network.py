"""The small transformer of GPO: a neural process over (embedding, preference) tokens, and its losses.

A token is concat(x, y): x is the embedding of one option, y its preference in [0, 1] for context tokens and 0 for
target tokens. A row holds its context tokens first, then its targets, then padding. Every token attends to the context
of its row and to nothing else, so a prediction depends on its own x and on the context alone, in no order: there is no
positional encoding. The loss functions are pure; they take the target tokens of all rows, laid end to end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Sigma = Literal["exp", "bounded"]
WIDTH, LAYERS, HEADS = 128, 6, 4
SIGMA_FLOOR = 0.05
"""Least sigma under `bounded`: without one the likelihood can diverge."""


class NeuralProcess(nn.Module):
    """(x, y) tokens -> (mu, raw) per token, with the sizes of the paper.

    Embedder Linear(D+1, 128) and three more layers with ReLU between; six post-norm encoder layers, width and
    feed-forward 128, four heads, no dropout; head Linear(128, 128), ReLU, Linear(128, 2). It has 664,066 + 128 D
    parameters.
    """

    def __init__(self, dim_x: int) -> None:
        super().__init__()
        self.embedder = nn.Sequential(
            *(nn.Linear(dim_x + 1, WIDTH), nn.ReLU()),
            *(nn.Linear(WIDTH, WIDTH), nn.ReLU()),
            *(nn.Linear(WIDTH, WIDTH), nn.ReLU()),
            nn.Linear(WIDTH, WIDTH),
        )
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, WIDTH, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2))

    def forward(self, x: Tensor, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """(mu, raw), each (B, T), of tokens x (B, T, D) and y (B, T); `context` (B,) counts each row's, at least 1.

        y must be 0 at targets. What stands behind a row's own tokens is padding: no token ever sees it.
        """
        hidden = self.embedder(torch.cat([x, y[..., None]], dim=-1))
        longest = int(context.max())
        unseen = torch.arange(longest, device=x.device) >= context[:, None]
        for layer in self.encoder.layers:
            hidden = _encode(layer, hidden, longest, unseen)
        mu, raw = self.head(hidden).unbind(-1)
        return mu, raw

    def flops(self, rows: int, tokens: int, context: int) -> float:
        """FLOPs of one forward of `rows` rows of `tokens` tokens, of which up to `context` are attended to."""
        weights = sum(p.numel() for p in self.parameters() if p.dim() == 2)
        return rows * tokens * (2.0 * weights + 4.0 * LAYERS * WIDTH * context)


def _encode(layer: nn.Module, hidden: Tensor, longest: int, unseen: Tensor) -> Tensor:
    """One post-norm layer whose keys and values are the first `longest` tokens, less the `unseen` (B, longest).

    Computes what `nn.TransformerEncoderLayer` does under a mask; keys that nobody may see are not computed, and the
    fused inference kernels, which drop the output at masked tokens, are out of the way.
    """
    assert isinstance(layer, nn.TransformerEncoderLayer)
    keys = hidden[:, :longest]
    attended, _ = layer.self_attn(hidden, keys, keys, key_padding_mask=unseen, need_weights=False)
    hidden = layer.norm1(hidden + attended)
    fed: Tensor = layer.linear2(F.relu(layer.linear1(hidden)))
    out: Tensor = layer.norm2(hidden + fed)
    return out


def new_module(dim_x: int, seed: int, device: Any, *, balanced: bool = False) -> NeuralProcess:
    """A module whose first weights follow from the seed alone.

    Among hundreds of standardised dimensions a single y is not heard, and the module learns the questions and never the
    groups. `balanced` multiplies its column in the first layer by sqrt(D + 1), at the start only.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = NeuralProcess(dim_x)
    if balanced:
        with torch.no_grad():
            module.get_parameter("embedder.0.weight")[:, -1] *= math.sqrt(dim_x + 1)
    return module.to(device)


# ---------------------------------------------------------------- predictions and losses over target tokens


@dataclass(frozen=True, slots=True)
class Targets:
    """Target tokens of a batch, laid end to end: all of shape (M,).

    `y` is the true preference, `question` the number of each token's question in the batch, below `questions`; `better`
    and `worse` index the tokens of each ordered couple of options of one question.
    """

    y: Tensor
    question: Tensor
    questions: int
    rows: int
    better: Tensor
    worse: Tensor


def deviation(raw: Tensor, rule: Sigma) -> Tensor:
    """sigma: exp(raw) as in the paper, or `0.05 + 0.95 softplus(raw)`, which cannot vanish."""
    return raw.exp() if rule == "exp" else SIGMA_FLOOR + (1 - SIGMA_FLOOR) * F.softplus(raw)


def log_softmax_by_question(mu: Tensor, question: Tensor, questions: int) -> Tensor:
    """log p (M,), where p is the softmax of mu over the options of each question."""
    top = torch.full((questions,), -torch.inf, dtype=mu.dtype, device=mu.device)
    top = top.scatter_reduce(0, question, mu.detach(), "amax")
    shifted = mu - top[question]
    total = torch.zeros_like(top).index_add(0, question, shifted.exp())
    return shifted - total.log()[question]


def gaussian(mu: Tensor, raw: Tensor, targets: Targets, rule: Sigma) -> Tensor:
    """-log N(y; p, sigma) summed over target tokens, mean over the rows of the batch (the paper's loss), in nats."""
    p = log_softmax_by_question(mu, targets.question, targets.questions).exp()
    sigma = deviation(raw, rule)
    nll = 0.5 * ((targets.y - p) / sigma) ** 2 + sigma.log() + 0.5 * math.log(2 * math.pi)
    return nll.sum() / targets.rows


def cross_entropy(mu: Tensor, targets: Targets) -> Tensor:
    """-mean over questions of sum_k y_k log p_k, in nats."""
    log_p = log_softmax_by_question(mu, targets.question, targets.questions)
    return -(targets.y * log_p).sum() / targets.questions


def bradley_terry(mu: Tensor, targets: Targets) -> Tensor:
    """-log sigmoid(mu_better - mu_worse), mean over the ordered couples of options of one question, in nats.

    0 where there is no couple: whoever answered was indifferent.
    """
    return -F.logsigmoid(mu[targets.better] - mu[targets.worse]).sum() / max(1, len(targets.better))
