"""What a judge's win rate is worth once it is corrected by a few verdicts of GPT-4 (prediction-powered inference).

    python benchmarks/judge_correction.py --data PATH --judge similarity:instruction --gold 100

For every model whose answers AlpacaEval's files hold with GPT-4's verdict on each: GPT-4's win rate on all items, the
judge's, GPT-4's on a random part, and the judge's corrected by that part. The last two have an interval that should
hold the first. No run of this project has GPT-4's verdicts on a random part of its answers: no table shows such a
figure.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.contracts import JudgeItem, Message
from harness.plugins.registry import load
from harness.stats import mean_interval
from harness.stats.corrected import corrected_mean

BASELINE = "gpt4_1106_preview"


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a gzipped file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def judged(judge: Any, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """P(the model's answer is better) by the judge, for every instruction that it has a verdict on."""
    items = [
        JudgeItem(str(i), (Message("user", row["instruction"]),), row["output_2"], row["output_1"], row["output_1"])
        for i, row in enumerate(rows)
    ]
    verdicts = zip(rows, judge.compare(items), strict=True)
    return {row["instruction"]: verdict.p_a for row, verdict in verdicts if verdict.status == "ok"}


def line(model: str, rows: Sequence[dict[str, Any]], values: dict[str, float], gold: int, seed: int) -> str:
    """A row of the table."""
    dear = {row["instruction"]: float(row["preference"]) - 1 for row in rows if row["instruction"] in values}
    part = random.Random(seed).sample(sorted(dear), gold)
    alone = mean_interval([dear[item] for item in part], part)
    found = corrected_mean({item: dear[item] for item in part}, values)
    cells = (
        model,
        f"{sum(dear.values()) / len(dear):.3f}",
        f"{sum(values.values()) / len(values):.3f}",
        f"{alone.mean:.3f} [{alone.ci95[0]:.3f}, {alone.ci95[1]:.3f}]" if alone.ci95 else f"{alone.mean:.3f}",
        f"{found.mean:.3f} [{found.ci95[0]:.3f}, {found.ci95[1]:.3f}]",
        f"{found.weight:.2f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--judge", default="similarity:instruction")
    parser.add_argument("--gold", type=int, default=100)
    parser.add_argument("--items", type=int, default=400, help="a random part of the 805")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    judge = load().judge(asked.judge)()
    print(f"| model | GPT-4, all {asked.items} | {asked.judge} | GPT-4, {asked.gold} | corrected | weight |")
    print("| :-- | --: | --: | --: | --: | --: |")
    for path in sorted((asked.data / "alpaca_eval" / "annotations").glob("*.jsonl.gz")):
        model = path.name.removesuffix(".jsonl.gz")
        if model == BASELINE:
            continue
        every = rows_of(path)
        rows = random.Random(asked.seed).sample(every, asked.items)
        print(line(model, rows, judged(judge, rows), asked.gold, asked.seed), flush=True)


if __name__ == "__main__":
    main()
