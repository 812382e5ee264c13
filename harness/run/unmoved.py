"""A fit that moved weights and no answer: the silent failure of an adapter that is not applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.contracts import SampleRow


def unmoved(rows: Sequence[SampleRow], base: Mapping[str, SampleRow] | None, change: float | None) -> tuple[str, ...]:
    """One sentence where weights moved by `change` and every item is answered exactly as by the base model.

    Exactly: all values and details that both rows have, log-probabilities to the last digit. Items that base has not
    answered say nothing.
    """
    shared = [row for row in rows if base is not None and row.id in base]
    if base is None or not change or not shared or not all(_same(row, base[row.id]) for row in shared):
        return ()
    return (
        f"the fit moved the adapter's weights by {change:.3g}, and all {len(shared)} items are answered exactly as by "
        "the base model: the adapter may not have been applied",
    )


def _same(row: SampleRow, base: SampleRow) -> bool:
    pairs = ((row.values, base.values), (row.detail, base.detail))
    return all(ours[key] == theirs[key] for ours, theirs in pairs for key in ours.keys() & theirs.keys())
