"""Make the samples of gsm8k and math500 that ship with align-harness: the same bytes every time.

    python tools/make_math_samples.py [--out tasks/samples]

Problems are drawn from the templates beside this script (`math_word_problems`, `math_competition`), each template in
one split only. A draw is kept when every figure is fit to be asked about, and its answer is computed twice: step by
step as the solution goes, and by another route (a formula in the parameters; counting, substituting, or sympy).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import math_competition  # noqa: E402
import math_word_problems  # noqa: E402
from math_word_problems import Template  # noqa: E402

from tasks.datasets.worked_solutions import Unsound  # noqa: E402
from tasks.pools.false_steps import alter  # noqa: E402

SEED = 20
PER_TEMPLATE = 3
"""Rows of one template."""
TRIES = 20_000
"""Draws of one row before its template is given up as too narrow."""
PEOPLE = (
    ("Amara", "she"), ("Bastien", "he"), ("Chidi", "he"), ("Dorothea", "she"), ("Emre", "he"), ("Freya", "she"),
    ("Goran", "he"), ("Hanae", "she"), ("Ilya", "he"), ("Jomo", "he"), ("Katrin", "she"), ("Lucia", "she"),
    ("Mateo", "he"), ("Nilufar", "she"), ("Oskar", "he"), ("Priya", "she"), ("Quentin", "he"), ("Rania", "she"),
    ("Soren", "he"), ("Thandi", "she"), ("Umar", "he"), ("Vesna", "she"), ("Wiebke", "she"), ("Yusuf", "he"),
)  # fmt: skip
_STEP = re.compile(r"(\$?)\[\[(\w+) (=|~) (.+?)\]\]")

_PRICE = re.compile(r"\$\{(\w+)\}")

Row = dict[str, Any]
Kind = Callable[[random.Random], math_competition.Problem]
Values = dict[str, Fraction]


class Unfit(Exception):
    """A draw whose figures nobody would ask about."""


def main() -> None:
    """Write the four files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "tasks" / "samples", help="folder of the samples")
    out: Path = parser.parse_args().out
    for name, text in files().items():
        write(out / name, text)
        print(f"{name}: {text.count(chr(10))} rows")


def files() -> dict[str, str]:
    """Text of every sample file by its path below the samples' folder."""
    made = {
        "gsm8k/pool.jsonl": word_problems(math_word_problems.POOL),
        "gsm8k/eval.jsonl": word_problems(math_word_problems.EVAL),
        "math500/pool.jsonl": competition(math_competition.POOL, "pool"),
        "math500/eval.jsonl": competition(math_competition.EVAL, "eval"),
    }
    return {name: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) for name, rows in made.items()}


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


# ---------------------------------------------------------------- word problems


def word_problems(templates: Iterable[Template]) -> list[Row]:
    """Rows of GSM8K's format, `PER_TEMPLATE` of each template, one of every template before the second of any."""
    drawn = [list(rows_of(template)) for template in templates]
    return [row for turn in zip(*drawn, strict=True) for row in turn]


def rows_of(template: Template) -> Iterator[Row]:
    """Different rows of one template. Raises RuntimeError where its ranges hardly ever fit."""
    rng = random.Random(f"{SEED} {template.key}")
    people = rng.sample(PEOPLE, PER_TEMPLATE)
    seen: set[str] = set()
    for person in people:
        row = next(row for row in attempts(template, person, rng) if row["question"] not in seen)
        seen.add(row["question"])
        yield row


def attempts(template: Template, person: tuple[str, str], rng: random.Random) -> Iterator[Row]:
    """Fit draws of a template, without end."""
    for _ in range(TRIES):
        values = {name: rng.choice(figures(span)) for name, span in template.ranges.items()}
        try:
            yield filled(template, values, person)
        except Unfit:
            continue
    raise RuntimeError(f"template {template.key!r} gives no fit row in {TRIES} draws; wider ranges were expected")


def figures(span: str) -> list[Fraction]:
    """The figures of a range `low-high` or `low-high:step`, both ends included."""
    ends, _, apart = span.partition(":")
    low, high = map(Fraction, ends.split("-"))
    by = Fraction(apart or 1)
    return [low + by * count for count in range(int((high - low) / by) + 1)]


