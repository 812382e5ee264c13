"""Are our win rates those that AlpacaEval publishes, and those of the alpaca_eval package?

    python benchmarks/parity_alpaca_eval.py --data PATH
    python benchmarks/parity_alpaca_eval.py --data PATH --models 3      # quick: the first three of each part

PATH holds `alpaca_eval/` as docs/tasks/alpaca_eval.md describes it. Three parts, one table:

a  Raw win rates from `preferences.jsonl.gz` against `published_leaderboard.csv`: equal to 4 decimals.
b  From the full annotations (`annotations/*.jsonl.gz`), our figures against the package's own functions on the same
   rows, raw and length-controlled, with and without difficulties: equal to 1e-9 points.
c  With `df_gamed_ESTIMATE.csv` in place of the hub's `df_gamed.csv`, length-controlled win rates against the published
   ones: 1.0 points apart on average at most, Spearman correlation 0.99 at least (with all models).

Three published models have annotations on fewer than 805 instructions. AlpacaEval numbered the rows that it had, so
that behind a gap each row got the difficulty of another instruction; to compare with what it published, part c numbers
them likewise and shows the figure with the instructions' own difficulties beside it. The task refuses such gaps.

Exit status 1 when a bar fails.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import logging
import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError
from tasks.alpaca_eval import win_rates
from tasks.measures.length_control import Comparisons, Gamed, length_controlled, read_gamed

DECIMALS = 4
EQUAL = 1e-9
"""Percentage points that two sums in another order may differ by."""
MEAN_POINTS = 1.0
SPEARMAN = 0.99
TIES = (0.0, 1.5)
GLM = {"with df_gamed": "length_controlled_v1", "minimal": "length_controlled_minimal"}

Published = Mapping[str, Mapping[str, float]]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """One comparison, in percentage points."""

    part: str
    model: str
    what: str
    ours: float
    theirs: float
    remark: str = ""

    @property
    def difference(self) -> float:
        """Points between the two."""
        return abs(self.ours - self.theirs)


def main() -> int:
    """Print the table and the bars, return the exit status."""
    arguments = _parser().parse_args()
    folder = arguments.data / "alpaca_eval"
    published = read_published(folder / "published_leaderboard.csv")
    gamed = read_gamed(_csv(folder / "df_gamed_ESTIMATE.csv"))
    slim = _by_model(folder / "preferences.jsonl.gz", published, arguments.models)
    full = sorted((folder / "annotations").glob("*.jsonl.gz"))[: arguments.models]
    lines = [line for model, rows in slim.items() for line in against_leaderboard(model, rows, published[model], gamed)]
    with package(folder / "df_gamed_ESTIMATE.csv") as theirs:
        for path in full:
            lines += against_package(path.name.removesuffix(".jsonl.gz"), _lines(path), gamed, theirs)
    for line in sorted(lines, key=lambda line: line.part):
        print(f"{line.part}  {line.model:28} {line.what:24} {line.ours:10.5f} {line.theirs:10.5f} "
              f"{line.difference:.2e}{line.remark}")  # fmt: skip
    found = bars(lines, whole=arguments.models is None)
    for name, (said, held) in found.items():
        print(f"{'holds' if held else 'FAILS':6} {name}: {said}")
    if arguments.json:
        arguments.json.write_text(json.dumps({name: held for name, (_, held) in found.items()}), encoding="utf-8")
    return 0 if all(held for _, held in found.values()) else 1


def against_leaderboard(
    model: str, rows: Sequence[Row], published: Mapping[str, float], gamed: Gamed
) -> Iterator[Line]:
    """Parts a and c of one model."""
    raw, discrete = _raw([row["preference"] for row in rows])
    yield Line("a", model, "win rate", raw, published["win_rate"])
    yield Line("a", model, "discrete win rate", discrete, published["discrete_win_rate"])
    deltas = [row["len_baseline"] - row["len_model"] for row in rows]
    numbered = _controlled(rows, deltas, [row["row"] for row in rows], gamed)
    own = _controlled(rows, deltas, [row["index"] for row in rows], gamed)
    gaps = "" if own == numbered else f"  ({len(rows)} rows; with their own difficulties {own:.3f})"
    yield Line("c", model, "length-controlled", numbered, published["length_controlled_winrate"], gaps)


def against_package(model: str, rows: Sequence[Row], gamed: Gamed, theirs: Any) -> Iterator[Line]:
    """Part b of one model. `theirs` gives the package's figures for rows and the name of a fit."""
    raw, discrete = _raw([row["preference"] for row in rows])
    found = {what: theirs(rows, name) for what, name in GLM.items()}
    yield Line("b", model, "win rate", raw, found["minimal"]["win_rate"])
    yield Line("b", model, "discrete win rate", discrete, found["minimal"]["discrete_win_rate"])
    deltas = [len(row["output_1"]) - len(row["output_2"]) for row in rows]
    for what, figures in found.items():
        ours = _controlled(rows, deltas, range(len(rows)), gamed if what == "with df_gamed" else None)
        yield Line("b", model, f"length-contr. {what}", ours, figures["length_controlled_winrate"])


