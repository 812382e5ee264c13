"""Runs for other tools: alpaca_eval's model outputs, and lines as lm-eval's `--log_samples` writes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from harness.contracts import HarnessError, SampleRow
from harness.records.schema import Record
from harness.records.shown import messages, shown

TARGETS = ("gold", "reference", "chosen", "baseline")
"""What is right of a row, or comes nearest to it: the first that it has."""


def model_outputs(record: Record, rows: Sequence[SampleRow]) -> list[dict[str, Any]]:
    """What alpaca_eval reads as `model_outputs.json`. Raises HarnessError for a run in which nothing was written."""
    written = [row for row in rows if isinstance(row.detail.get("output"), str)]
    if not written:
        raise HarnessError(
            f"run {record.id} of task {record.task.name} holds no written answers; alpaca_eval takes runs of tasks "
            "that generate: alpaca_eval, medical_dialogue, care_protocol"
        )
    name = f"{record.aligner.name}-{record.budget.preset}-seed{record.seed.training}"
    return [
        {
            "dataset": record.task.name,
            "instruction": _instruction(row),
            "output": row.detail["output"],
            "generator": name,
        }
        for row in written
    ]


def _instruction(row: SampleRow) -> str:
    """The last turn of the user's, as alpaca_eval knows no conversations."""
    turns = messages(row.detail.get("prompt")) or []
    asked = [turn["content"] for turn in turns if turn["role"] == "user"]
    return asked[-1] if asked else shown(row).prompt


def logged_samples(record: Record, rows: Sequence[SampleRow]) -> Iterator[str]:
    """One JSON line a row, with the keys of lm-eval's `samples_*.jsonl`; what the row does not know is null."""
    for index, row in enumerate(rows):
        detail = row.detail
        item = shown(row)
        target = next((detail[name] for name in TARGETS if detail.get(name) is not None), None)
        document = {"id": row.id, "unit": row.unit, **{key: detail[key] for key in detail if key != "preferences"}}
        line = {
            "doc_id": index,
            "doc": document,
            "target": target,
            "arguments": {"gen_args_0": {"arg_0": item.prompt}},
            "resps": _responses(row),
            "filtered_resps": [item.answer],
            "filter": "none",
            "metrics": sorted(row.values),
            "doc_hash": _hash(json.dumps(document, indent=2, ensure_ascii=False, default=str)),
            "prompt_hash": _hash(item.prompt),
            "target_hash": _hash(str(target)),
            **row.values,
        }
        yield json.dumps(line, ensure_ascii=False, default=str)


def _responses(row: SampleRow) -> list[Any]:
    """Log-likelihoods of the options of a closed question, else the text."""
    options = row.detail.get("options")
    scored = [o for o in options if isinstance(o, dict) and "logprob" in o] if isinstance(options, list) else []
    if scored:
        return [[[option["logprob"], option.get("greedy")]] for option in scored]
    return [[row.detail.get("output")]]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
