"""The bench: all that an aligner may use while it fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from harness.contracts.judge import JudgeItem, Verdict
from harness.contracts.model import LanguageModel, TokenScores
from harness.contracts.regime import Regime
from harness.contracts.values import BASE, POLICY, Completion, Messages, Pair, Prompt, Span

if TYPE_CHECKING:
    from torch import Tensor

    from harness.contracts.values import FloatArray


ConfigT = TypeVar("ConfigT")
RowT = TypeVar("RowT")

Ids = Sequence[int]
"""Token ids, as `Bench.render` and `Bench.encode` give them."""

SIGMOID: Mapping[str, float] = MappingProxyType({"sigmoid": 1.0})
"""DPO's own loss, with its weight."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Optimizer steps of a phase, and the course of its learning rate over them."""

    learning_rate: float
    """The highest rate of the phase."""
    steps: int
    warmup: float = 0.0
    """Steps during which the rate rises: below 1 a share of all steps, rounded up; from 1 on their number."""
    shape: Literal["cosine", "constant"] = "cosine"
    """After the rise: a cosine to 0, or no change."""
    max_grad_norm: float = 1.0
    """Gradients with a larger norm are scaled down to it."""


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Figures of one completion's tokens, each of shape (T,), in nats.

    `logprobs` can be differentiated where gradients are on; `entropies`, of the whole next-token distribution, cannot.
    """

    logprobs: Tensor
    entropies: Tensor | None


@dataclass(frozen=True, slots=True)
class LoneAnswer:
    """A row of KTO: an answer that is desirable or not, and beside it an answer to another prompt (`mismatched`)."""

    prompt: Messages
    answer: str
    desirable: bool
    mismatched: str


Reward = Callable[[int, Sequence[str], Sequence[str]], list[float]]
"""A function of (step, ids of prompts, answers), with one answer for each id, that returns the answers' rewards."""

StepLoss = Callable[[int, Sequence[RowT]], "Tensor | None"]
"""A function of (step, rows) that returns the loss to differentiate, or None if there is nothing to learn from."""


class Trainers(Protocol):
    """Trainers of the live policy, ready for `Bench.train`: TRL's, and a trainer of single steps for what TRL lacks.

    Each starts from the policy as it is when training begins; the reference, where there is one, is the base model.
    """

    def sft(self, examples: Sequence[tuple[Messages, str]], schedule: Schedule) -> Any:
        """Mean negative log-likelihood of the answers' tokens, from (prompt, answer)."""
        ...

    def dpo(
        self, pairs: Sequence[Pair], schedule: Schedule, *, beta: float, losses: Mapping[str, float] = SIGMOID
    ) -> Any:
        """DPO, or a weighted sum of other losses that TRL's DPOTrainer knows by name (`losses`)."""
        ...

    def simpo(self, pairs: Sequence[Pair], schedule: Schedule, *, beta: float, gamma: float) -> Any:
        """SimPO; no reference."""
        ...

    def orpo(self, pairs: Sequence[Pair], schedule: Schedule, *, weight: float, prompt_loss: bool) -> Any:
        """ORPO, `weight` being the paper's lambda; with `prompt_loss` the likelihood term covers the prompt, too."""
        ...

    def kto(
        self,
        answers: Sequence[LoneAnswer],
        schedule: Schedule,
        *,
        beta: float,
        desirable_weight: float,
        undesirable_weight: float,
        pairs: Sequence[Pair] = (),
    ) -> Any:
        """KTO on the answers in the given order; a step takes two for each pair of the regime's batch.

        `pairs` are the pairs from which the answers come, if any. The reference's log-probabilities are then computed
        by the same call as in `dpo`, and shared with fits of `dpo` on the same pairs.
        """
        ...

    def grpo(
        self,
        prompts: Sequence[Prompt],
        reward: Reward,
        schedule: Schedule,
        *,
        k: int,
        temperature: float,
        beta: float,
        loss: str,
        scale: str,
    ) -> Any:
        """GRPO on `k` samples of each prompt, in the given order, `regime.sample_prompts` prompts a step."""
        ...

    def steps(
        self, batches: Callable[[bool], Sequence[Sequence[RowT]]], loss: StepLoss[RowT], schedule: Schedule
    ) -> Any:
        """One optimizer step for each batch, on `loss(step, batch)`, without dropout.

        `batches(resuming)` is called once training begins: what it computes belongs to the phase. `resuming` says that
        a checkpoint counts that work as done. A loss of None moves nothing, momentum included. What a step does must
        follow from its number and its batch alone, so that an interrupted phase repeats exactly.
        """
        ...


