"""What a pool leaves out of its rows, as lines for people."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.contracts import CountsRows, LeftOut, Pool, Source

MUCH = 0.1
"""Share of the rows above which leaving them out is a warning, and no mere line."""
SHOWN = 3
"""Reasons whose first row is shown."""


@dataclass(frozen=True, slots=True)
class Said:
    """What was left out of one split, and how it is told."""

    rows: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    line: str = ""
    """Empty where nothing was left out."""
    warning: str = ""
    """Empty where that was a tenth of the rows or less."""


def left_out(pool: Pool, source: Source, split: str = "pool", leaks: int = 0) -> Said:
    """Count and tell what a split's rows do not give; `leaks` are the pairs that stand in the evaluation."""
    found = pool.left_out(source, split) if isinstance(pool, CountsRows) else LeftOut(0, {})
    reasons = {**found.reasons, **({"leak": leaks} if leaks else {})}
    rows, gone = max(found.rows, leaks), sum(reasons.values())
    if not gone:
        return Said(rows, reasons)
    counts = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1]))
    of = f" of {rows}" if found.rows else ""
    name = pool.name if split == "pool" else f"{pool.name}, held out"
    line = f"{name}: {gone}{of} rows left out: {counts}"
    if examples := [found.examples[reason] for reason in reasons if reason in found.examples][:SHOWN]:
        line += f" (the first: {'; '.join(examples)})"
    much = found.rows and gone > MUCH * found.rows
    return Said(rows, reasons, line, f"more than a tenth of the rows of {name} were left out: {counts}" if much else "")
