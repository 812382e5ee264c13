"""A cell's lengths, settled from its pool before anything is drawn, and told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.config import LONGEST, RunConfig
from harness.contracts import DividesInFolds, HarnessError, Lengths, Pair, Pool, Source
from harness.data.lengths import Tokens, measured, settled_lengths
from harness.models.tokenizer import kept_tokenizer
from harness.models.wheels import ModelFiles


@dataclass(frozen=True, slots=True)
class Sized:
    """The lengths that a cell uses, and what they cut of its pool."""

    lengths: Lengths
    cut: Mapping[str, float] = field(default_factory=dict)
    """Shares of the measured prompts and answers, `pool_prompts` and `pool_answers`; empty where nothing was."""
    lines: tuple[str, ...] = ()
    """What to tell people."""


def sized(config: RunConfig, pool: Pool, source: Source, files: ModelFiles, *, other_data: bool) -> Sized:
    """Lengths as asked for, and the open ones from the pool's training pairs under the model's tokenizer.

    With `other_data` the task asks other prompts than the pool's, of which the pool says nothing: open lengths are
    then the longest that the profile allows, as they are for a pool without answers.
    """
    pairs = () if other_data else _training(pool, source)
    tokens = _counted(files, pairs) if pairs else Tokens((), ())
    lengths = settled_lengths(config.lengths, tokens, LONGEST[config.profile])
    cut = tokens.longer(lengths)
    lines = []
    if cut:
        lines.append(_told(lengths, cut, f"{len(tokens.prompts)} pairs of pool {pool.name}"))
    if lengths.new_tokens < lengths.completion:
        lines.append(
            f"samples of at most {lengths.new_tokens} tokens are shorter than answers of {lengths.completion}; "
            "raise lengths.new_tokens"
        )
    return Sized(lengths, cut, tuple(lines))


_COUNTED: dict[tuple[object, ...], Tokens] = {}
_MOST_COUNTED = 16


def _counted(files: ModelFiles, pairs: tuple[Pair, ...]) -> Tokens:
    """The pairs' tokens, counted once for all cells of this process that have the same pairs and the same model."""
    key = (files.folder, files.trust_remote_code, *sorted(files.contents.items()), pairs)
    if key not in _COUNTED:
        counted = measured(kept_tokenizer(files), pairs)
        if len(_COUNTED) >= _MOST_COUNTED:
            _COUNTED.clear()
        _COUNTED[key] = counted
    return _COUNTED[key]


def _training(pool: Pool, source: Source) -> tuple[Pair, ...]:
    """The pool's training pairs, of folds all pairs, so that every fold has the same lengths; else none."""
    try:
        if isinstance(pool, DividesInFolds) and pool.folds:
            return tuple(pool.every(source))
        return tuple(pool.pairs(source))
    except HarnessError:  # is raised again where the labels are drawn, if there are any to draw
        return ()


def _told(lengths: Lengths, cut: Mapping[str, float], what: str) -> str:
    used = f"{lengths.prompt} tokens of prompt, {lengths.completion} of answer, {lengths.new_tokens} of a sample"
    shares = f"{cut['pool_prompts']:.0%} of the prompts and {cut['pool_answers']:.0%} of the answers"
    return f"lengths: {used}; of {what} {shares} are longer"