class Bench(Protocol):
    """Everything that an aligner may use. All use is metered against the budget.

    Adapters have names: `contracts.POLICY` is the adapter that is being trained, `contracts.BASE` stands for the model
    with adapters off, and `fork` makes others. A completion is a text, which is encoded with an end-of-turn token at
    its end, or a `Completion`, whose own ids are used (a truncated completion has no end-of-turn token).
    """

    @property
    def policy(self) -> Any:
        """The PEFT model with the live adapter."""
        ...

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, with transformers' interface."""
        ...

    @property
    def seed(self) -> int:
        """The training seed. Everything random in a fit must follow from it."""
        ...

    @property
    def workdir(self) -> Path:
        """A folder for files of the fit. It survives a crash and is deleted when the fit is done."""
        ...

    @property
    def regime(self) -> Regime: ...

    @property
    def trainers(self) -> Trainers:
        """Trainers of the live policy, with the shared settings filled in."""
        ...

    def log(self, event: str, **figures: float | int | str | bool) -> None:
        """Append one line to the run's log and show it as progress."""
        ...

    def liveness(self, *, degenerate: str | None = None, **figures: float) -> None:
        """Record figures that show whether the method did its work.

        `degenerate` is a sentence for the record if the run falls below the method's floor; otherwise leave it out.
        """
        ...

    def tally(self, **figures: float) -> Mapping[str, float]:
        """Add to running sums, which survive an interruption (attributes of a trainer do not). Returns all sums."""
        ...

    def latest(self, name: str, figures: Sequence[float], *, keep: int) -> list[float]:
        """Append to a list of at most `keep` figures, which survives an interruption. Returns it, the oldest first."""
        ...

    def render(self, prompt: Messages) -> list[int]:
        """Token ids of a prompt under the study's chat template, ready for the assistant's turn; clipped to length."""
        ...

    def encode(self, completion: str | Completion) -> list[int]:
        """Token ids of an answer, closed by the end-of-turn token unless truncated; clipped to length."""
        ...

    def arguments(self, config_class: type[ConfigT], **method: Any) -> ConfigT:
        """Training arguments of transformers or TRL with the shared settings filled in, for the aligner's own trainer.

        Raises HarnessError when `method` sets something that all aligners share (batch, length, precision, seed).
        """
        ...

    def split(self, pairs: Sequence[Pair]) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
        """Divide pairs into (training, held-out). Pairs are held out only under the selection `holdout25`."""
        ...

    def train(self, trainer: Any, *, held_out: Sequence[Pair] = (), fit_steps: int | None = None) -> int | None:
        """Run `trainer.train()`, with meter, checkpoints, progress and resumption; then undo the trainer's patches.

        With `held_out` pairs the policy is scored on them four times a fit, at equal distances, and the best of these
        four states is the result. A fit of several phases gives `fit_steps`, the optimizer steps of all phases
        together: the four states are then spread over all phases, and the best one is restored after the last phase.
        Returns the step of the best state so far, counted over the phases, or None if no pairs are held out.
        A call that an earlier, interrupted process finished is not run again: its adapter is loaded.
        Raises BudgetExceeded at the track's cap.
        """
        ...

    def store(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint of a training loop of the aligner's own; it replaces the one before.

        `state` holds tensors and plain values. What was counted, tallied and logged so far is stored with it; `train`
        does all this by itself.
        """
        ...

    def stored(self) -> Mapping[str, Any] | None:
        """Return the `state` of the last `store` of an interrupted fit, or None if nothing was stored.

        The meter and the log go back to that moment: later spending is no longer counted, later lines are dropped.
        """
        ...

    def fork(self, name: str, of: str = POLICY) -> None:
        """Make a frozen copy of an adapter under a new name."""
        ...

    def drop(self, name: str) -> None:
        """Delete an adapter made by `fork`."""
        ...

    def generate(
        self,
        prompts: Sequence[Messages],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int | None = None,
        stop: Sequence[str] = (),
        seed: int = 0,
        of: str = POLICY,
    ) -> list[list[Completion]]:
        """`n` samples per prompt; temperature 0 is greedy; `max_new_tokens` None is the regime's.

        An unlabelled prompt of the budget counts as used once it is sampled from.
        """
        ...

    def score(
        self,
        prompts: Sequence[Messages],
        completions: Sequence[Sequence[str | Completion]],
        *,
        of: str = POLICY,
        entropy: bool = False,
    ) -> list[list[TokenScores]]:
        """Log-probability of every completion token given its prompt, without gradient."""
        ...

    def logprobs(
        self, prompts: Sequence[Ids], completions: Sequence[Sequence[Ids]], *, of: str = POLICY, entropy: bool = False
    ) -> list[list[TokenLogprobs]]:
        """Log-probability of every completion token given its prompt, to be differentiated: the step of a loss.

        It takes token ids, so that a trainer encodes its rows only once. The model keeps its mode (training or
        evaluation). There is a gradient only for the live adapter (`of=POLICY`).
        """
        ...

    def distributions(
        self, prompts: Sequence[Ids], completions: Sequence[Sequence[Ids]], *, of: str = POLICY
    ) -> Iterator[Tensor]:
        """Yield blocks of shape (at most block, V): log-probabilities in nats over the vocabulary.

        Each row is the distribution that predicts one completion token; rows are in the order of the tokens. There is
        no gradient. An adapter is on only while a block is computed, so two policies' blocks can be read in turn.
        """
        ...

    def embed(
        self,
        texts: Sequence[str],
        *,
        of: str = BASE,
        layer: int = -1,
        pool: Literal["mean", "last"] = "mean",
        spans: Sequence[Span] | None = None,
    ) -> FloatArray:
        """Hidden states pooled over each text's tokens, shape (N, D); a text is computed once for each setting.

        With `spans`, one range of characters per text, only the tokens that touch it are pooled.
        """
        ...

    def judge(self, name: str, items: Sequence[JudgeItem]) -> list[Verdict]:
        """Return a registered judge's verdicts, one for each item, in order.

        The compute of the judge's model counts against the budget; calls, tokens and cost (US dollars) are tallied.
        Raises HarnessError for an unknown judge, with the nearest name. An aligner that calls this also implements
        `AsksJudge`.
        """
        ...

    def spend(self, flops: float) -> None:
        """Count FLOPs that were spent outside the language model."""
        ...

    def aligned(self, demonstrations: Sequence[Pair] = ()) -> LanguageModel:
        """The trained model as the result of the fit; `demonstrations` are put before every prompt."""
        ...
