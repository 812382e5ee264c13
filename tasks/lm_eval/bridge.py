"""Stock lm-eval tasks over `contracts.Aligned`: their prompts, their metrics, our model.

Every metric is a number per document, higher is better. Where lm-eval keeps something else per document (a pair, a
log-probability), its own aggregation of that one document stands there. lm-eval is imported inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.contracts import Aligned, Loglik
from tasks.datasets.documents import Row
from tasks.lm_eval.catalogue import metric_name, stock_task
from tasks.lm_eval.corners import quiet
from tasks.lm_eval.model import Progress, lm


@dataclass(frozen=True, slots=True)
class Option:
    """One scored continuation: its text, summed log-probability in nats, number of tokens, whether greedy gives it."""

    text: str
    total: float
    tokens: int
    is_greedy: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """One evaluated document of a stock task.

    `target` is what the task's `doc_to_target` gives (an index for multiple choice); `answer` is the likeliest choice,
    or the generated text as the task's first filter leaves it, or empty; `output` is the generated text as it came.
    """

    id: str
    prompt: str
    options: tuple[Option, ...]
    metrics: Mapping[str, float]
    target: Any
    answer: str
    filtered: Mapping[str, str]
    """The answer by each filter, of a task that generates."""
    output: str | None
    clipped: bool
    """True when the context was too long for the model and lost its left end."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Samples in the order of the documents, and lm-eval's own aggregate of every metric under lm-eval's name."""

    samples: tuple[Sample, ...]
    aggregates: Mapping[str, float] = field(default_factory=dict)


def likeliest(options: Sequence[Option]) -> int:
    """Index of the option with the highest summed log-probability; the first of equals, as in lm-eval's argmax."""
    return max(range(len(options)), key=lambda index: options[index].total)


def evaluate_task(
    aligned: Aligned,
    name: str,
    rows: Mapping[str, Sequence[Row]],
    *,
    limit: int | None = None,
    num_fewshot: int = 0,
    fewshot_rows: Sequence[Row] | None = None,
    folder: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Sample, ...]:
    """Run the stock task `name` on `rows` and return its samples in the order of the rows.

    `rows` maps the stock task's own split names (`train`, `test`, ...) to rows in its data set's format; a split that
    is not given is empty. Demonstrations are the first `num_fewshot` of `fewshot_rows`, or of the task's own few-shot
    split when `fewshot_rows` is None. `folder` (below lm-eval's task folder) spares a scan of all of lm-eval's tasks.
    Nothing is downloaded or written. Raises HarnessError for an unknown task or too few demonstrations, and
    FloatingPointError for a log-probability that is not a number.
    """
    with quiet():
        task = stock_task(name, rows, num_fewshot=num_fewshot, fewshot_rows=fewshot_rows, folder=folder)
    return run_task(aligned, task, limit=limit, seed=seed, progress=progress).samples


def run_task(
    aligned: Aligned, task: Any, *, limit: int | None = None, seed: int = 0, progress: Progress | None = None
) -> Evaluation:
    """Run a task object of lm-eval's, as `stock_task` builds it, on its first `limit` documents.

    Raises HarnessError for a document that cannot be scored, FloatingPointError for a log-probability that is none.
    """
    from lm_eval.evaluator import evaluate

    with quiet():
        model = lm(aligned, seed=seed, progress=progress)
        tasks: Any = {"tasks": {task.task_name: task}}
        results: Any = evaluate(model, tasks, limit=limit, bootstrap_iters=0, log_samples=True)
    by_document: dict[int, list[Mapping[str, Any]]] = {}
    for entry in results["samples"][task.task_name]:
        by_document.setdefault(entry["doc_id"], []).append(entry)
    samples = tuple(_sample(entries, task, model) for entries in by_document.values())
    found: Mapping[str, Any] = results["results"][task.task_name]
    aggregates = {key: value for key, value in found.items() if "," in key and "_stderr," not in key}
    return Evaluation(samples, {key: float(value) for key, value in aggregates.items() if _is_number(value)})


def _sample(entries: Sequence[Mapping[str, Any]], task: Any, model: Any) -> Sample:
    """One document, from its entries: one for each filter."""
    first = entries[0]
    pairs = [tuple(arguments[:2]) for arguments in first["arguments"]]
    choices = task.doc_to_choice(first["doc"]) if task.OUTPUT_TYPE == "multiple_choice" else ()
    listed = pairs[: len(choices)]
    alike = len({context for context, _ in listed}) <= 1  # where choices differ in the context, they are the texts
    texts = [pair[1] for pair in listed] if alike else choices
    options = tuple(_option(model.scored[pair], text) for pair, text in zip(listed, texts, strict=True))
    generated = task.OUTPUT_TYPE == "generate_until"
    filtered = {str(entry["filter"]): _text(entry["filtered_resps"][0]) for entry in entries} if generated else {}
    prompt = str(pairs[0][0])
    return Sample(
        id=str(first["doc"].get("id", first["doc_id"])),
        prompt=prompt,
        options=options,
        metrics=_metrics(entries, task),
        target=first["target"],
        answer=choices[likeliest(options)] if choices else next(iter(filtered.values()), ""),
        filtered=filtered,
        output=_text(first["resps"][0][0]) if generated else None,
        clipped=prompt in model.clipped,
    )


def _text(response: Any) -> str:
    """A response as text: filters may leave a list where several answers were drawn."""
    return response if isinstance(response, str) else str(response)


def _metrics(entries: Sequence[Mapping[str, Any]], task: Any) -> dict[str, float]:
    """Every metric of one document as a number of which more is better; what gives no number is left out."""
    rising, found = task.higher_is_better(), {}
    for entry in entries:
        for metric in entry["metrics"]:
            value = _value(task.aggregation().get(metric), entry[metric])
            up = rising.get(metric) is not False
            if value is not None:
                found[metric_name(metric, entry["filter"], len(entries), up)] = value if up else -value
    return found


def _value(aggregate: Any, value: Any) -> float | None:
    """lm-eval's aggregate of one document, which for a mean is the value itself; None where it is no finite number."""
    if _is_number(value) and (aggregate is None or getattr(aggregate, "__name__", "") in ("mean", "nanmean")):
        return float(value)
    if aggregate is None:
        return None
    try:
        number = aggregate([value])
    except Exception:  # corpus metrics refuse single documents in as many ways as there are libraries
        return None
    return float(number) if _is_number(number) else None


def _is_number(value: Any) -> bool:
    """Whether it is a finite number (numpy's, truth values and integers included)."""
    try:
        return not isinstance(value, str) and math.isfinite(value)
    except TypeError:
        return False


def _option(result: Loglik, text: str) -> Option:
    return Option(text=text, total=result.total, tokens=result.tokens, is_greedy=result.is_greedy)