def filled(template: Template, values: Values, person: tuple[str, str]) -> Row:
    """One row. Raises Unfit, and RuntimeError where the two ways of computing the answer differ."""
    words = {**{name: plain(value) for name, value in values.items()}, **pronouns(*person)}
    priced = _PRICE.sub(lambda found: f"${money(values[found[1]])}", template.question)
    question = priced.format(**words)
    results: Values = {}
    solution = _STEP.sub(lambda found: step(*found.groups(), values, results), template.solution).format(**words)
    answer = list(results.values())[-1]
    if answer != compute(template.answer, values):
        raise RuntimeError(f"template {template.key!r}: its steps give {answer} and its formula another answer")
    fit(question, solution, plain(answer), [*values.values(), *results.values()], template)
    return {"question": question, "answer": f"{solution}\n#### {plain(answer)}"}


def fit(question: str, solution: str, answer: str, figures_used: list[Fraction], template: Template) -> None:
    """Raises Unfit where two figures are equal, or no false step can be put into the solution soundly."""
    constant = {name for name, span in template.ranges.items() if len(figures(span)) == 1}
    if len(set(figures_used)) < len(figures_used) - len(constant):
        raise Unfit("equal figures")
    try:
        alter(question, solution, answer, "fit")
    except Unsound as unsound:
        raise Unfit(str(unsound)) from unsound


def step(sign: str, name: str, kind: str, expression: str, values: Values, results: Values) -> str:
    """A step written out, computed and annotated; its result, whole where `kind` is "=", is a value of later steps."""
    known = {**values, **results}
    results[name] = result = compute(expression, known)
    if result <= 1 or (kind == "=" and result.denominator != 1):
        raise Unfit("small or fractional")
    written = re.sub(r"[a-z_]\w*", lambda found: plain(known[found[0]]), expression)
    return f"{written} = {sign}<<{written.replace(' ', '')}={plain(result)}>>{money(result) if sign else plain(result)}"


def compute(expression: str, values: Mapping[str, Fraction]) -> Fraction:
    """The exact value of a template's expression."""
    exact = re.sub(r"(?<![\w.])\d+", lambda found: f"Fraction({found[0]})", expression)
    value: Fraction = eval(exact, {"__builtins__": {}, "Fraction": Fraction}, dict(values))  # templates are ours
    return value


def plain(value: Fraction) -> str:
    """A number of at most two decimals. Raises Unfit for any other."""
    if 100 % value.denominator:
        raise Unfit("fractional")
    return f"{float(value):.2f}".rstrip("0").rstrip(".")


def money(value: Fraction) -> str:
    """Whole dollars, or dollars and cents."""
    return plain(value) if value.denominator == 1 else f"{float(value):.2f}"


def pronouns(name: str, he: str) -> dict[str, str]:
    """What a template may call its person."""
    his, him = {"he": ("his", "him"), "she": ("her", "her")}[he]
    return {"who": name, "he": he, "He": he.capitalize(), "his": his, "His": his.capitalize(), "him": him}


# ---------------------------------------------------------------- competition problems


def competition(kinds: Iterable[Kind], split: str) -> list[Row]:
    """Rows of MATH-500's format, `PER_TEMPLATE` of each kind, one of every kind before the second of any."""
    drawn = [list(competition_rows(kind, split)) for kind in kinds]
    return [row for turn in zip(*drawn, strict=True) for row in turn]


def competition_rows(kind: Kind, split: str) -> Iterator[Row]:
    """Different rows of one kind of problem. Raises RuntimeError where it hardly ever gives a new one."""
    rng = random.Random(f"{SEED} {kind.__name__}")
    made = list(dict.fromkeys(kind(rng) for _ in range(10 * PER_TEMPLATE)))[:PER_TEMPLATE]
    if len(made) < PER_TEMPLATE:
        raise RuntimeError(f"kind {kind.__name__!r} gives too few different problems; wider ranges were expected")
    for number, one in enumerate(made, start=1):
        yield {
            "problem": one.problem,
            "solution": one.solution,
            "answer": one.answer,
            "subject": one.subject,
            "level": f"Level {one.level}",
            "unique_id": f"sample/{split}/{kind.__name__}_{number}.json",
        }


if __name__ == "__main__":
    main()