@contextmanager
def package(difficulties: Path) -> Iterator[Any]:
    """The package's own function on rows at hand, given a file instead of its download, and writing none."""
    import pandas as pd
    import sklearn

    with warnings.catch_warnings(), sklearn.config_context():
        warnings.simplefilter("ignore")
        from alpaca_eval.metrics import glm_winrate

        fetch, glm_winrate.hf_hub_download = glm_winrate.hf_hub_download, lambda **_: str(difficulties)
        logging.disable(logging.WARNING)
        try:
            yield lambda rows, name: glm_winrate.get_length_controlled_winrate(
                pd.DataFrame(list(rows)), glm_name=name, save_weights_dir=None
            )
        finally:
            glm_winrate.hf_hub_download = fetch
            logging.disable(logging.NOTSET)


def bars(lines: Sequence[Line], *, whole: bool) -> dict[str, tuple[str, bool]]:
    """What was asked for, what was found, and whether it holds; ranks need all models."""
    raw, exact, controlled = ([line for line in lines if line.part == part] for part in "abc")
    rounded = sum(round(line.ours, DECIMALS) == round(line.theirs, DECIMALS) for line in raw)
    apart = [line.difference for line in controlled]
    mean = math.fsum(apart) / len(apart)
    found = {
        "a": (f"{rounded} of {len(raw)} published raw figures equal to {DECIMALS} decimals", rounded == len(raw) > 0),
        "b": (
            f"largest difference to the package {max(line.difference for line in exact):.1e} points, {EQUAL} allowed",
            all(line.difference <= EQUAL for line in exact),
        ),
        "c": (f"{mean:.3f} points from the published on average ({max(apart):.3f} at most), {MEAN_POINTS} allowed",
              mean <= MEAN_POINTS),
    }  # fmt: skip
    if whole:
        ranks = spearman([line.ours for line in controlled], [line.theirs for line in controlled])
        found["c ranks"] = (f"Spearman {ranks:.4f} over {len(controlled)} models, {SPEARMAN} asked", ranks >= SPEARMAN)
    return found


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b)[0])


def read_published(path: Path) -> dict[str, dict[str, float]]:
    """The published leaderboard's figures, in percentage points, by model."""
    names = ("win_rate", "discrete_win_rate", "length_controlled_winrate")
    return {row[""]: {name: float(row[name]) for name in names} for row in _csv(path)}


def _raw(preferences: Sequence[float]) -> tuple[float, float]:
    found = [win_rates(_p(value)) for value in preferences]
    raw, discrete = (
        100 * math.fsum(row[name] for row in found) / len(found) for name in ("win_rate", "discrete_win_rate")
    )
    return raw, discrete


def _p(preference: float) -> float:
    """P(model better) of the package's preference: 1 to 2, a tie also 0."""
    return 0.5 if preference in TIES else preference - 1


def _controlled(rows: Sequence[Row], deltas: Sequence[float], places: Sequence[int], gamed: Gamed | None) -> float:
    comparisons = Comparisons([_p(row["preference"]) for row in rows], deltas, places)
    found = length_controlled(comparisons, gamed, resamples=0)
    return math.nan if found is None else 100 * found.value


def _by_model(path: Path, published: Published, count: int | None) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in _lines(path):
        if row["model"] in published:
            found.setdefault(row["model"], []).append(row)
    return dict(list(found.items())[:count])


def _lines(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds alpaca_eval/")
    parser.add_argument("--models", type=int, help="only the first so many of each part")
    parser.add_argument("--json", type=Path, help="also write which bars hold")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (HarnessError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
