"""A study against the same cells as separate `run` calls, and against the same work done by hand.

    python benchmarks/study_speed.py --size full --against cells
    python benchmarks/study_speed.py --size corner --against cells hand

The study is one `study run` in an empty store. `cells`: every cell is one `run` with an empty store of its own, on
all cores. `hand`: `benchmarks/by_hand.py`, which does the corner of the grid, against a study of that corner. All are
whole processes, timed from outside, one after the other. Printed are the ratios, work that was done twice, how far off
the forecast was, and the harness's own share: what the workers spent on cells beyond loading, fitting and evaluating
(judging is part of evaluating), as a share of the whole.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from by_hand import by_hand
from study_grids import SIZES, WHOLE, grid

from harness.plugins.registry import load
from harness.records.schema import Record
from harness.study import Study
from harness.study.events import EVENTS, read_events


def main() -> int:
    """Run all sides, print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--size", choices=SIZES, default="corner")
    parser.add_argument("--tiny", dest="size", action="store_const", const="tiny")
    parser.add_argument("--corner", dest="size", action="store_const", const="corner")
    parser.add_argument("--against", nargs="*", choices=("cells", "hand"), default=("cells", "hand"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each worker of the study")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    asked = parser.parse_args()
    placed = {"workers": asked.workers, "threads": asked.threads}
    figures: dict[str, Any] = {"size": asked.size, **placed}
    with tempfile.TemporaryDirectory(prefix="study-speed-") as name:
        folder = Path(name)
        if "cells" in asked.against or asked.size not in WHOLE:
            values = grid(asked.size, folder / "study", **placed)
            figures["study"] = one_command(values, folder)
            show(figures)
        if "cells" in asked.against:
            figures["cells"] = cell_by_cell(values, folder)
            figures["cells_over_study"] = round(figures["cells"]["seconds"] / figures["study"]["seconds"], 2)
            show(figures)
        if "hand" in asked.against:
            corner = figures.get("study")
            if asked.size in WHOLE:
                part = grid(asked.size, folder / "corner", corner_only=True, **placed)
                corner = figures["study_of_the_corner"] = one_command(part, folder)
            (folder / "hand").mkdir()
            figures["by_hand"] = by_hand(asked.size, folder / "hand")
            figures["by_hand_over_study"] = round(figures["by_hand"]["total"] / corner["seconds"], 2)
            show(figures)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def show(figures: Mapping[str, Any]) -> None:
    """Everything known so far: a long run that is stopped has said what it found."""
    print(json.dumps(figures, indent=1), flush=True)


def one_command(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`study run` and `study report`, and what the records and events say of them."""
    study = Study.of(values, load(plugins=False))
    path = folder / f"{study.file.store.name}.yaml"
    path.write_text(json.dumps(values))
    harness = [sys.executable, "-m", "harness", "study"]
    seconds = timed([*harness, "run", str(path), "--quiet", "--no-plugins"])
    report = timed([*harness, "report", str(path), "--no-plugins", "--output", str(folder / "report")])
    records, events = study.records(), read_events(study.file.folder / EVENTS)
    return {
        "seconds": round(seconds, 1),
        "report_seconds": round(report, 1),
        "records": len(records),
        "done_twice": twice(records, events),
        "phases": phases(records),
        "own_share": own_share(records, events),
        "forecast": off(study, records),
    }


def twice(records: list[Record], events: list[dict[str, Any]]) -> dict[str, int]:
    """Cells that were started more than once, and base models scored more than once on the same items."""
    starts = Counter(event["run"] for event in events if event["event"] == "cell_started")
    bases = Counter(r.task.name for r in records if r.aligner.name == "base")
    return {
        "cells": sum(count - 1 for count in starts.values()),
        "base": sum(count - 1 for count in bases.values()),
        "fits": len(records) - len({(r.aligner.fit_id, r.task.name) for r in records}),
    }


def phases(records: list[Record]) -> dict[str, float]:
    """Seconds of all cells by phase."""
    named = ("load", "fit", "evaluate")
    return {name: round(sum(getattr(r.spent.seconds, name) for r in records), 1) for name in named}


def own_share(records: list[Record], events: list[dict[str, Any]]) -> float:
    """Share of the cells' seconds, from start to end as the driver sees them, that no phase of a record holds."""
    began = {event["run"]: event["time"] for event in events if event["event"] == "cell_started"}
    ended = {event["run"]: event["time"] for event in events if event["event"] == "cell_done"}
    held = {r.id: r.spent.seconds.total for r in records}
    whole = sum(ended[name] - began[name] for name in held if name in ended and name in began)
    return round(1 - sum(held[name] for name in held if name in ended) / whole, 4)


def off(study: Study, records: list[Record]) -> dict[str, float]:
    """What the runs took over what was forecast: FLOPs, and seconds of all cells."""
    expected = study.index().forecast
    known = [record for record in records if record.id in expected]
    flops = sum(r.spent.flops + r.spent.inference.flops for r in known)
    seconds = sum(r.spent.seconds.total for r in known)
    return {
        "flops": round(flops / sum(expected[r.id]["flops"] for r in known), 3),
        "seconds": round(seconds / sum(expected[r.id]["seconds"] for r in known), 3),
    }


def cell_by_cell(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Every cell by a `run` of its own, in an empty store, with all cores."""
    seconds = []
    for place, cell in enumerate(Study.of(values, load(plugins=False)).cells()):
        config = cell.config.model_copy(update={"store": folder / f"alone-{place}"})
        path = folder / f"cell-{place}.yaml"
        path.write_text(json.dumps(settings(config.model_dump(mode="json"))))
        harness = [sys.executable, "-m", "harness", "run"]
        seconds.append(timed([*harness, "--config", str(path), "--quiet", "--no-plugins"]))
        # Fifty calls take more than an hour: one that is stopped has said how far it came.
        print(f"call {place + 1}: {seconds[-1]:.1f} s, {sum(seconds):.1f} s in all", file=sys.stderr, flush=True)
    return {"calls": len(seconds), "seconds": round(sum(seconds), 1), "each": [round(one, 1) for one in seconds]}


def settings(values: dict[str, Any]) -> dict[str, Any]:
    """A cell's settings as a config file holds them: what is null is left out."""
    return {
        name: settings(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }


def timed(command: list[str]) -> float:
    """Run a command and say how long it took. Ends with its errors where it fails."""
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stderr.decode(errors='replace')[-4000:]}\nexit {done.returncode}: {' '.join(command)}")
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
