"""The cells of care_protocol's table, in an order that gives a table worth reading early; resumable.

    python benchmarks/care_cells.py --store runs/care                 # all of them: about 20 hours of two cores
    python benchmarks/care_cells.py --store runs/care --only dpo      # one method's, its controls included
    python benchmarks/care_cells.py --store runs/care --draw 0        # one draw's, while another process does another's
    python benchmarks/care_cells.py --dry                             # the commands alone

At 32 labels every method and every control, on draw 0 first, then on draws 1 and 2, with the training seed equal to the
draw; then at 8 and 128 labels what a learning curve needs. A cell whose record is in the store is not run again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

DRAWS = (0, 1, 2)
METHODS = (
    *("base", "sft", "dpo", "random", "dpo[labels=shuffled]", "sft[labels=shuffled]", "orpo", "icl", "gem", "simpo"),
    *("gem[optimise=none]", "gem[weights=random]", "gem[labels=shuffled]", "irpo", "kto", "ipo", "best_of_n"),
    *("selfie", "grpo", "gpo"),
)
"""At 32 labels."""
CURVE = ("sft", "dpo", "gem", "random", "dpo[labels=shuffled]")
"""At 8 and 128 labels."""
HOLD_NOTHING_OUT = (8, 32)
"""Presets that keep the last state by themselves; the points of a learning curve all do."""


def cells() -> Iterator[tuple[int, str, int]]:
    """(labels, method, draw) in the order in which they are run; base needs no draw."""
    for draw in DRAWS:
        yield from ((32, name, draw) for name in METHODS if name != "base" or draw == 0)
    for draw in DRAWS:
        yield from ((labels, name, draw) for labels in (8, 128) for name in CURVE)


def command(labels: int, name: str, draw: int, store: Path) -> list[str]:
    asked = ["--aligner", name, "--task", "care_protocol", "--data", "sample", "--budget", str(labels)]
    return [
        *(sys.executable, "-m", "harness", "run", *asked),
        *("--draw-seed", str(draw), "--seed", str(draw), "--store", str(store), "--quiet", "--json"),
        *(() if labels in HOLD_NOTHING_OUT else ("--set", "budget.selection=last")),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, default=Path("runs"))
    parser.add_argument("--only", help="a method: its rows alone")
    parser.add_argument("--draw", type=int, choices=DRAWS, help="one draw alone, so that two processes share the work")
    parser.add_argument("--dry", action="store_true", help="print the commands")
    options = parser.parse_args()
    for labels, name, draw in cells():
        if options.only not in (None, name.partition("[")[0]) or options.draw not in (None, draw):
            continue
        words = command(labels, name, draw, options.store)
        if options.dry:
            print(" ".join(words))
            continue
        started = time.monotonic()
        done = subprocess.run(words, check=False, stdout=subprocess.DEVNULL)
        took = f"{time.monotonic() - started:.0f} s"
        print(f"{labels} labels, draw {draw}, {name}: status {done.returncode}, {took}", flush=True)


if __name__ == "__main__":
    main()
