"""Does a judge keep the promises of `contracts.Judge`? Checks for its author's own tests.

    from harness.conformance.judges import parametrize_judges_with_checks

    @parametrize_judges_with_checks([MyJudge], expected_failures={"positive_control": "why it cannot pass"})
    def test_conformance(check):
        check()

Every check asks the judge about a dozen pairs whose better answer is plain, with references. A judge that takes tools
gets a tiny random model, which knows nothing, and an empty folder; give `tools` to let it use a real one. A check that
asks twice makes the judge anew in between, with another empty folder, so that a cache cannot hide anything.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.conformance.checks import Check, Outcome, known, outcomes, parametrized, required
from harness.contracts import Judge, JudgeItem, JudgeTools, LanguageModel, Message, TakesTools, Verdict, user
from harness.judging.measure import NULL_ANSWER, side

TOLERANCE = 1e-3
"""Probabilities that differ by less are equal: texts that are padded together differ in the last digits."""
NEEDED = 0.75
"""Share of the plain pairs that a judge must get right."""


def judge_checks(judge: type[Judge] | Judge, *, tools: JudgeTools | None = None) -> Iterator[Check]:
    """All checks of one judge, in order. An instance is asked as it is; a class is made anew for every question."""
    lab = JudgeLab(judge, tools)
    for check in CHECKS:
        yield Check(_name(check), partial(check, lab))


def check_judge(
    judge: type[Judge] | Judge,
    *,
    tools: JudgeTools | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> tuple[Outcome, ...]:
    """Run every check. Raises NotConformant listing all failures; HarnessError for an unknown name in the mapping."""
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return outcomes(f"judge {judge.name!r}", judge_checks(judge, tools=tools), expected)


def parametrize_judges_with_checks(
    judges: Sequence[type[Judge] | Judge],
    *,
    tools: JudgeTools | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., Any]], Any]:
    """Decorator that runs a pytest test function once per judge and check, given as its argument `check`."""
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return parametrized({judge.name: judge_checks(judge, tools=tools) for judge in judges}, expected)


def _name(check: Callable[[JudgeLab], str]) -> str:
    return check.__name__.removeprefix("check_")


# ---------------------------------------------------------------- the pairs

PLAIN: tuple[tuple[str, str, str, str], ...] = (
    ("What is the capital of Norway?", "The capital is Oslo.", "I like cheese a lot.", "Oslo"),
    ("Add 17 and 25.", "The sum is 42.", "The sum is a cat.", "17 + 25 = 42"),
    ("Name a fruit that is yellow.", "A banana is a yellow fruit.", "Buses run on diesel.", "A banana"),
    ("How many days has a week?", "A week has seven days.", "Rivers flow down.", "Seven days"),
    ("What do bees make?", "Bees make honey in their hive.", "Bricks are red and heavy.", "Honey"),
    ("Which planet is closest to the Sun?", "Mercury is closest.", "My shoes are wet again.", "Mercury is the closest"),
    ("What is frozen water called?", "Frozen water is called ice.", "Guitars have six strings.", "Ice"),
    ("Who treats sick animals?", "A vet treats sick animals.", "Paper is made of wood.", "A vet, an animal doctor"),
    ("What is the opposite of hot?", "The opposite of hot is cold.", "He parked behind a lorry.", "Cold"),
    ("Which season follows winter?", "Spring follows winter.", "Onions can be fried.", "Spring"),
    ("What do you use to cut paper?", "You cut paper with scissors.", "The choir sang at noon.", "A pair of scissors"),
    ("Give the plural of 'mouse'.", "The plural is 'mice'.", "The bank is closed today.", "Mice"),
)
"""Instruction, better answer, worse answer (of another subject), reference."""


def plain_items() -> list[JudgeItem]:
    """The pairs, the better answer first and second by turns; ids do not tell which."""
    items = []
    for index, (asked, better, worse, reference) in enumerate(PLAIN):
        a, b = (better, worse) if index % 2 == 0 else (worse, better)
        items.append(JudgeItem(f"item-{index}", user(asked), a, b, reference))
    return items


def _better_is_a(index: int) -> bool:
    return index % 2 == 0


def _swapped(items: Iterable[JudgeItem]) -> list[JudgeItem]:
    return [replace(item, a=item.b, b=item.a) for item in items]


# ---------------------------------------------------------------- the laboratory


class JudgeLab:
    """Asks one judge; where a class was given, every question gets a new instance."""

    def __init__(self, judge: type[Judge] | Judge, tools: JudgeTools | None) -> None:
        self.name = judge.name
        self._judge = judge
        self._tools = tools

    def ask(self, items: Sequence[JudgeItem], *, parts: int = 1) -> list[Verdict]:
        """The judge's verdicts, in `parts` calls of equal size. Raises CheckFailed unless there is one per item."""
        size = max(1, -(-len(items) // parts))
        with tempfile.TemporaryDirectory() as folder:
            judge = self._made(Path(folder))
            found: list[Verdict] = []
            for start in range(0, max(1, len(items)), size):
                part = list(items[start : start + size])
                verdicts = judge.compare(part)
                count = f"{len(verdicts)} verdicts on {len(part)} items"
                required(len(verdicts) == len(part), f"{self.name} gives {count}: one each is needed, in order")
                found += verdicts
        return found

    def probabilities(self, items: Sequence[JudgeItem], *, parts: int = 1) -> list[float]:
        """P(a better) of every item; every one needs a verdict."""
        verdicts = self.ask(items, parts=parts)
        for item, verdict in zip(items, verdicts, strict=True):
            required(verdict.status == "ok", f"{self.name} has no verdict on a plain pair, {item.id}: {verdict.status}")
        return [verdict.p_a for verdict in verdicts]

    def _made(self, folder: Path) -> Judge:
        judge = self._judge() if isinstance(self._judge, type) else self._judge
        if not isinstance(judge, TakesTools):
            return judge
        return judge.with_tools(self._tools or JudgeTools(_tiny, folder))


def _tiny(name: str) -> LanguageModel:
    """A tiny random model, whatever was asked for."""
    from harness.conformance.toy import tiny_model, tiny_tokenizer
    from harness.lm.backends.hf import HfEngine
    from harness.lm.language_model import ModelAligned

    return ModelAligned(HfEngine(tiny_model(), tiny_tokenizer()), 512, 256)


def _same(lab: JudgeLab, what: str, first: Sequence[float], second: Sequence[float]) -> str:
    """Raise CheckFailed when two lists of probabilities differ."""
    moved = max(abs(p - q) for p, q in zip(first, second, strict=True))
    required(moved < TOLERANCE, f"{lab.name}: {what} moves P(a better) by up to {moved:.3f}")
    return f"at most {moved:.1e}"


# ---------------------------------------------------------------- checks: form


def check_one_verdict_each(lab: JudgeLab) -> str:
    """There is one verdict for each item, in the order of the items; without items there is none."""
    item = plain_items()[0]
    lab.ask([])
    lab.ask([item, replace(item, id="again"), *plain_items()[1:]])
    return ""


def check_figures_valid(lab: JudgeLab) -> str:
    """`p_a` and the values of each order lie in [0, 1]; tokens and cost are not negative."""
    for verdict in lab.ask(plain_items()):
        for p in (verdict.p_a, *verdict.per_order):
            required(math.isfinite(p) and 0 <= p <= 1, f"{lab.name} gives {p} as a probability")
        spent = verdict.tokens >= 0 and verdict.cost >= 0
        required(spent, f"{lab.name} counts {verdict.tokens} tokens at a cost of {verdict.cost}")
    return ""


def check_statuses(lab: JudgeLab) -> str:
    """Odd items (no reference, empty answers, braces, a conversation) get a verdict, or a `status` and P 0.5."""
    asked = user("Say {hello}.")
    turns = (*user("Hello."), Message("assistant", "Hello, how can I help?"), *user("Name a colour."))
    odd = [
        JudgeItem("no-reference", asked, "Hello.", "Goodbye."),
        JudgeItem("empty", asked, "", "Hello.", "Hello."),
        JudgeItem("braces", asked, "{hello} {0} %s", "Hello.", "Hello."),
        JudgeItem("conversation", turns, "Blue.", "Seven.", "Blue"),
    ]
    reasons = []
    for item, verdict in zip(odd, lab.ask(odd), strict=True):
        required(bool(verdict.status.strip()), f"{lab.name} gives item {item.id!r} an empty status")
        silent = verdict.status == "ok" or verdict.p_a == 0.5
        required(
            silent, f"{lab.name} has no verdict on {item.id!r} ({verdict.status}), but P {verdict.p_a} and not 0.5"
        )
        reasons += [] if verdict.status == "ok" else [f"{item.id}: {verdict.status}"]
    return "; ".join(reasons)


# ---------------------------------------------------------------- checks: what may not matter


def check_same_twice(lab: JudgeLab) -> str:
    """Asked again, the judge says the same."""
    return _same(lab, "asking again", *(lab.probabilities(plain_items()) for _ in range(2)))


def check_antisymmetric(lab: JudgeLab) -> str:
    """If the two answers change places, P(a better) becomes 1 - P(a better)."""
    before, after = lab.probabilities(plain_items()), lab.probabilities(_swapped(plain_items()))
    return _same(lab, "exchanging the answers", before, [1 - p for p in after])


def check_identical_pair_is_a_tie(lab: JudgeLab) -> str:
    """Two identical answers are a tie."""
    same = [replace(item, b=item.a) for item in plain_items()]
    return _same(lab, "an answer against itself", lab.probabilities(same), [0.5] * len(same))


def check_order_of_items(lab: JudgeLab) -> str:
    """The order of the items changes no verdict."""
    items = plain_items()
    backwards = lab.probabilities(items[::-1])[::-1]
    return _same(lab, "another order of the items", lab.probabilities(items), backwards)


def check_batch(lab: JudgeLab) -> str:
    """What else is asked in the same call changes no verdict."""
    items = plain_items()
    alone = lab.probabilities(items, parts=len(items))
    return _same(lab, "company in the call", lab.probabilities(items), alone)


def check_ids(lab: JudgeLab) -> str:
    """The ids of items change no verdict."""
    items = plain_items()
    renamed = [replace(item, id=f"other-{len(items) - index}") for index, item in enumerate(items)]
    return _same(lab, "another id", lab.probabilities(items), lab.probabilities(renamed))


# ---------------------------------------------------------------- checks: judgement


def check_positive_control(lab: JudgeLab) -> str:
    """On pairs whose better answer is plain, at least three quarters of the verdicts are for it (ties count half)."""
    found = lab.probabilities(plain_items())
    right = fmean(side(p) if _better_is_a(index) else 1 - side(p) for index, p in enumerate(found))
    figures = f"right on {right:.2f} of {len(found)} plain pairs"
    required(right >= NEEDED, f"{lab.name} is {figures}; {NEEDED} is needed")
    return figures


def check_null_answer(lab: JudgeLab) -> str:
    """A constant answer that says nothing does not win against plainly good answers."""
    items = [
        JudgeItem(f"null-{index}", user(asked), *((NULL_ANSWER, good) if index % 2 else (good, NULL_ANSWER)), reference)
        for index, (asked, good, _, reference) in enumerate(PLAIN)
    ]
    found = lab.probabilities(items)
    wins = fmean(side(p) if index % 2 else 1 - side(p) for index, p in enumerate(found))
    figures = f"a constant answer wins {wins:.2f} of its comparisons with good ones"
    required(wins <= 0.5, f"{lab.name}: {figures}")
    return figures


CHECKS: tuple[Callable[[JudgeLab], str], ...] = (
    check_one_verdict_each,
    check_figures_valid,
    check_statuses,
    check_same_twice,
    check_antisymmetric,
    check_identical_pair_is_a_tie,
    check_order_of_items,
    check_batch,
    check_ids,
    check_positive_control,
    check_null_answer,
)
