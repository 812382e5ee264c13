"""Meta-training: steps over episodes with Adam, and what a look at the module says."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean

import torch
from torch import Tensor

from aligners.gpo import network
from aligners.gpo.config import ModuleConfig
from aligners.gpo.episodes import Episodes, OptionTable, draw
from aligners.gpo.network import NeuralProcess, new_module
from harness.contracts import Bench, HarnessError

Spender = Callable[[float], None]
"""Counts FLOPs; raises BudgetExceeded at the cap."""
STEPS_WITH_PAIRS, STEPS_WITH_GROUPS = 15, 20
"""Steps of the module for one of the regime's least steps, where it learns from pairs alone or from groups."""
JUDGED_BATCHES = 4
"""Training batches on which the module is judged before and after."""
CHECKPOINT_EVERY = 64
LOOKS = 4
"""How often held-out pairs are looked at, where the regime holds some out; also how often the loss is logged."""


def loss_of(module: NeuralProcess, table: OptionTable, batch: Episodes, config: ModuleConfig) -> Tensor:
    """The chosen loss of one batch, in nats."""
    mu, raw = module(table.x[batch.index], batch.y, batch.context)
    mu, raw = mu.flatten()[batch.place], raw.flatten()[batch.place]
    if table.shared is not None:
        mu = mu + table.shared[batch.index.flatten()[batch.place]].log()
    losses = {
        "gaussian": lambda: network.gaussian(mu, raw, batch.targets, config.sigma),
        "cross_entropy": lambda: network.cross_entropy(mu, batch.targets),
        "bradley_terry": lambda: network.bradley_terry(mu, batch.targets),
    }
    return losses[config.loss]()


def steps_of(table: OptionTable) -> int:
    """Steps for one of the regime's: learning to tell groups apart takes longer than learning one taste."""
    return STEPS_WITH_GROUPS if len(table.sources) > 1 else STEPS_WITH_PAIRS


def rate_at(step: int, steps: int, config: ModuleConfig) -> float:
    """Learning rate of a step: half a cosine to 0, times a straight rise over the first steps."""
    rise = min(1.0, (step + 1) / max(1.0, config.warmup * steps))
    return rise * 0.5 * config.learning_rate * (1 + math.cos(math.pi * step / steps))


class Training:
    """Meta-training under way: everything that a checkpoint must hold."""

    def __init__(self, bench: Bench, config: ModuleConfig, table: OptionTable, held_out: Episodes | None) -> None:
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
        self.bench.spend(3.0 * forward_flops(self.module, batch))
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(step, self.steps, self.config)
        loss = loss_of(self.module, self.table, batch, self.config)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.losses.append(loss.item())
        if not math.isfinite(self.losses[-1]):
            raise HarnessError(
                f"the module's loss is {self.losses[-1]} at step {step}; try sigma=bounded or a lower rate"
            )

    def _look(self) -> None:
        """Keep the module if it is the best so far on held-out pairs: mean log sigmoid(mu_w - mu_l)."""
        if self.held_out is None:
            return
        self.bench.spend(forward_flops(self.module, self.held_out))
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
        batches = [draw(self.table, self.config, (self.bench.seed, step)) for step in range(JUDGED_BATCHES)]
        found = []
        for module in (self._fresh(), self.module):
            spend(sum(forward_flops(module, batch) for batch in batches))
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


def forward_flops(module: NeuralProcess, batch: Episodes) -> float:
    """FLOPs of one forward over a batch, padding included."""
    rows, tokens = batch.index.shape
    return module.flops(rows, tokens, int(batch.context.max()))
