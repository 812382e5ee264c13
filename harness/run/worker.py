"""The child process that fits one aligner: `python -m harness.run.worker FOLDER`.

It is given FewShot and nothing of the task. Its job is `FOLDER/job.json`; it leaves `result/` and `fit.json`, or
`refused.json` when the input was at fault. Progress goes to standard output as JSON lines. When the parent goes away,
standard input closes and the worker stops at once: what counts is on disk.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.config import Lora
from harness.contracts import FewShot, HarnessError, Message, Messages, Pair, Prompt, Rating, Ratings, Regime
from harness.meter import Meter
from harness.util.files import read_json, write_json


class PipeProgress:
    """A Progress that the parent reads."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Tell the parent of a stage."""
        self._send(["stage", name, total])

    def advance(self, done: int, total: int | None = None, **figures: float | int | str | bool) -> None:
        """Tell the parent of a step."""
        self._send(["advance", done, total])

    def note(self, line: str) -> None:
        """Pass a line on."""
        self._send(["note", line])

    def log(self, entry: dict[str, Any]) -> None:
        """Pass an entry of the log on, for observers."""
        self._send(["log", entry])

    def _send(self, event: list[Any]) -> None:
        sys.__stdout__.write(json.dumps(event) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]


def few_shot_to_json(few_shot: FewShot) -> dict[str, Any]:
    """Plain values; the verifier travels as the name of its pool."""
    return {
        "pairs": [asdict(p) for p in few_shot.pairs],
        "prompts": [asdict(p) for p in few_shot.prompts],
        "groups": {g: [asdict(r) for r in ratings] for g, ratings in few_shot.groups.items()},
        "auxiliary": {g: [asdict(r) for r in ratings] for g, ratings in few_shot.auxiliary.items()},
        "spans": few_shot.spans,
    }


def few_shot_from_json(value: Mapping[str, Any], verifier: Any = None) -> FewShot:
    """The inverse of `few_shot_to_json`."""
    pairs = tuple(
        Pair(p["id"], _messages(p["prompt"]), p["chosen"], p["rejected"], p["cluster"]) for p in value["pairs"]
    )
    prompts = tuple(Prompt(p["id"], _messages(p["messages"])) for p in value["prompts"])
    groups, auxiliary = _ratings(value["groups"]), _ratings(value["auxiliary"])
    return FewShot(pairs, prompts, verifier, groups, auxiliary, value["spans"])


def _messages(value: list[dict[str, Any]]) -> Messages:
    return tuple(Message(m["role"], m["content"]) for m in value)


def _ratings(value: Mapping[str, list[dict[str, Any]]]) -> Ratings:
    return {
        group: tuple(
            Rating(r["question"], r["prompt"], tuple(r["options"]), tuple(r["probabilities"])) for r in ratings
        )
        for group, ratings in value.items()
    }


def run_job(folder: Path) -> None:
    """Fit and leave the result in `folder`. Raises HarnessError when the input is at fault."""
    import torch

    from harness.fit.bench import LocalBench
    from harness.fit.fitting import fit
    from harness.fit.journal import Journal
    from harness.fit.tuning import as_json, tune
    from harness.judging.open import Judges
    from harness.models.adapters import parameter_change
    from harness.models.hashes import adapter_hash
    from harness.models.load import load
    from harness.plugins.registry import load as load_registry
    from harness.records.store import Store
    from harness.run.recording import peak_memory

    job: dict[str, Any] = dict(read_json(folder / "job.json") or {})
    torch.set_num_threads(job["threads"])
    registry = load_registry(plugins=job["plugins"], allow=job["allow"])
    aligner_class = registry.aligner(job["aligner"])
    aligner = aligner_class(aligner_class.Config.model_validate(job["aligner_config"]))
    few_shot = few_shot_from_json(job["few_shot"], _verifier(job, registry, aligner))
    progress, workdir = PipeProgress(), folder / "work"
    if not any(path.is_file() for path in workdir.rglob("*")):
        (folder / "log.jsonl").unlink(missing_ok=True)  # of a start that left nothing to go on from
    lost = _lost(folder)
    progress.stage("load the model")
    started = time.monotonic()
    model, tokenizer = load(_files(job["files"]), device=job["device"], precision=job["precision"])
    seconds_load = time.monotonic() - started
    torch.manual_seed(job["seed"])
    bench = LocalBench.create(
        model,
        tokenizer,
        regime=Regime(**job["regime"]),
        meter=Meter(cap_flops=job["cap_flops"]),
        seed=job["seed"],
        workdir=workdir,
        lora=Lora(**job["lora"]),
        log=Journal(folder / "log.jsonl", progress, progress.log),
        checkpoint_steps=job["checkpoint_steps"],
        judges=Judges(registry, Store(Path(job["store"])), job["model"], job["device"], _shown(progress)),
    )
    aligner, trials = tune(aligner, bench, few_shot, job["tune"]) if job["tune"] else (aligner, ())
    fitted = fit(aligner, bench, few_shot)
    result = folder / "result"
    fitted.aligned.save(result)
    adapter = (result / "adapter_model.safetensors").exists()
    write_json(
        folder / "fit.json",
        {
            "status": fitted.status,
            "reason": fitted.reason,
            "liveness": fitted.liveness,
            "config": aligner.config.model_dump(mode="json", by_alias=True),
            "trials": as_json(trials),
            "spend": bench.meter.state()["spend"],
            "seconds": {"load": seconds_load, "fit": bench.seconds()},
            "peak_memory_bytes": peak_memory(job["device"]),
            "adapter_hash": adapter_hash(result) if adapter else None,
            "parameter_change": parameter_change(bench.policy, "default") if adapter else None,
            "lost": lost,
        },
    )
    shutil.rmtree(workdir, ignore_errors=True)


def _shown(progress: PipeProgress) -> Callable[[str, int, int], None]:
    def show(stage: str, done: int, total: int) -> None:
        progress.advance(done, total)

    return show


def _files(value: Mapping[str, Any]) -> Any:
    from harness.models.wheels import ModelFiles

    return ModelFiles(**{**value, "folder": Path(value["folder"])})


def _verifier(job: Mapping[str, Any], registry: Any, aligner: Any) -> Any:
    if "verifier" not in aligner.requires | aligner.accepts:
        return None
    from harness.data.sources import open_source

    pool = registry.pool(job["pool"])()
    return pool.verifier(open_source(job["data"], pool.dataset))


def _lost(folder: Path) -> dict[str, float]:
    """Count this start; what an earlier one did after its last checkpoint is lost."""
    from harness.fit.phases import moments

    path, log = folder / "starts.json", folder / "log.jsonl"
    state = read_json(path) or {"starts": 0, "lost_seconds": 0.0, "began": 0.0}
    if state["starts"] and log.exists():
        since = max([state["began"], *moments(folder / "work")])
        state["lost_seconds"] += max(0.0, log.stat().st_mtime - since)
    state["starts"] += 1
    state["began"] = time.time()
    write_json(path, state)
    return {"restarts": state["starts"] - 1, "seconds": state["lost_seconds"]}


def _stop_with_parent() -> None:
    """Standard input ends when the parent does, however it ended."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Exit status: 0 fitted, 2 the input was refused, anything else a crash."""
    folder = Path(sys.argv[1])
    _stop_with_parent()
    sys.stdout = sys.stderr  # libraries that print must not disturb the progress lines
    (folder / "refused.json").unlink(missing_ok=True)
    try:
        run_job(folder)
    except HarnessError as error:
        write_json(folder / "refused.json", {"reason": str(error)})
        return 2
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # the watching thread must not hold the exit
