"""A corner of a study's grid as it is done by hand today: TRL's trainers and the `lm_eval` command, cell by cell.

    python benchmarks/by_hand.py --size corner

3 methods x 2 tasks x 2 draws, and the base model on both tasks. Every fit is a plain script around TRL's SFTTrainer,
DPOTrainer or KTOTrainer with a LoRA adapter; every evaluation is `lm_eval` with the stock task, `peft=` naming the
adapter; each runs in a process of its own, one after the other, with all cores. Labels, number of steps, batch, peak
rate, adapter, items and lengths are those of the study (`benchmarks/study_grids.py`), so that both do the same work.
What TRL sets by default stays, but for the recomputation of activations, which is off: it only costs time here. Writing
the files of labels and items is not timed. Prints the seconds of every process, and their sum.
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
from pathlib import Path
from typing import Any

from parity_lm_eval import write_task
from study_grids import SIZES, grid


def main() -> int:
    """Do everything, print the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--size", choices=SIZES, default="corner")
    parser.add_argument("--tiny", dest="size", action="store_const", const="tiny")
    parser.add_argument("--corner", dest="size", action="store_const", const="corner")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.train:
        train(json.loads(asked.train.read_text()))
        return 0
    with tempfile.TemporaryDirectory(prefix="by-hand-") as folder:
        figures = by_hand(asked.size, Path(folder))
    print(json.dumps(figures, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def by_hand(size: str, folder: Path) -> dict[str, Any]:
    """Seconds by process, and their sum."""
    cells = prepare(size, folder)
    seconds: dict[str, float] = {}
    for task in dict.fromkeys(cell["task"] for cell in cells):
        first = next(cell for cell in cells if cell["task"] == task)
        seconds[f"base on {task}: lm_eval"] = timed(lm_eval(first, folder, None), folder / f"base-{task}.log")
    for cell in cells:
        adapter = Path(cell["out"])
        command = [sys.executable, str(Path(__file__).resolve()), "--train", str(folder / f"{cell['name']}.json")]
        seconds[f"{cell['name']}: TRL"] = timed(command, folder / f"{cell['name']}.log")
        asked = lm_eval(cell, folder, adapter)
        seconds[f"{cell['name']}: lm_eval"] = timed(asked, folder / f"{cell['name']}-eval.log")
    return {"size": size, "cells": len(cells), "seconds": seconds, "total": round(sum(seconds.values()), 1)}


def prepare(size: str, folder: Path) -> list[dict[str, Any]]:
    """Files of labels, one for each cell, and of items, one for each task: what the study's plan says of them."""
    from harness.methods.schedules import steps_over
    from harness.plugins.registry import load
    from harness.study import Study

    values = grid(size, folder / "runs", corner_only=True)
    plan = Study.of(values, load(plugins=False)).plan()
    cells = []
    for planned in plan.runs.values():
        if planned.plan is None:
            raise SystemExit(f"{planned.words}: {planned.reason}")
        config, pairs = planned.config, planned.plan.few_shot.pairs
        if config.aligner == "base":
            write_task(config.task, "sample", config.limit, 0, folder / f"task-{config.task}")
            continue
        budget, settings = planned.plan.config.budget, planned.plan.aligner_config
        name = f"{config.aligner}-{config.task}-{config.draw_seed}"
        cell = {
            "name": name,
            "method": config.aligner,
            "task": config.task,
            "model": str(planned.plan.files.folder),
            "rows": [
                {"prompt": [vars_of(m) for m in pair.prompt], "chosen": pair.chosen, "rejected": pair.rejected}
                for pair in pairs
            ],
            "steps": max(budget.min_steps, steps_over_pairs(steps_over, planned.plan, len(pairs), settings.epochs)),
            "batch": budget.batch,
            "rate": settings.learning_rate,
            "warmup": settings.warmup,
            "lora": {"r": config.lora.r, "lora_alpha": config.lora.alpha},
            "longest": planned.plan.lengths.prompt + planned.plan.lengths.completion,
            "new_tokens": planned.plan.lengths.new_tokens,
            "seed": config.seed,
            "out": str(folder / name),
        }
        (folder / f"{name}.json").write_text(json.dumps(cell))
        cells.append(cell)
    return cells


def steps_over_pairs(steps_over: Any, plan: Any, pairs: int, epochs: float) -> int:
    """Optimizer steps of the method's schedule."""
    from harness.contracts import Regime

    regime = Regime(plan.config.budget, plan.lengths, plan.machine.device, plan.machine.precision)
    return int(steps_over(regime, pairs, epochs))


def vars_of(message: Any) -> dict[str, str]:
    """A chat message as TRL reads it."""
    return {"role": message.role, "content": message.content}


def lm_eval(cell: Mapping[str, Any], folder: Path, adapter: Path | None) -> list[str]:
    """The command that scores the base model, or a fit's adapter on it."""
    peft = f",peft={adapter}" if adapter is not None else ""
    return [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", f"{cell['task']}_parity"),
        *("--model_args", f"pretrained={cell['model']}{peft},dtype=float32", "--device", "cpu"),
        *("--include_path", str(folder / f"task-{cell['task']}"), "--num_fewshot", "0", "--batch_size", "8"),
        *("--gen_kwargs", f"max_gen_toks={cell['new_tokens']}", "--output_path", str(folder / "out")),
    ]


def timed(command: Sequence[str], log: Path) -> float:
    """Run a command; its seconds. Ends with the log's last lines where it fails."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(log.parent / "cache"), "TOKENIZERS_PARALLELISM": "false"}
    began = time.monotonic()
    with log.open("wb") as output:
        code = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **offline}, check=False
        ).returncode
    if code:
        raise SystemExit(f"{log.read_text(errors='replace')[-4000:]}\nexit status {code}: {' '.join(command)}")
    return round(time.monotonic() - began, 1)


# ---------------------------------------------------------------- one fit, in a process of its own


def train(cell: Mapping[str, Any]) -> None:
    """What a user's training script does."""
    import torch
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    names = {"sft": "SFT", "dpo": "DPO", "kto": "KTO"}
    name = names[cell["method"]]
    arguments = getattr(trl, f"{name}Config")(
        output_dir=cell["out"],
        max_steps=cell["steps"],
        per_device_train_batch_size=cell["batch"] * (2 if name == "KTO" else 1),
        learning_rate=cell["rate"],
        lr_scheduler_type="cosine",
        warmup_steps=cell["warmup"],
        max_length=cell["longest"],
        gradient_checkpointing=False,
        logging_steps=8,
        save_strategy="no",
        report_to=[],
        seed=cell["seed"],
        bf16=False,
        use_cpu=True,
    )
    trainer = getattr(trl, f"{name}Trainer")(
        model=AutoModelForCausalLM.from_pretrained(cell["model"], dtype=torch.float32),
        args=arguments,
        train_dataset=Dataset.from_list(rows_of(name, cell["rows"])),
        processing_class=AutoTokenizer.from_pretrained(cell["model"]),
        peft_config=LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", **cell["lora"]),
    )
    trainer.train()
    trainer.save_model(cell["out"])


def rows_of(name: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A trainer's data set from pairs: chosen answers, pairs, or answers with a label each."""

    def turn(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    if name == "SFT":
        return [{"prompt": row["prompt"], "completion": turn(row["chosen"])} for row in rows]
    if name == "DPO":
        return [
            {"prompt": row["prompt"], "chosen": turn(row["chosen"]), "rejected": turn(row["rejected"])} for row in rows
        ]
    return [
        {"prompt": row["prompt"], "completion": turn(row[side]), "label": side == "chosen"}
        for row in rows
        for side in ("chosen", "rejected")
    ]


if __name__ == "__main__":
    sys.exit(main())
