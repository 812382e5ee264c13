"""A table in plain words: what it can and cannot show, and the smallest difference that it could have seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.contracts import BASE
from harness.util.safe_text import line
from leaderboards.table import MethodRow, Table, Versus

UNFIT = ("degenerate", "over_cap", "failed")
"""States whose reason stands among a row's remarks, behind the state's name."""
ADVICE = (
    ("equal once cut", "raise --set lengths.completion"),
    ("by the marker", "let samples end: raise --set lengths.new_tokens, the rate of fine-tuning, or --budget"),
    ("samples were cut off", "let samples end: raise --set lengths.new_tokens"),
    ("no unlabelled prompts", "take a pool with more prompts than the labels use, or a smaller --budget"),
    ("the cap", "raise --cap-flops"),
)
"""What to change, by what the reason says."""
OTHERWISE = "raise --budget"


def closing(table: Table) -> list[str]:
    """Sentences for whoever reads the table: findings, their limit, rows that are none, draws."""
    return [line(text) for text in (*_findings(table), *_limit(table), *_unfit(table), *_draws(table))]


def nothing_told_apart(table: Table) -> bool:
    """Whether no method differs from base by more than chance makes it."""
    return not any(row.verdict in ("better", "worse") for row in table.rows)


def _findings(table: Table) -> Iterator[str]:
    metric = table.setting.main_metric
    tested = [row for row in table.rows if row.verdict is not None]
    if not tested:
        yield f"No method in this table is compared with {BASE}, so that it shows nothing about methods."
        return
    for word in ("better", "worse"):
        named = [f"{row.label} ({_difference(row, metric):+.3f})" for row in tested if row.verdict == word]
        if named:
            yield f"On {metric}, {word} than {BASE}: {', '.join(named)}."
    open_ = [row.label for row in tested if row.verdict == "cannot tell"]
    if nothing_told_apart(table):
        yield f"Nothing in this table can be told apart from {BASE}: {_few(open_)} may be better, worse or the same."
    elif open_:
        yield f"The table cannot tell {_few(open_)} from {BASE}."


def _limit(table: Table) -> Iterator[str]:
    """The smallest difference; only where a row is compared."""
    if table.family == 0:
        return
    items = f"{table.n_units} independent items"
    if table.mdd is None:
        yield f"No difference in {table.setting.main_metric}, however large, would have been seen reliably on {items}."
    else:
        yield (
            f"The smallest difference in {table.setting.main_metric} that it would have seen four times in five is "
            f"{table.mdd:.3f}, on {items}; a smaller difference may be there all the same."
        )


def _unfit(table: Table) -> Iterator[str]:
    for row in table.rows:
        for remark in row.remarks:
            if remark.startswith(UNFIT):
                advice = _advice(remark)
                yield f"{row.label}: {remark}. Such a run is no result of its method; to change that, {advice}."


def _draws(table: Table) -> Iterator[str]:
    rows = [row for row in table.rows if row.role != "base" and row.n_scored]
    if rows and len(table.setting.draw_seeds) == 1:
        seeds = max(len(row.seeds) for row in rows)
        and_seed = ", and one training seed nothing of other seeds" if seeds == 1 else ""
        yield f"All rows learnt from one draw of the labels: it says nothing of other draws{and_seed}."


def _difference(row: MethodRow, metric: str) -> float:
    versus: Versus | None = row.metrics[metric].versus_base
    return versus.difference if versus else 0.0


def _few(labels: Sequence[str]) -> str:
    """The names, or how many there are beyond three."""
    return ", ".join(labels) if len(labels) <= 3 else f"{len(labels)} methods"


def _advice(remark: str) -> str:
    return next((advice for part, advice in ADVICE if part in remark), OTHERWISE)
