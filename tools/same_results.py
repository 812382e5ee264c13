"""Do two versions of the code compute the same? Every aligner on a tiny random model, bit by bit.

    PYTHON_BEFORE tools/same_results.py write before.json --model FOLDER --set sft.learning_rate=2e-4
    PYTHON_AFTER  tools/same_results.py write after.json --model FOLDER --set sft.learning_rate=2e-4
    python tools/same_results.py compare before.json after.json --but gem,selfie

`write` uses nothing but the command line and the files of a store, so it runs under any version of the project. What
is compared for each cell: status, adapter, all counters, and every metric that both versions have, sample by sample.
`--set` gives both versions the same value where their defaults differ; that aligner is then run with it alone. `model`
writes the tiny model's folder once, for both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SHORT = ("lengths.prompt=96", "lengths.completion=24", "lengths.new_tokens=24", "budget.min_steps=8")
TASKS: dict[str, tuple[str, ...]] = {
    "medqa": ("--budget", "8", "--limit", "8"),
    "medical_dialogue": ("--budget", "8", "--limit", "4"),
    "opinionqa": ("--budget", "8", "--limit", "12"),
}
COUNTERS = ("labels", "prompts", "generated_tokens", "forward_tokens", "trained_tokens", "flops", "optimizer_steps")


def write(out: Path, model: Path, tasks: list[str], aligners: list[str], settings: dict[str, list[str]]) -> None:
    """Run the aligners on every task in a store of its own and keep what came out."""
    found: dict[str, Any] = {}
    for task in tasks:
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder)
            ran = [record for name in aligners for record in _run(task, model, store, name, settings.get(name, []))]
            records = {record["aligner"]["name"]: record for record in ran}
            for name in settings.keys() & records.keys() - set(aligners):
                (records[name],) = _run(task, model, store, name, settings[name])
            for name, record in records.items():
                found[f"{task}/{name}"] = _outcome(record, store)
    out.write_text(json.dumps(found, indent=1, sort_keys=True), encoding="utf-8")
    print(f"{len(found)} cells in {out}")


def _run(task: str, model: Path, store: Path, aligner: str, settings: list[str]) -> list[dict[str, Any]]:
    words = [sys.executable, "-m", "harness", "run", "--aligner", aligner, "--task", task, "--model", str(model)]
    words += ["--data", "sample", "--store", str(store), "--json", "--quiet", *TASKS[task]]
    for setting in (*SHORT, *settings):
        words += ["--set", setting]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"{task}: exit status {done.returncode}: {done.stderr[-2000:]}")
    records = json.loads(done.stdout)
    return records if isinstance(records, list) else [records]


def _settings(words: list[str]) -> dict[str, list[str]]:
    """The command line's settings of each aligner, from `ALIGNER.KEY=VALUE`."""
    found: dict[str, list[str]] = {}
    for word in words:
        aligner, _, setting = word.partition(".")
        found.setdefault(aligner, []).append(f"aligner.{setting}")
    return found


def _outcome(record: dict[str, Any], store: Path) -> dict[str, Any]:
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(next(store.rglob(f"{record['id']}/samples.parquet"))).to_pylist()
    rows.sort(key=lambda row: str(row["id"]))
    return {
        "status": record["status"],
        "reason": record["reason"],
        "version": record["aligner"]["version"],
        "adapter": record["aligner"]["adapter_hash"],
        "scores": {name: [score["mean"], _values(rows, name)] for name, score in record["scores"].items()},
        "spent": {name: record["spent"][name] for name in COUNTERS},
    }


def _values(rows: list[dict[str, Any]], metric: str) -> str:
    """Hash of a metric's value on every sample."""
    values = [(row["id"], row.get(f"value.{metric}")) for row in rows]
    return hashlib.sha256(repr(values).encode()).hexdigest()


def _shared(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A cell without the metrics that the other version does not have."""
    return {**one, "scores": {name: score for name, score in one["scores"].items() if name in other["scores"]}}


def compare(before: Path, after: Path, but: set[str]) -> int:
    """Print what differs; exit status 1 where a cell that was expected to be equal is not."""
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (before, after))
    wrong = 0
    for cell in sorted(old.keys() | new.keys()):
        one, other = old.get(cell), new.get(cell)
        allowed = cell.rpartition("/")[2] in but
        if one is None or other is None:
            print(f"{cell}: only {'after' if one is None else 'before'}")
            wrong += one is not None and not allowed
        elif _shared(one, other) != _shared(other, one):
            differing = [key for key in one if _shared(one, other)[key] != _shared(other, one).get(key)]
            print(f"{cell}: differs in {', '.join(differing)}{' (expected)' if allowed else ''}")
            wrong += not allowed
        else:
            print(f"{cell}: equal")
    return int(wrong > 0)


def main() -> int:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    model = commands.add_parser("model", help="write the tiny model's folder")
    model.add_argument("folder", type=Path)
    writing = commands.add_parser("write", help="run the aligners and keep what came out")
    writing.add_argument("out", type=Path)
    writing.add_argument("--model", type=Path, required=True)
    writing.add_argument("--tasks", default=",".join(TASKS))
    writing.add_argument("--aligners", default="all", help="names, separated by commas")
    writing.add_argument("--set", dest="settings", action="append", default=[], metavar="ALIGNER.KEY=VALUE")
    comparing = commands.add_parser("compare", help="hold two files against each other")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    comparing.add_argument("--but", default="", help="aligners that may differ, separated by commas")
    given = parser.parse_args()
    if given.command == "model":
        from harness.conformance.toy import tiny_folder

        tiny_folder(given.folder)
    elif given.command == "write":
        names = given.aligners.split(",")
        write(given.out, given.model, given.tasks.split(","), names, _settings(given.settings))
    else:
        return compare(given.before, given.after, set(given.but.split(",")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
