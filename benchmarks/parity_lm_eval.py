"""Are the base model's answers those of the `lm_eval` command on the same rows, and how much faster do they come?

    python benchmarks/parity_lm_eval.py --task medqa --data PATH --rows 60 --num-fewshot 5
    python benchmarks/parity_lm_eval.py --task gsm8k --data PATH --rows 40

Both sides run in processes of their own: `lm_eval` with the stock task over local files (few-shot examples: the first
training rows, or those that the stock task brings), and the harness's task through the same model object that a run
uses. Compared are the answers (the likeliest option, or what the task's filters leave of the generated text, and every
metric) and the log-probability of every option. Scoring is the time spent on the model's answers, without imports and
loading: of lm_eval what its progress bar shows, in whole seconds. Exit status 1 when an answer differs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.contracts import EvalContext, HarnessError, SampleRow
from tasks.gsm8k import GSM8K
from tasks.lm_eval.catalogue import stock_entry
from tasks.lm_eval.stock import Stock, StockChoice
from tasks.math500 import Math500
from tasks.medmcqa import MedMCQA
from tasks.medqa import MedQA
from tasks.pubmedqa import PubMedQA

TASKS: Mapping[str, Any] = {task.name: task for task in (MedQA, MedMCQA, PubMedQA, GSM8K, Math500)}
STOCKS: Mapping[str, Stock] = {name: task.stock for name, task in TASKS.items()}
LABELS: Mapping[str, Sequence[str]] = {
    name: task.labels for name, task in TASKS.items() if issubclass(task, StockChoice)
}
"""Names of the options, of the tasks that offer some; the others generate."""
LOGIT_BYTES = 6 * 2**30
"""What lm_eval's logits may take: it keeps them for whole sequences, about three copies in float32."""
CHARACTERS_PER_TOKEN = 2.5
"""A low guess, so that the batch size errs on the small side."""
GENERATED_BATCH = 8
"""lm_eval's batch size where it generates: only the last position's logits are kept."""
BAR = re.compile(r"Running \w+ requests: 100%[^\r\n]*?\[(?:(\d+):)?(\d+):(\d+)<")


@dataclass(frozen=True)
class Answer:
    """One row's answer: the label or the filtered texts, the metrics, nats by option, and the generated text."""

    answer: Any
    metrics: Mapping[str, float]
    options: Mapping[str, float] = field(default_factory=dict)
    text: str | None = None


@dataclass(frozen=True)
class Side:
    """What one process found and took."""

    name: str
    answers: Mapping[str, Answer]
    seconds: float
    scoring: float
    peak_bytes: int


def main() -> int:
    """Run both sides, print a table, return the exit status."""
    arguments = _parser().parse_args()
    if arguments.ours_into:
        _write_ours(arguments)
        return 0
    with tempfile.TemporaryDirectory(prefix="parity-") as scratch:
        theirs = _run_lm_eval(arguments, Path(scratch))
        ours = _run_ours(arguments, Path(scratch))
    return _report(arguments, theirs, ours)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--task", default="medqa", choices=list(TASKS))
    parser.add_argument("--model", default="smollm2-135m-instruct", help="name known to the harness, hub id, or folder")
    parser.add_argument("--data", default="sample", help="folder with the task's data, or `sample`")
    parser.add_argument("--rows", default="100", help="first N evaluation rows, or `all`")
    parser.add_argument("--num-fewshot", type=int, default=0)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch-size", type=int, help="of lm_eval; default: what keeps its logits below 6 GiB")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--ours-into", type=Path, help=argparse.SUPPRESS)
    return parser


def _limit(rows: str) -> int | None:
    if rows == "all":
        return None
    if not rows.isdigit() or int(rows) < 1:
        raise SystemExit(f"--rows {rows!r}: expected a positive number or `all`")
    return int(rows)


# ---------------------------------------------------------------- lm_eval


def _run_lm_eval(arguments: argparse.Namespace, scratch: Path) -> Side:
    folder, task = _model_folder(arguments.model), f"{arguments.task}_parity"
    limit, shown = _limit(arguments.rows), arguments.num_fewshot
    longest = write_task(arguments.task, arguments.data, limit, shown, scratch / "task")
    batch = arguments.batch_size or (_batch_size(folder, longest) if arguments.task in LABELS else GENERATED_BATCH)
    command = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", task),
        *("--model_args", f"pretrained={folder},dtype=float32", "--device", arguments.device),
        *("--include_path", str(scratch / "task"), "--num_fewshot", str(arguments.num_fewshot)),
        *("--batch_size", str(batch), "--log_samples", "--output_path", str(scratch / "out")),
    ]
    seconds, peak = _timed(command, scratch / "lm_eval.log")
    [samples] = (scratch / "out").rglob(f"samples_{task}_*.jsonl")
    entries = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    by_item: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        by_item.setdefault(str(entry["doc"]["id"]), []).append(entry)
    answers = {item: _their_answer(arguments.task, found) for item, found in by_item.items()}
    return Side("lm_eval", answers, seconds, _bar_seconds(scratch / "lm_eval.log"), peak)


