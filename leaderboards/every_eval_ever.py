"""A run in the shared schema of evaluation results, Every Eval Ever (arXiv 2606.14516), version 0.3.0.

    data/TASK/DEVELOPER/MODEL/UUID.json             the run: model, library, one result for each metric
    data/TASK/DEVELOPER/MODEL/UUID_samples.jsonl    one line for each item and metric

The schema has no field for labels, for what training cost, or for paired differences. They are texts in
`additional_details` of the model and in `details` of the scores. A fitted model is another model than its base, and is
named after the base, the method, the labels and the fit.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.contracts import BASE, HarnessError, SampleRow
from harness.records.schema import Record, Score
from harness.records.shown import shown
from harness.util.files import write_atomic
from leaderboards.command import command, placed_model
from leaderboards.table import MethodRow

SCHEMA = "0.3.0"
LIBRARY = "align-harness"
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")


def write_log(
    record: Record, rows: Sequence[SampleRow], row: MethodRow | None, out: Path, *, organisation: str
) -> list[Path]:
    """Write a run below `out`; returns the paths. `row` is the run's row in its table, for the paired differences.

    `organisation` is who ran the evaluation. Raises HarnessError for a run without a score.
    """
    if not record.scores:
        raise HarnessError(f"run {record.id} has no score ({record.status}), so that there is nothing to export")
    name = str(uuid.UUID(bytes=hashlib.sha256(record.id.encode()).digest()[:16], version=4))
    developer, model = model_id(record).split("/")
    place = Path("data") / _safe(record.task.name) / developer / model
    lines = [json.dumps(line) for line in _lines(record, rows)]
    content = "".join(f"{line}\n" for line in lines).encode()
    log = _log(record, row, organisation)
    written = []
    if lines:
        samples = place / f"{name}_samples.jsonl"
        log["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": samples.as_posix(),
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(content).hexdigest(),
            "total_rows": len(lines),
        }
        written.append((out / samples, content))
    written.append((out / place / f"{name}.json", (json.dumps(log, indent=1) + "\n").encode()))
    for path, text in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
    return [path for path, _ in written]


def model_id(record: Record) -> str:
    """`DEVELOPER/MODEL`: the hub id of base where it has one, else a name under the library's."""
    name = record.model.name
    if record.aligner.name == BASE and _on_a_hub(name):
        return "/".join(map(_safe, name.split("/")))
    if record.aligner.name == BASE:
        return f"{LIBRARY}/{_safe(Path(name).name)}"
    fitted = f"{record.aligner.name}-{record.budget.labels}-{record.aligner.fit_id}"
    return f"{LIBRARY}/{_safe(Path(name).name)}+{_safe(fitted)}"


def _on_a_hub(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name) is not None


def _safe(name: str) -> str:
    """A name for a folder on any system."""
    return _UNSAFE.sub("_", name).strip("._+-")[:80] or "unnamed"


# ---------------------------------------------------------------- the run


def _log(record: Record, row: MethodRow | None, organisation: str) -> dict[str, Any]:
    manifest = record.manifest
    moment = datetime.fromisoformat(manifest.created)
    return {
        "schema_version": SCHEMA,
        "evaluation_id": _evaluation_id(record),
        "evaluation_timestamp": manifest.created,
        "retrieved_timestamp": f"{moment.timestamp():.0f}",
        "source_metadata": {
            "source_name": LIBRARY,
            "source_type": "evaluation_run",
            "source_organization_name": organisation,
            "evaluator_relationship": "third_party" if record.aligner.name == BASE else "first_party",
        },
        "eval_library": {
            "name": LIBRARY,
            "version": manifest.packages.get(LIBRARY, "unknown"),
            "additional_details": _texts(
                {
                    "git_commit": manifest.git_commit,
                    "code_files": manifest.code_files,
                    "plugins": manifest.plugins,
                    "packages": manifest.packages,
                    "record_id": record.id,
                    "record_status": record.status,
                    "record_reason": record.reason,
                }
            ),
        },
        "model_info": _model(record),
        "evaluation_results": [_result(record, name, score, row) for name, score in sorted(record.scores.items())],
    }


def _evaluation_id(record: Record) -> str:
    moment = datetime.fromisoformat(record.manifest.created)
    return f"{record.task.name}/{model_id(record)}/{moment.timestamp():.0f}-{record.id}"


def _model(record: Record) -> dict[str, Any]:
    model, data, spent = record.model, record.data, record.spent
    found = {
        "base_model": placed_model(model.name),
        "base_weights_sha256": model.weights_hash,
        "parameters": model.parameters,
        "precision": model.precision,
        "aligner": record.aligner.name,
        "aligner_version": record.aligner.version,
        "aligner_paper": record.aligner.paper or None,
        "hyper_parameters": record.aligner.config,
        "adapter": model.lora,
        "adapter_sha256": record.aligner.adapter_hash,
        "fit_id": record.aligner.fit_id,
        "labels_spent": spent.labels,
        "labels_of_other_groups": spent.auxiliary_labels,
        "labels_budget": record.budget.labels,
        "budget": record.budget.model_dump(mode="json"),
        "labels_shuffled": data.shuffled_labels,
        "label_pool": data.pool,
        "label_pool_revision": data.pool_revision,
        "label_ids": data.pair_ids or data.rating_ids,
        "prompt_ids": data.prompt_ids,
        "draw_seed": record.seed.draw,
        "training_seed": record.seed.training,
        "training_flops": spent.flops,
        "training_seconds": spent.seconds.fit,
        "training_optimizer_steps": spent.optimizer_steps,
        "training_tokens": spent.trained_tokens,
        "generated_tokens_of_the_fit": spent.generated_tokens,
        "peak_memory_bytes": spent.peak_memory_bytes,
        "device": record.manifest.device,
    }
    hosted = record.aligner.name == BASE and _on_a_hub(model.name)
    return {
        "name": model_id(record).partition("/")[2],
        "id": model_id(record),
        "inference_engine": {"name": model.backend},
        "additional_details": {
            "deployment_type": "self_deployed",
            "model_availability": "open_weights" if hosted else "unknown",
            **_texts(found),
        },
    }


