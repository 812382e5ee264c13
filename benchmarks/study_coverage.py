"""How often a study's intervals hold, and how often its tests find what is not there: 1,000 studies of each kind.

    python benchmarks/study_coverage.py --out study-coverage.json

Two methods that are equally good on average are trained on each draw of labels, with one training seed, and answer the
same questions. Draws, seeds, questions, and the rest have variances of their own; answers are shares or 0/1. Beside the
difference at one budget, the number of labels that reach the reference's score is simulated on curves whose truth is
known. The seed decides everything.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.stats.crossed import crossed_difference
from harness.stats.curves import labels_to_reach

DRAW_SD, SEED_SD, QUESTION_SD, REST_SD = 0.03, 0.02, 0.2, 0.15
BUDGETS = (8, 16, 32, 64, 128)
FLOOR, SLOPE, AHEAD = 0.40, 0.04, 1.0
"""A curve's value at 8 labels, what a doubling adds, and how many doublings the method is ahead of the reference."""
TRUE_LABELS = 64.0
"""With so many labels the method has what the reference has at 128."""

Values = dict[str, float]


def study(rng: np.random.Generator, draws: int, questions: int, binary: bool) -> tuple[list[Values], list[Values]]:
    """Two equally good methods' values by draw and question."""
    question = rng.normal(0, QUESTION_SD, questions)
    return tuple(answers(rng, 0.5, question, draws, binary) for _ in range(2))  # type: ignore[return-value]


def answers(
    rng: np.random.Generator,
    mean: float,
    question: np.ndarray,
    draws: int,
    binary: bool,
    skill: np.ndarray | None = None,
) -> list[Values]:
    """One method's values; `skill` (draws,) are its draws' effects, drawn where they are not given."""
    skill = rng.normal(0, math.hypot(DRAW_SD, SEED_SD), draws) if skill is None else skill
    share = mean + skill[:, None] + question[None, :]
    # For 0/1 answers a question's chance is cut to [0, 1] the same way for both methods.
    rows = rng.random(share.shape) < np.clip(share, 0, 1) if binary else share + rng.normal(0, REST_SD, share.shape)
    return [{f"q{i}": float(value) for i, value in enumerate(row)} for row in rows]


def differences(seed: int, studies: int, draws: int, questions: int, binary: bool) -> Mapping[str, float]:
    """Coverage of the interval of a difference that is 0, and how often p is below 5 %."""
    rng = np.random.default_rng(seed)
    units = {f"q{i}": f"q{i}" for i in range(questions)}
    covered = found = 0
    for _ in range(studies):
        made = crossed_difference(*study(rng, draws, questions, binary), units)
        low, high = made.ci95 or (-1.0, 1.0)
        covered += low <= 0 <= high
        found += made.p < 0.05
    return {"coverage": covered / studies, "false_positives": found / studies}


def efficiencies(seed: int, studies: int, draws: int, questions: int) -> Mapping[str, float]:
    """Coverage of the interval of the number of labels that reach the reference's score at 128."""
    rng = np.random.default_rng(seed)
    units = {f"q{i}": f"q{i}" for i in range(questions)}
    covered = 0
    for number in range(studies):
        question = rng.normal(0, QUESTION_SD, questions)
        skill = rng.normal(0, DRAW_SD, draws)
        curve = {
            labels: answers(rng, FLOOR + SLOPE * (place + AHEAD), question, draws, False, skill + _seeds(rng, draws))
            for place, labels in enumerate(BUDGETS)
        }
        target = answers(rng, FLOOR + SLOPE * (len(BUDGETS) - 1), question, draws, False, skill + _seeds(rng, draws))
        found = labels_to_reach(curve, target, units, seed=number, resamples=500)
        covered += found.ci95[0] <= TRUE_LABELS <= found.ci95[1]
    return {"coverage": covered / studies}


def _seeds(rng: np.random.Generator, draws: int) -> np.ndarray:
    return rng.normal(0, SEED_SD, draws)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("study-coverage.json"))
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--seed", type=int, default=16)
    asked = parser.parse_args()
    found = {}
    for draws in (3, 6, 10):
        for binary in (False, True):
            name = f"{draws} draws, {'0/1 answers' if binary else 'shares'}"
            found[name] = differences(asked.seed, asked.studies, draws, asked.questions, binary)
            print(name, found[name], flush=True)
        name = f"{draws} draws, labels to reach the reference"
        found[name] = efficiencies(asked.seed, asked.studies, draws, asked.questions)
        print(name, found[name], flush=True)
    asked.out.write_text(json.dumps({"seed": asked.seed, "studies": asked.studies, "found": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
