"""Whether two runs gave the same answers. Figures are left out of the comparison: their last digits differ anyway."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leaderboards.load import SAMPLES, Entry


def gives_the_same_answers(one: Entry, other: Entry) -> bool:
    """Whether every item has the same answer in both runs.

    Details are only read where every metric that says right or wrong is the same on every item, and the main metric
    where there is none: shares of probability move without any answer changing. Texts and choices are compared, and
    where a task keeps none, all its figures.
    """
    if one.samples is None or other.samples is None:
        return False
    mine, theirs = one.samples.values, other.samples.values
    told = [name for name, values in mine.items() if _right_or_wrong(values)] or [one.record.task.main_metric]
    if any(not mine.get(name) or mine[name] != theirs.get(name) for name in told):
        return False
    answers, others = (_answers(entry.path / SAMPLES) for entry in (one, other))
    return answers == others and (any(answers.values()) or mine == theirs)


def _right_or_wrong(values: Mapping[str, float]) -> bool:
    return set(values.values()) <= {0.0, 0.5, 1.0}


def _answers(path: Path) -> dict[str, Any]:
    """Item -> its detail without numbers that have a fraction."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if "detail" not in file.schema_arrow.names:
            return {}
        columns: dict[str, list[Any]] = file.read(columns=["id", "detail"]).to_pydict()
    return {item: _words(json.loads(text)) for item, text in zip(columns["id"], columns["detail"], strict=True)}


def _words(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: kept for name, part in value.items() if (kept := _words(part)) is not None}
    if isinstance(value, list):
        return [_words(part) for part in value]
    return None if isinstance(value, float) else value
