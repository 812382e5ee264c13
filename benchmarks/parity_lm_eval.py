"""Are the base model's MedQA answers those of the `lm_eval` command on the same rows?

    python benchmarks/parity_lm_eval.py --data PATH --rows 100 --num-fewshot 5
    python benchmarks/parity_lm_eval.py --data PATH --rows all --num-fewshot 0

Both sides run in processes of their own: `lm_eval` with the stock `medqa_4options` over local files (few-shot examples:
the first training rows), and the harness's task through the same model object that a run uses. Compared are the answers
(the likeliest letter) and the log-probability of every option. Exit status 1 when an answer differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import EvalContext, HarnessError
from tasks.lm_eval_bridge import stock_text
from tasks.medqa import DATASET, LETTERS, STOCK_FOLDER, STOCK_TASK, MedQA, documents

TASK = "medqa_parity"
LOGIT_BYTES = 6 * 2**30
"""What lm_eval's logits may take: it keeps them for whole sequences, about three copies in float32."""
CHARACTERS_PER_TOKEN = 2.5
"""A low guess, so that the batch size errs on the small side."""

Logprobs = Mapping[str, Mapping[str, float]]
"""Item id -> letter -> nats."""


@dataclass(frozen=True)
class Side:
    """What one process found and took."""

    name: str
    logprobs: Logprobs
    seconds: float
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
    parser.add_argument("--model", default="smollm2-135m-instruct", help="name known to the harness, hub id, or folder")
    parser.add_argument("--data", default="sample", help="folder with medqa/, or `sample`")
    parser.add_argument("--rows", default="100", help="first N evaluation rows, or `all`")
    parser.add_argument("--num-fewshot", type=int, default=5)
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
    folder = _model_folder(arguments.model)
    longest = _write_task(arguments, scratch)
    batch = arguments.batch_size or _batch_size(folder, longest)
    command = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", TASK),
        *("--model_args", f"pretrained={folder},dtype=float32", "--device", arguments.device),
        *("--include_path", str(scratch / "task"), "--num_fewshot", str(arguments.num_fewshot)),
        *("--batch_size", str(batch), "--log_samples", "--output_path", str(scratch / "out")),
    ]
    seconds, peak = _timed(command, scratch / "lm_eval.log")
    [samples] = (scratch / "out").rglob(f"samples_{TASK}_*.jsonl")
    entries = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    return Side("lm_eval", {str(entry["doc"]["id"]): _their_logprobs(entry) for entry in entries}, seconds, peak)


def _their_logprobs(entry: Mapping[str, Any]) -> dict[str, float]:
    return {letter: float(answer[0]) for letter, answer in zip(LETTERS, entry["filtered_resps"], strict=True)}


def _write_task(arguments: argparse.Namespace, scratch: Path) -> int:
    """Stock task over local files, in `scratch/task`; returns about the longest prompt's length in characters."""
    import lm_eval
    import yaml

    place = scratch / "task"
    place.mkdir()
    test, train = _rows(arguments, "eval", _limit(arguments.rows)), _rows(arguments, "pool", None)
    files = {
        split: str(_jsonl(place / f"{split}.jsonl", rows)) for split, rows in (("train", train), ("test", test)) if rows
    }
    config = {
        "include": str(Path(lm_eval.__file__).parent / "tasks" / STOCK_FOLDER / "medqa.yaml"),
        "task": TASK,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "training_split": "train" if train else None,
        "validation_split": None,
        "fewshot_config": {"sampler": "first_n"},
    }
    assert f"task: {STOCK_TASK}" in stock_text(STOCK_FOLDER)
    (place / f"{TASK}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    shown = train[: arguments.num_fewshot]
    return sum(map(_characters, shown)) + max(map(_characters, test))


def _rows(arguments: argparse.Namespace, split: str, limit: int | None) -> list[dict[str, Any]]:
    """Rows in the stock task's format; a training split may be missing where no few-shot example is shown."""
    from harness.data import open_source

    try:
        return list(documents(open_source(arguments.data, DATASET), split, limit).values())
    except HarnessError:
        if split == "eval" or arguments.num_fewshot:
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
    from harness.models import resolve
    from harness.registry import load

    return resolve(name, registry_models=load().models).folder


# ---------------------------------------------------------------- ours


def _run_ours(arguments: argparse.Namespace, scratch: Path) -> Side:
    found = scratch / "ours.json"
    given = ("model", "data", "rows", "num_fewshot", "device")
    options = [text for key in given for text in (f"--{key.replace('_', '-')}", str(getattr(arguments, key)))]
    command = [sys.executable, str(Path(__file__).resolve()), *options, "--ours-into", str(found)]
    seconds, peak = _timed(command, scratch / "ours.log")
    return Side("harness", json.loads(found.read_text(encoding="utf-8")), seconds, peak)


def _write_ours(arguments: argparse.Namespace) -> None:
    """The child's part: the harness's task over the base model, without preference pairs."""
    from harness.aligned import load_base
    from harness.data import open_source

    context = EvalContext(
        source=open_source(arguments.data, DATASET),
        limit=_limit(arguments.rows),
        num_fewshot=arguments.num_fewshot,
        seed=0,
        track="parity",
    )
    scores = MedQA().evaluate(load_base(arguments.model, arguments.device), context)
    logprobs = {
        row.id: {letter: option["logprob"] for letter, option in row.detail["options"].items()} for row in scores.rows
    }
    arguments.ours_into.write_text(json.dumps(logprobs), encoding="utf-8")


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


def _answer(logprobs: Mapping[str, float]) -> str:
    return max(LETTERS, key=lambda letter: logprobs[letter])


def _report(arguments: argparse.Namespace, theirs: Side, ours: Side) -> int:
    if theirs.logprobs.keys() != ours.logprobs.keys():
        raise SystemExit(f"rows differ: lm_eval scored {len(theirs.logprobs)}, the harness {len(ours.logprobs)}")
    pairs = [(item, theirs.logprobs[item], ours.logprobs[item]) for item in theirs.logprobs]
    different = [item for item, a, b in pairs if _answer(a) != _answer(b)]
    gap = max(abs(a[letter] - b[letter]) for _, a, b in pairs for letter in LETTERS)
    figures = {
        "model": arguments.model,
        "num_fewshot": arguments.num_fewshot,
        "rows": len(pairs),
        "equal_answers": len(pairs) - len(different),
        "max_difference_nats": gap,
        "seconds": {side.name: round(side.seconds, 1) for side in (theirs, ours)},
        "peak_gib": {side.name: round(side.peak_bytes / 2**30, 2) for side in (theirs, ours)},
        "different": different,
    }
    _print_table(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if different else 0


def _print_table(figures: Mapping[str, Any]) -> None:
    for key, value in figures.items():
        shown = ", ".join(f"{name} {figure}" for name, figure in value.items()) if isinstance(value, dict) else value
        if key != "different" or value:
            print(f"{key.replace('_', ' '):<22}{shown if not isinstance(shown, float) else f'{shown:.2e}'}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HarnessError as error:
        sys.exit(str(error))
