"""GPO: group preference optimization (Zhao et al. 2023, arXiv 2310.11523), and our variant of it for groups.

A small transformer beside the frozen language model learns, over many groups, to read a group's taste from a few rated
options and to predict its preferences for others. In the paper's order:

    1. embed each option once: x = mean hidden state over prompt, listed options and "A. option text"
    2. an episode: a source's questions at random, some as context (x, y), others as targets (x, 0)
    3. the module gives (mu, raw) per target; p = softmax of mu over the options of one question
    4. loss -log N(y; p, sigma), or cross-entropy, or Bradley-Terry; Adam, cosine to 0
    5. a new group is asked about with its own few ratings as context; nothing is trained for it

A source is a group, or the few-shot pairs as one more: each pair is a question, y is 1 for the chosen answer and 0 for
the rejected.

    gpo             the paper's module on groups; on pairs, which the paper has not, a reward model that reads them
    gpo_residual    on groups: starts from what they share, and reads and predicts by how much a group departs from it

`config` holds the settings, `method` the two aligners, and then come the steps: `sources` and `outlook` (1), `episodes`
(2), `network` (3), `training` (4), `result` (5), `liveness`.
"""

from __future__ import annotations

from aligners.gpo.config import GpoConfig, GpoResidualConfig
from aligners.gpo.method import Gpo, GpoResidual
from harness.contracts import Aligner
from harness.hookspecs import hookimpl

__all__ = ["Gpo", "GpoConfig", "GpoResidual", "GpoResidualConfig", "harness_aligners"]


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register both aligners."""
    return [Gpo, GpoResidual]