def _result(record: Record, name: str, score: Score, row: MethodRow | None) -> dict[str, Any]:
    task = record.task
    low, high = score.ci95 or (None, None)
    interval = {"lower": low, "upper": high, "confidence_level": 0.95}
    return {
        "evaluation_result_id": _result_id(record, name),
        "evaluation_name": task.name,
        "source_data": {
            "dataset_name": task.name,
            "source_type": "other",
            "additional_details": _texts(
                {"source": record.data.source, "revision": task.revision, "limit": task.limit}
            ),
        },
        "metric_config": {
            "metric_id": f"{LIBRARY}.{task.name}.{name}",
            "metric_name": name,
            "lower_is_better": name in task.lower_is_better,
            "additional_details": _texts(
                {
                    "is_main_metric": name == task.main_metric,
                    "judge": task.judge,
                    "judge_version": task.judge_version,
                    "judged_against": task.baseline,
                    "whole_set": score.whole,
                }
            ),
        },
        "score_details": {
            "score": score.mean,
            "details": _texts(_differences(record.id, name, row)),
            "uncertainty": {
                **({} if low is None else {"confidence_interval": interval}),
                "num_samples": score.n,
            },
        },
        "generation_config": {
            "generation_args": {
                **({"max_tokens": record.model.lengths["new_tokens"]} if "new_tokens" in record.model.lengths else {}),
                "execution_command": command(record),
            },
            "additional_details": _texts({"few_shot": task.num_fewshot, "lengths": record.model.lengths}),
        },
    }


def _differences(run: str, name: str, row: MethodRow | None) -> dict[str, Any]:
    """What the table says of the row that the run belongs to: over all its seeds, not over this run alone.

    Of a run that the row's score leaves out, as an unfit one is beside sound ones, they say nothing.
    """
    if row is None or name not in row.metrics:
        return {}
    if run not in row.scored:
        return {"role": row.role}
    metric = row.metrics[name]
    versus = None if metric.versus_base is None else asdict(metric.versus_base)
    main = next(iter(row.metrics)) == name
    control = asdict(row.versus_control) if main and row.versus_control is not None else None
    return {
        "paired_difference_to_base": versus,
        "paired_difference_to_shuffled_labels": control,
        "p_holm": row.p_holm if main else None,
        "verdict": row.verdict if main else None,
        "role": row.role,
        "differences_are_over_runs": row.scored,
    }


def _result_id(record: Record, metric: str) -> str:
    return f"{record.id}/{metric}"


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """The schema's details are texts: numbers and structures as JSON; what is None is left out."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
        for name, value in values.items()
        if value is not None
    }


# ---------------------------------------------------------------- its items


def _sample_hash(prompt: str, reference: Sequence[str]) -> str | None:
    """None where the texts were not kept."""
    text = prompt + "".join(reference)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else None


def _right(record: Record, rows: Sequence[SampleRow]) -> frozenset[str]:
    """Items whose answer is completely right: the main metric is 1 there, or 0 where less is better.

    None where a value lies beyond that, for then it is no best one.
    """
    main = record.task.main_metric
    values = {row.id: row.values[main] for row in rows if main in row.values}
    falling = main in record.task.lower_is_better
    best = 0.0 if falling else 1.0
    beyond = any(value < best if falling else value > best for value in values.values())
    return frozenset() if beyond else frozenset(item for item, value in values.items() if value == best)


def _lines(record: Record, rows: Sequence[SampleRow]) -> Iterator[dict[str, Any]]:
    right = _right(record, rows)
    for row in rows:
        item = shown(row)
        reference = [text for name, text in item.beside.items() if name in ("gold", "reference", "chosen")]
        answer = item.answer or ""
        shared = {
            "schema_version": SCHEMA,
            "evaluation_id": _evaluation_id(record),
            "model_id": model_id(record),
            "evaluation_name": record.task.name,
            "sample_id": row.id,
            "sample_hash": _sample_hash(item.prompt, reference),
            "interaction_type": "single_turn",
            "input": {"raw": item.prompt, "reference": reference},
            "output": {"raw": [answer]},
            "answer_attribution": [
                {
                    "turn_idx": 0,
                    "source": "output.raw",
                    "extracted_value": answer,
                    "extraction_method": "custom",
                    "is_terminal": True,
                }
            ],
        }
        for name, value in sorted(row.values.items()):
            if name in record.scores:
                yield {
                    **shared,
                    "evaluation_result_id": _result_id(record, name),
                    "evaluation": {"score": value, "is_correct": row.id in right},
                    "metadata": {"metric": name, "independent_unit": row.unit},
                }
