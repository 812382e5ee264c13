"""Passes of a model over texts, added up: what costs FLOPs, before the model's sizes are put in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from harness.contracts import FewShot, Messages, Pair, Rating, Regime

if TYPE_CHECKING:
    from harness.meter import FlopModel

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Passes:
    """Positions that run through the decoder and through the head, and pairs of a query and a key, of each head."""

    positions: float = 0.0
    projected: float = 0.0
    scores: float = 0.0

    def __add__(self, other: Passes) -> Passes:
        return Passes(self.positions + other.positions, self.projected + other.projected, self.scores + other.scores)

    def __mul__(self, times: float) -> Passes:
        return Passes(self.positions * times, self.projected * times, self.scores * times)


@dataclass(frozen=True, slots=True)
class FitWork:
    """A fit: passes without gradient, passes that are trained, and what it samples."""

    forward: Passes = field(default_factory=Passes)
    trained: Passes = field(default_factory=Passes)
    samples: float = 0.0
    """Answers that are sampled. Their passes are part of `forward`, at `Sizes.sampled` tokens each."""
    other: float = 0.0
    """FLOPs outside the language model."""

    def __add__(self, other: FitWork) -> FitWork:
        return FitWork(
            self.forward + other.forward,
            self.trained + other.trained,
            self.samples + other.samples,
            self.other + other.other,
        )

    def __mul__(self, times: float) -> FitWork:
        return FitWork(self.forward * times, self.trained * times, self.samples * times, self.other * times)

    @property
    def tokens(self) -> float:
        """Tokens that are computed forward, as the meter counts them."""
        return self.forward.positions + self.trained.positions

    def flops(self, model: FlopModel) -> float:
        """FLOPs on a model, by the formula of the meter (`harness.meter`)."""
        return _flops(model, self.forward) + _flops(model, self.trained, train=True) + self.other


def _flops(model: FlopModel, passes: Passes, *, train: bool = False) -> float:
    if not passes.positions:
        return 0.0
    keys = passes.scores / passes.positions
    forward = model.forward(passes.positions, keys, passes.projected)  # type: ignore[arg-type]
    return forward + (model.backward(passes.positions, keys, passes.projected) if train else 0.0)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class PairTokens:
    """Tokens of a labelled pair as they are computed: clipped, an answer with its end of turn."""

    prompt: int
    chosen: int
    rejected: int


def _nothing_read(texts: Sequence[str]) -> list[int]:
    return [0] * len(texts)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What decides the work of a fit: the regime, and the lengths of its texts in tokens."""

    regime: Regime
    pairs: tuple[PairTokens, ...] = ()
    """Those that are trained on."""
    held_out: tuple[PairTokens, ...] = ()
    prompts: tuple[int, ...] = ()
    """Unlabelled prompts."""
    sampled: float = 0.0
    """Tokens of a sample, on average: known after a fit, before it a guess."""
    kept: float = 1.0
    """Share of the tokens of its samples that a method learns from."""
    fast: bool = True
    """Whether fast paths are on: a prompt is then computed once for its answers, and the head at answers only."""
    few_shot: FewShot = field(default_factory=FewShot)
    """What the fit is given, with its texts: for methods whose work is not a matter of the lengths above."""
    halves: tuple[tuple[Pair, ...], tuple[Pair, ...]] = ((), ())
    """The pairs that are trained on, and those that are held out."""
    read: Callable[[Sequence[str]], list[int]] = _nothing_read
    """Tokens of texts as `Bench.embed` reads them."""
    width: int = 0
    """Numbers of an embedding."""

    def laid_out(self, prompt: float, answers: Sequence[float]) -> Passes:
        """A prompt with its answers, without gradient or for it; padding of plain rows is left out."""
        return tree(prompt, answers) if self.fast else plain_rows(prompt, answers)

    def both(self, pair: PairTokens) -> Passes:
        """A pair: its prompt with both answers."""
        return self.laid_out(pair.prompt, (pair.chosen, pair.rejected))

    def embedded(self, texts: Sequence[str]) -> Passes:
        """Texts that are embedded in one call, padded to the longest; the head is not asked."""
        longest = max(self.read(texts), default=0)
        return Passes(longest * len(texts), 0.0, longest**2 * len(texts))


@runtime_checkable
class StatesCost(Protocol):
    """What an aligner adds whose work is known before it is done: the formula of its page, as code."""

    def cost(self, sizes: Sizes) -> FitWork:
        """The work of a fit on texts of these sizes, looks at held-out pairs left out."""
        ...


@dataclass(frozen=True, slots=True)
class AskedOfGroups:
    """What a task about groups asks after a fit."""

    ratings: tuple[tuple[str, Rating], ...]
    """Closed questions, each with a target group that answers it."""
    rendered: Callable[[Messages], int]
    """Tokens of a conversation under the model's template."""

    @property
    def questions(self) -> list[Rating]:
        """Each question once, whoever answers it."""
        return list({rating.question: rating for _, rating in self.ratings}.values())


@runtime_checkable
class StatesAnswerCost(Protocol):
    """What an aligner adds that answers questions about groups otherwise than by the letters of their options."""

    def cost_of_answers(self, sizes: Sizes, asked: AskedOfGroups) -> FitWork:
        """The work of the answers to all these questions."""
        ...


def tree(prompt: float, answers: Sequence[float]) -> Passes:
    """A prompt computed once for its answers, each without its last token; the head where an answer is predicted."""
    runs = [max(answer - 1, 0) for answer in answers]
    computed = sum(runs)
    scores = prompt**2 + sum(run**2 for run in runs) + prompt * computed
    return Passes(prompt + computed, sum(answers), scores)


def plain_rows(prompt: float, answers: Sequence[float]) -> Passes:
    """TRL's own rows: the prompt stands in each, and the head runs at every position."""
    lengths = [prompt + answer for answer in answers]
    return Passes(sum(lengths), sum(lengths), sum(length**2 for length in lengths))


def sampling(prompt: float, samples: float, tokens: float) -> Passes:
    """`samples` answers of `tokens` tokens to a prompt that is computed once, with a cache of what was computed."""
    steps = max(tokens - 1, 0)
    decoded = samples * steps
    return Passes(prompt + decoded, 1 + decoded, prompt**2 + decoded * (prompt + tokens / 2))


def mean_of(items: Sequence[T], passes: Callable[[T], Passes]) -> Passes:
    """The mean pass over items; none where there are none."""
    return total_of(items, passes) * (1 / max(len(items), 1))


def total_of(items: Iterable[T], passes: Callable[[T], Passes]) -> Passes:
    """The passes over all items."""
    return sum(map(passes, items), Passes())
