"""Pairs under a tokenizer and a study's lengths: what is cut, what is equal once cut, what cannot be rendered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from harness.contracts import HarnessError, Pair
from harness.util.chat import encode_completion, render_prompt

UNCUT = 2**30
"""Longer than any text, in tokens."""
MUCH = 0.1
"""Share of clipped answers or prompts above which a warning says so."""

Tokenizer = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Clipping:
    """How many prompts and answers of some pairs are cut, and which pairs are equal once they are."""

    pairs: int
    prompts: int
    """Prompts longer than the study's length."""
    answers: int
    """Answers, of two for each pair, as long as the study's length or longer: they lose their end of turn."""
    equal: tuple[str, ...]
    """Ids of pairs whose two answers are the same tokens once cut."""

    @property
    def shares(self) -> dict[str, float]:
        """Shares in [0, 1] for the record: of the prompts and the answers that are cut, and of equal pairs."""
        of = max(self.pairs, 1)
        return {"prompts": self.prompts / of, "answers": self.answers / (2 * of), "equal_pairs": len(self.equal) / of}

    def lines(self, prompt: int, completion: int, what: str) -> tuple[str, ...]:
        """What to tell people: nothing where nothing is cut; `what` are these pairs."""
        found: list[str] = []
        if self.prompts or self.answers:
            found.append(
                f"{what}: {self.prompts} of {self.pairs} prompts are longer than {prompt} tokens and {self.answers} of "
                f"{2 * self.pairs} answers than {completion}; they are cut"
            )
        if self.equal:
            found.append(
                f"{what}: {len(self.equal)} of {self.pairs} pairs are equal once cut to {completion} tokens and teach "
                "nothing; raise lengths.completion"
            )
        return tuple(found)


def measure(tokenizer: Any, pairs: Sequence[Pair], *, prompt: int, completion: int) -> Clipping:
    """Count what lengths of `prompt` and `completion` tokens cut. Raises HarnessError for a prompt that is refused."""
    prompts = {pair.prompt: len(render_prompt(tokenizer, pair.prompt, UNCUT)) for pair in pairs}
    sides = [[_ids(tokenizer, answer) for answer in (pair.chosen, pair.rejected)] for pair in pairs]
    return Clipping(
        pairs=len(pairs),
        prompts=sum(prompts[pair.prompt] > prompt for pair in pairs),
        answers=sum(len(ids) >= completion for answers in sides for ids in answers),
        equal=tuple(p.id for p, (a, b) in zip(pairs, sides, strict=True) if _equal(a, b, completion)),
    )


def unfit(
    pairs: Sequence[Pair], completion: int, tokenizer: Tokenizer, without_row: Collection[str] = ()
) -> dict[str, frozenset[str]]:
    """Ids of the pairs that this model cannot learn from, by reason.

    template: the chat template refuses a prompt with such a sequence of speakers. no_row: a text holds a token for
    which the embedding has no row. equal_once_cut: both answers are the same tokens once cut, unless all pairs are so.
    The tokenizer is called for only where a pair gives reason to.
    """
    found = {
        "template": _refused(pairs, tokenizer),
        "no_row": frozenset(pair.id for pair in pairs if any(t in text for text in _texts(pair) for t in without_row)),
    }
    left = [pair for pair in pairs if not any(pair.id in ids for ids in found.values())]
    doubtful = [pair for pair in left if _bytes_shared(pair) >= completion]  # a token is a byte at least
    loaded = tokenizer() if doubtful else None
    equal = frozenset(
        pair.id for pair in doubtful if _equal(_ids(loaded, pair.chosen), _ids(loaded, pair.rejected), completion)
    )
    return {**found, "equal_once_cut": equal if len(equal) < len(left) else frozenset()}


def _bytes_shared(pair: Pair) -> int:
    """Length of the beginning that both answers share."""
    pairs = zip(*(a.encode("utf-8", "surrogatepass") for a in (pair.chosen, pair.rejected)), strict=False)
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], pairs))


def _refused(pairs: Sequence[Pair], tokenizer: Tokenizer) -> frozenset[str]:
    """Ids of the pairs whose prompt has a sequence of speakers that the template refuses; each is tried once."""
    first: dict[tuple[str, ...], Pair] = {}
    for pair in pairs:
        first.setdefault(tuple(turn.role for turn in pair.prompt), pair)
    refused = {roles for roles, pair in first.items() if not _usual(roles) and not _renders(tokenizer(), pair)}
    return frozenset(pair.id for pair in pairs if tuple(turn.role for turn in pair.prompt) in refused)


def _usual(roles: Sequence[str]) -> bool:
    turns = roles[1:] if roles[0] == "system" else roles
    return all(role == ("user", "assistant")[place % 2] for place, role in enumerate(turns))


def _renders(tokenizer: Any, pair: Pair) -> bool:
    try:
        render_prompt(tokenizer, pair.prompt, UNCUT)
    except HarnessError:
        return False
    return True


def _ids(tokenizer: Any, answer: str) -> list[int]:
    return encode_completion(tokenizer, answer, UNCUT)[:-1]


def _equal(a: list[int], b: list[int], completion: int) -> bool:
    """Whether two answers are the same once cut; one that is not cut has an end of turn, the other has none."""
    return a[:completion] == b[:completion] and (len(a) >= completion) == (len(b) >= completion)


def _texts(pair: Pair) -> list[str]:
    return [*(turn.content for turn in pair.prompt), pair.chosen, pair.rejected]
