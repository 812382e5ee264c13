"""A store whose site has everything: budgets, controls, failures, judged texts, and texts of strangers that attack."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.records.seals import write_sealed
from harness.stats import mean_interval
from harness.util.hashes import file_hash
from tests.unit.leaderboards.test_leaderboards import record

ATTACK = (
    "</script><script>window.attacked=1</script><img src=x onerror=window.attacked=2> {{ 7*7 }} {% raw %} ${7*7} "
    "\x1b[31mred\x1b[0m \u202eback [a](javascript:window.attacked=3) <!-- =HYPERLINK(1) ]]> &lt;b&gt; '\">"
    "<svg/onload=window.attacked=4>"
)
"""Script tags, handlers, templates, terminal escapes, text turned round, Markdown, a comment, a formula."""
BUDGETS = (8, 16, 32, 64, 128)


def fill(store: Path, *, items: int = 40, draws: int = 2, budgets: tuple[int, ...] = BUDGETS) -> None:
    """Runs of base, two methods, a control, a degenerate and a failed method at several budgets."""
    for labels in budgets:
        changes = {"budget__labels": labels, "budget__preset": str(labels)}
        if labels == budgets[0]:
            put(store, "base", items, 0.4, 0, changes)
        for draw in range(draws):
            gained = 0.05 * budgets.index(labels)
            put(store, "sft", items, 0.45 + gained, draw, changes)
            put(store, "dpo", items, 0.5 + gained, draw, {**changes, "aligner__changed": {"note": ATTACK}})
            put(store, "random", items, 0.4, draw, changes)
            put(store, "gem", items, 0.4, draw, {**changes, "status": "degenerate", "reason": f"too few {ATTACK}"})
            failure = {"reason": ATTACK, "traceback": ATTACK}
            put(store, "kto", 0, 0.0, draw, {**changes, "status": "failed", "failure": failure})


def put(store: Path, aligner: str, items: int, level: float, draw: int, changes: Mapping[str, Any]) -> Path:
    """Write a run that is right on about `level` of its items; without items it has no samples."""
    run = f"{aligner}-{changes['budget__labels']}-{draw}"
    chance = random.Random(run)
    values = {f"q{i:03}": float(chance.random() < level) for i in range(items)}
    got = mean_interval(list(values.values()), list(values)) if values else None
    scores = {"accuracy": {"mean": got.mean, "ci95": got.ci95, "n": got.n}} if got else {}
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    pairs = [f"{aligner != 'base'}-{n}" for n in range(2)] if aligner != "base" else []
    dotted |= {"seed.draw": draw, "data.pair_ids": [f"d{draw}{p}" for p in pairs]}
    (store / run).mkdir(parents=True)
    if values:
        details = [json.dumps(_detail(aligner, item, right)) for item, right in values.items()]
        columns = {"id": list(values), "unit": list(values), "value.accuracy": list(values.values()), "detail": details}
        pq.write_table(pa.table(columns), store / run / "samples.parquet")
        dotted["manifest.files"] = {"samples.parquet": file_hash(store / run / "samples.parquet")}
    made = record(run, aligner, scores, dotted)
    write_sealed(store / run / "record.json", made.model_dump(mode="json"))
    return store / run


def _detail(aligner: str, item: str, right: float) -> dict[str, Any]:
    answer = f"The answer of {aligner} to {item} is {'right' if right else 'wrong'}."
    return {
        "prompt": [{"role": "user", "content": f"What is asked in {item}? {ATTACK}"}],
        "output": f"{answer} {ATTACK if item == 'q000' else ''}",
        "reference": f"right {ATTACK}",
        "verdict": {"per_order": [0.25, 0.75], "reply": ATTACK},
    }
