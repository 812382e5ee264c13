"""Whether two runs in a store gave the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.records.unchanged import may_be_the_same, words
from leaderboards.load import SAMPLES, Entry


def gives_the_same_answers(one: Entry, other: Entry) -> bool:
    """Whether every item has the same answer in both runs; see `harness.records.unchanged`.

    Details are only read where figures do not rule it out.
    """
    if one.samples is None or other.samples is None:
        return False
    mine, theirs = one.samples.values, other.samples.values
    if not may_be_the_same(mine, theirs, one.record.task.main_metric):
        return False
    answers, others = (_answers(entry.path / SAMPLES) for entry in (one, other))
    return answers == others and (any(answers.values()) or mine == theirs)


def _answers(path: Path) -> dict[str, Any]:
    """Item -> its detail without numbers that have a fraction."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if "detail" not in file.schema_arrow.names:
            return {}
        columns: dict[str, list[Any]] = file.read(columns=["id", "detail"]).to_pydict()
    return {item: words(json.loads(text)) for item, text in zip(columns["id"], columns["detail"], strict=True)}
