"""Make the sample of care_protocol that ships with align-harness: the same bytes every time.

    python tools/care_protocol/make.py [--out tasks/samples]

The scenarios beside this script are written by hand, a file for each split. A line is one complaint: things to watch
for, closing questions, general advice, and four scenarios, one for each level, with the argument for the level, two
patients' questions and two sentences of advice. This script composes an answer that keeps the house rules and one
that breaks one or two of them, or has the wrong level, and checks both with the rules that the task uses.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from compose import BREAKS, Complaint, Parts, compose, number, pick, shuffled, size, trimmed, write  # noqa: E402

from tasks.datasets.care_rules import LEVELS, check, count_words, level_of  # noqa: E402

WRONG = "level"
"""The kind of a rejected answer whose level is wrong."""
LONG = "within_length"
SHARES = {
    WRONG: 50,
    "watch_list": 15,
    "closing_question": 12,
    "second_person": 7,
    "no_dose": 6,
    LONG: 5,
    "urgency_named": 5,
}
"""Out of a hundred pairs of a level, how many are first of each kind."""
SECOND = ("watch_list", "closing_question", "watch_list", "closing_question", "second_person", "no_dose")
"""What may be broken beside the first; what a glance at the words gives away stands here once."""
TRIES = 40
SPREAD = (-7, -5, -3, -1, 0, 1, 3, 5, 7)
"""Differences in length, chosen less rejected, that are aimed at: they sum to zero."""
LEAST_FULL = 80
"""An answer beside one that is too long has so many words, so that the two differ little."""


@dataclass(frozen=True)
class Case:
    """One question, and how its rejected answer is to fail."""

    id: str
    complaint: Complaint
    level: str
    question: str
    kinds: tuple[str, ...]
    wrong: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "tasks" / "samples")
    folder = parser.parse_args().out / "care_protocol"
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("pool", "eval"):
        (folder / f"{split}.jsonl").write_text(sample(split), encoding="utf-8")


def sample(split: str) -> str:
    """The text of one split's file."""
    complaints = [json.loads(line) for line in (HERE / f"{split}.jsonl").read_text("utf-8").splitlines()]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(cases(split, complaints)))


# ---------------------------------------------------------------- which pair fails how


def cases(split: str, complaints: Sequence[Complaint]) -> list[Case]:
    """Every question of a split; kinds of failure and wrong levels are dealt out evenly within each level."""
    found: list[Case] = []
    for place, level in enumerate(LEVELS):
        asked = [
            (f"{split}-{at:03d}-{place}-{turn}", complaint, question)
            for at, complaint in enumerate(complaints)
            for turn, question in enumerate(complaint["scenarios"][place]["questions"])
        ]
        dealt = shuffled(list(kinds(len(asked))), split, level)
        others = [other for other in LEVELS if other != level]
        turn_of = itertools.count()
        for (name, complaint, question), kind in zip(asked, dealt, strict=True):
            wrong = others[next(turn_of) % len(others)] if kind == WRONG else level
            found.append(Case(name, complaint, level, question, (kind, *second(kind, name)), wrong))
    return sorted(found, key=lambda case: case.id)


def kinds(count: int) -> Iterator[str]:
    """`count` kinds in the shares above."""
    whole, bounds = 0, []
    for kind, part in SHARES.items():
        whole += part
        bounds.append((kind, whole))
    for place in range(count):
        yield next(kind for kind, bound in bounds if (place + 0.5) / count * whole < bound)


def second(kind: str, *key: object) -> tuple[str, ...]:
    """In every fourth pair another rule is broken too; an answer that is too long fails in nothing else."""
    others = [other for other in SECOND if other != kind]
    return (pick(others, *key, "second"),) if kind != LONG and number(*key, "two") % 4 == 0 else ()


# ---------------------------------------------------------------- pairs


def rows(found: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """One row per question. What a pair's lengths differ by is aimed at, so that both sides are equally long."""
    excess = 0.0
    for case in found:
        parts = chosen(case)
        good = write(parts)
        aim = pick(SPREAD, case.id, "aim") - max(-2, min(2, excess))
        bad = min(rejected(case, parts), key=lambda text: abs(size(good) - size(text) - aim))
        excess += size(good) - size(bad)
        yield {
            "id": case.id,
            "scenario": case.id.rpartition("-")[0],
            "complaint": case.complaint["complaint"],
            "level": case.level,
            "question": case.question,
            "chosen": good,
            "rejected": bad,
            "broken": sorted(case.kinds),
        }


def chosen(case: Case) -> Parts:
    """The answer that keeps every rule, at the right level."""
    for turn in range(TRIES):
        parts = trimmed(compose(case.complaint, case.level, case.id, "chosen", turn, fuller=LONG in case.kinds))
        text = write(parts)
        if all(check(text).values()) and (LONG not in case.kinds or count_words(text) >= LEAST_FULL):
            return parts
    raise SystemExit(f"{case.id}: no answer keeps all rules: {check(text)}\n{text}")


def rejected(case: Case, good: Parts) -> list[str]:
    """Answers that fail in exactly the ways that they should."""
    texts = [write(spoilt(case, good, turn)) for turn in range(TRIES)]
    fitting = [text for text in texts if failures(text, case.level) == set(case.kinds)]
    if not fitting:
        raise SystemExit(
            f"{case.id}: nothing fails in {case.kinds} alone\n{texts[0]}\n{failures(texts[0], case.level)}"
        )
    return fitting


def spoilt(case: Case, good: Parts, turn: int) -> Parts:
    """One attempt at a rejected answer: like content, newly composed, with the rules broken."""
    key = (case.id, "rejected", turn)
    own = case.level if number(*key, "own") % 2 else None
    parts = good if LONG in case.kinds else trimmed(compose(case.complaint, case.wrong, *key, own=own))
    for kind in sorted(case.kinds, key="urgency_named".__eq__):  # last, for the others look up what fits the level
        parts = parts if kind == WRONG else BREAKS[kind](parts, case.complaint, *key)
    return parts


def failures(text: str, level: str) -> set[str]:
    """The rules that an answer breaks, and "level" where it names another level than the right one."""
    broken = {name for name, kept in check(text).items() if not kept}
    return broken | ({WRONG} if level_of(text) not in (level, None) else set())


if __name__ == "__main__":
    main()
