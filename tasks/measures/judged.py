"""Win rates: a judge compares two answers to each item; equal answers are a tie and cost nothing."""

from __future__ import annotations

from collections.abc import Sequence

from harness.contracts import Judge, JudgeItem


def win_rates(judge: Judge, items: Sequence[JudgeItem]) -> tuple[dict[str, float], dict[str, float]]:
    """(P(answer a is better) by item, notes on what the judging cost); an item without a verdict is absent."""
    equal = {item.id: 0.5 for item in items if item.a == item.b}
    asked = [item for item in items if item.a != item.b]
    verdicts = judge.compare(asked) if asked else []
    found = {item.id: v.p_a for item, v in zip(asked, verdicts, strict=True) if v.status == "ok"}
    notes = {
        "judge_tokens": float(sum(verdict.tokens for verdict in verdicts)),
        "judge_cost": float(sum(verdict.cost for verdict in verdicts)),
        "judge_failed": float(len(asked) - len(found)),
    }
    return equal | found, notes
