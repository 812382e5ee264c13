"""Pool `sums_in_words`: "What is seven plus five?", made in code: pairs, prompts and a verifier.

The rejected side of a pair is the right sentence with a sum that is off by one. A quarter of the sums is held out, and
the two orders of a sum ("five plus seven") stay together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from harness.contracts import Dataset, GoldAnswers, Pair, Pool, Prompt, Ratings, Source, user
from harness.hookspecs import hookimpl

SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty")
WORDS = (*SMALL, *(f"{ten}-{SMALL[unit]}" if unit else ten for ten in TENS for unit in range(10)))
LARGEST = 20


@dataclass(frozen=True, slots=True)
class Sum:
    """Two numbers to add."""

    a: int
    b: int

    @property
    def id(self) -> str:
        """The id, which does not depend on the other sums of the pool."""
        return f"{self.a}+{self.b}"

    @property
    def unit(self) -> str:
        """The same for both orders of a sum, because the two are not independent questions."""
        return f"{min(self.a, self.b)}+{max(self.a, self.b)}"

    @property
    def held_out(self) -> bool:
        """Whether the sum is held out, so that no method trains on it."""
        return hashed(self.unit) % 4 == 0

    @property
    def question(self) -> str:
        """The question without instructions."""
        return f"What is {WORDS[self.a]} plus {WORDS[self.b]}?"

    def answer(self, total: int) -> str:
        """The sentence that gives `total`."""
        return f"{WORDS[self.a].capitalize()} plus {WORDS[self.b]} is {WORDS[total]}."


def sums(split: str) -> list[Sum]:
    """The sums of a split: `pool` or `eval`."""
    numbers = range(1, LARGEST + 1)
    return [one for a in numbers for b in numbers if (one := Sum(a, b)).held_out == (split == "eval")]


def hashed(text: str) -> int:
    """A number from a text, the same in every process."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def pair(asked: Sum, total: int) -> Pair:
    """The right answer against one that is off by one, above or below."""
    wrong = total + (1 if hashed(f"off {asked.id}") % 2 else -1)
    return Pair(asked.id, user(asked.question), asked.answer(total), asked.answer(wrong), asked.unit)


def ends_in(right: str, completion: str) -> float:
    """1.0 where a completion's last word, without its punctuation, is the right number."""
    words = completion.lower().split()
    return float(bool(words) and words[-1].strip(".,!?\"'") == right)


class SumsInWords:
    """Sums of two numbers up to twenty."""

    name: ClassVar[str] = "sums_in_words"
    licence: ClassVar[str] = "Apache-2.0"
    dataset: ClassVar[Dataset] = Dataset(folder="sums_in_words", hub="")

    def revision(self, source: Source) -> str:
        """Hash of every pair."""
        return hashlib.sha256(json.dumps([asdict(one) for one in self.pairs(source)]).encode()).hexdigest()

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        """One pair for each sum."""
        return [pair(one, one.a + one.b) for one in sums(split)]

    def questions(self, source: Source) -> Mapping[str, str]:
        """Every training question."""
        return {one.id: one.question for one in sums("pool")}

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Every training question as a prompt."""
        return [Prompt(one.id, user(one.question)) for one in sums("pool")]

    def groups(self, source: Source) -> Ratings:
        """No ratings, because sums are not a matter of opinion."""
        return {}

    def verifier(self, source: Source) -> GoldAnswers:
        """1.0 for an answer that ends in the right sum."""
        return GoldAnswers({one.id: WORDS[one.a + one.b] for one in sums("pool")}, ends_in)


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """What this module adds to the harness."""
    return [SumsInWords]