def _their_answer(task: str, entries: Sequence[Mapping[str, Any]]) -> Answer:
    """From the entries of one row: one for each filter."""
    named = len(entries) > 1
    metrics = {f"{m},{e['filter']}" if named else m: float(e[m]) for e in entries for m in e["metrics"]}
    first = entries[0]
    if task not in LABELS:
        filtered = {entry["filter"]: entry["filtered_resps"][0] for entry in entries}
        return Answer(filtered, metrics, text=first["resps"][0][0])
    options = {label: float(answer[0]) for label, answer in zip(LABELS[task], first["filtered_resps"], strict=True)}
    return Answer(max(options, key=options.__getitem__), metrics, options)


def _bar_seconds(log: Path) -> float:
    """What lm_eval's bar over the model's requests says it took."""
    found = BAR.findall(log.read_text(encoding="utf-8", errors="replace"))
    if not found:
        raise SystemExit(f"{log}: no finished bar of lm_eval's requests was found")
    hours, minutes, seconds = (int(part or 0) for part in found[-1])
    return 3600.0 * hours + 60 * minutes + seconds


def write_task(name: str, data: str, limit: int | None, shown: int, place: Path) -> int:
    """Stock task `name` over local files, as `name_parity` in the folder `place`.

    The first `limit` items and, where there are some, training rows, of which `shown` are demonstrations. Returns about
    the longest prompt's length in characters.
    """
    import yaml

    stock = STOCKS[name]
    place.mkdir()
    test, train = _rows(stock, data, "eval", limit, shown), _rows(stock, data, "pool", None, shown)
    files = {
        split: str(_jsonl(place / f"{split}.jsonl", rows)) for split, rows in (("train", train), ("test", test)) if rows
    }
    config: dict[str, Any] = {
        "include": str(stock_entry(stock.task, stock.folder)[1].yaml_path),
        "task": f"{name}_parity",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
        "training_split": "train" if train else None,
        "validation_split": None,
        "test_split": "test",
        "fewshot_split": "train" if train else None,
    }
    if train:
        config["fewshot_config"] = {"sampler": "first_n"}
    (place / f"{name}_parity.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return sum(map(_characters, train[:shown])) + max(map(_characters, test))


def _rows(stock: Stock, data: str, split: str, limit: int | None, shown: int) -> list[dict[str, Any]]:
    """Rows in the stock task's format; a training split may be missing where no few-shot example comes from it."""
    from harness.data.sources import open_source

    if split == "pool" and split not in stock.data.dataset.splits:
        return []
    try:
        return list(stock.data.documents(open_source(data, stock.data.dataset), split, limit).values())
    except HarnessError:
        if split == "eval" or shown:
            raise
        return []


def _jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _characters(row: Mapping[str, Any]) -> int:
    return sum(len(str(value)) for value in row.values()) + 40


def _batch_size(folder: Path, characters: int) -> int:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    vocabulary = int(config.get("vocab_size") or config["text_config"]["vocab_size"])
    per_row = 3 * 4 * vocabulary * characters / CHARACTERS_PER_TOKEN
    return max(1, min(32, int(LOGIT_BYTES / per_row)))


def _model_folder(name: str) -> Path:
    from harness.models.find import resolve
    from harness.plugins.registry import load

    return resolve(name, registry_models=load().models).folder


# ---------------------------------------------------------------- ours


@dataclass
class Stopwatch:
    """The model, and how long its answers took."""

    inner: Any
    seconds: float = 0.0

    @property
    def capabilities(self) -> Any:
        return self.inner.capabilities

    @property
    def tokenizer(self) -> Any:
        return self.inner.tokenizer

    @property
    def max_length(self) -> int:
        return int(self.inner.max_length)

    def loglik(self, requests: Sequence[Any]) -> Any:
        return self._timed(self.inner.loglik, requests)

    def generate(self, requests: Sequence[Any]) -> Any:
        return self._timed(self.inner.generate, requests)

    def _timed(self, ask: Callable[[Sequence[Any]], Any], requests: Sequence[Any]) -> Any:
        started = time.monotonic()
        try:
            return ask(requests)
        finally:
            self.seconds += time.monotonic() - started


def _run_ours(arguments: argparse.Namespace, scratch: Path) -> Side:
    found = scratch / "ours.json"
    given = ("task", "model", "data", "rows", "num_fewshot", "device")
    options = [text for key in given for text in (f"--{key.replace('_', '-')}", str(getattr(arguments, key)))]
    command = [sys.executable, str(Path(__file__).resolve()), *options, "--ours-into", str(found)]
    seconds, peak = _timed(command, scratch / "ours.log")
    content = json.loads(found.read_text(encoding="utf-8"))
    answers = {item: Answer(**value) for item, value in content["answers"].items()}
    return Side("harness", answers, seconds, content["scoring"], peak)


def _write_ours(arguments: argparse.Namespace) -> None:
    """The child's part: the harness's task over the base model, without preference pairs."""
    from harness.data.sources import open_source
    from harness.lm.language_model import load_base

    context = EvalContext(
        source=open_source(arguments.data, STOCKS[arguments.task].data.dataset),
        limit=_limit(arguments.rows),
        num_fewshot=arguments.num_fewshot,
        seed=0,
        track="parity",
    )
    model = Stopwatch(load_base(arguments.model, arguments.device))
    scores = TASKS[arguments.task]().evaluate(model, context)
    answers = {row.id: asdict(_our_answer(row)) for row in scores.rows}
    arguments.ours_into.write_text(json.dumps({"answers": answers, "scoring": model.seconds}), encoding="utf-8")


def _our_answer(row: SampleRow) -> Answer:
    options = {label: option["logprob"] for label, option in row.detail.get("options", {}).items()}
    return Answer(row.detail["answer"], dict(row.values), options, row.detail.get("output"))


# ---------------------------------------------------------------- both


def _timed(command: Sequence[str], log: Path) -> tuple[float, int]:
    """Run a command; wall-clock seconds and peak resident memory in bytes. Shows the log's end when it fails."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(log.parent / "cache")}
    environment["TOKENIZERS_PARALLELISM"] = "false"
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)  # this child's own figures, not the maximum over all children
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    if process.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace")[-4000:]
        raise SystemExit(f"{tail}\ncommand failed with status {process.returncode}: {' '.join(command)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * unit


def _report(arguments: argparse.Namespace, theirs: Side, ours: Side) -> int:
    if theirs.answers.keys() != ours.answers.keys():
        raise SystemExit(f"rows differ: lm_eval scored {len(theirs.answers)}, the harness {len(ours.answers)}")
    pairs = [(item, theirs.answers[item], ours.answers[item]) for item in theirs.answers]
    different = [item for item, a, b in pairs if (a.answer, a.metrics) != (b.answer, _shared(b.metrics, a.metrics))]
    figures: dict[str, Any] = {
        "task": arguments.task,
        "model": arguments.model,
        "num_fewshot": arguments.num_fewshot,
        "rows": len(pairs),
        "equal_answers": len(pairs) - len(different),
        **_closeness(arguments.task, pairs),
        "scoring_seconds": {side.name: round(side.scoring, 1) for side in (theirs, ours)},
        "scoring_ratio": round(theirs.scoring / ours.scoring, 2),
        "seconds": {side.name: round(side.seconds, 1) for side in (theirs, ours)},
        "peak_gib": {side.name: round(side.peak_bytes / 2**30, 2) for side in (theirs, ours)},
        "different": different,
    }
    _print_table(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if different else 0


def _shared(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """Our figures under lm_eval's metric names; others, such as the final number, are left out."""
    return {name: value for name, value in ours.items() if name in theirs}


def _closeness(task: str, pairs: Sequence[tuple[str, Answer, Answer]]) -> dict[str, Any]:
    """How far the options' log-probabilities differ, or how many whole texts are equal."""
    if task not in LABELS:
        return {"equal_texts": sum(a.text == b.text for _, a, b in pairs)}
    gap = max(abs(a.options[label] - b.options[label]) for _, a, b in pairs for label in LABELS[task])
    return {"max_difference_nats": gap}


def _print_table(figures: Mapping[str, Any]) -> None:
    for key, value in figures.items():
        shown = ", ".join(f"{name} {figure}" for name, figure in value.items()) if isinstance(value, dict) else value
        if key != "different" or value:
            print(f"{key.replace('_', ' '):<22}{f'{shown:.3g}' if isinstance(shown, float) else shown}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HarnessError as error:
        sys.exit(str(error))
