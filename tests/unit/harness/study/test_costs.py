"""The forecast's cost model: what it counts, and how records carry it over to another size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.records.schema import Record
from harness.study.costs import (
    FLOPS_PER_SECOND,
    LOADING_S,
    CellCost,
    Work,
    cost,
    footprint,
    pairs_seen,
    trains,
    work_of,
)
from tests.unit.harness.cli.test_cli import make_record

pytestmark = pytest.mark.core


def record(**changes: Any) -> Record:
    made = make_record()
    model = made.model.model_copy(update={"lengths": {"prompt": 100, "completion": 50, "new_tokens": 75}})
    aligner = made.aligner.model_copy(update={"config": {"sft_lr": 1e-3}})
    spent = made.spent.model_copy(update={"flops": 4e9, "peak_memory_bytes": 123})
    return made.model_copy(update={"model": model, "aligner": aligner, "spent": spent, **changes})


def forecast(work: Work, *known: Record, fitted: bool = False) -> CellCost:
    return cost(work, known, threads=2, memory=7, disk=8, fitted=fitted)


def test_a_record_of_the_same_size_is_its_own_forecast() -> None:
    known = record()
    found = forecast(work_of(known), known)
    assert (found.load_s, found.fit_s, found.evaluate_s) == (1, 2, 3)
    assert (found.fit_flops, found.memory_bytes, found.disk_bytes) == (4e9, 123, 8)
    assert found.basis == "records of gem (1) and of medqa (1) on this model and device"


def test_twice_the_steps_and_half_the_items_carry_over_phase_by_phase() -> None:
    known = record(data=record().data.model_copy(update={"prompt_ids": ()}))
    work = work_of(known)
    found = forecast(replace(work, pairs_seen=2 * work.pairs_seen, items=work.items // 2), known)
    assert (found.fit_s, found.evaluate_s, found.fit_flops) == pytest.approx((4, 1.5, 8e9))


def test_without_records_the_model_speaks_and_says_so() -> None:
    work = work_of(record())
    found = forecast(work)
    tokens = 8.0 * 32 * 4 * 2 * (100 + 50)
    assert found.fit_flops == work.parameters * tokens
    assert found.fit_s == pytest.approx(found.fit_flops / (2 * FLOPS_PER_SECOND["cpu"]))
    assert (found.load_s, found.memory_bytes) == (LOADING_S, 7)
    assert "cost model alone" in found.basis
    assert forecast(work, fitted=True).fit_s == forecast(work, fitted=True).fit_flops == 0.0


def test_records_of_another_model_or_device_say_nothing_and_other_methods_only_their_speed() -> None:
    known = record()
    work = work_of(known)
    assert forecast(replace(work, model="other"), known) == forecast(replace(work, model="other"))
    assert forecast(replace(work, device="cuda"), known) == forecast(replace(work, device="cuda"))
    other = forecast(replace(work, aligner="dpo"), known)
    assert other.fit_s == pytest.approx(work.fit_flops / (4e9 / 5))  # 2 s of fit and 3 s of evaluation
    assert other.basis.startswith("the cost model, at the speed of 1 record")


def test_a_search_counts_its_folds_and_methods_without_a_rate_train_nothing() -> None:
    assert pairs_seen(10, 4, 0) == 40
    assert pairs_seen(10, 4, 3) == 40 * (1 + 3 * 4)
    assert trains(["shots", "sega_lr"])
    assert not trains(["shots"])
    assert replace(work_of(record()), trains=False).fit_flops == 0.0


def test_the_footprint_counts_the_adapters_matrices() -> None:
    shapes = {"model.embed.weight": (50, 8), "layers.0.attn.q.weight": (8, 8), "layers.0.mlp.up.weight": (32, 8)}
    few = {"precision": "fp32", "tokens": 0, "items": 0}
    memory, disk = footprint(shapes, rank=2, targets="all-linear", **few)  # type: ignore[arg-type]
    assert disk == 2 * 4 * 2 * (16 + 40)
    assert footprint(shapes, rank=2, targets="attention", **few)[1] == 2 * 4 * 2 * 16  # type: ignore[arg-type]
    half, _ = footprint(shapes, rank=0, targets="all-linear", precision="bf16", tokens=0, items=0)
    assert memory - half == 2 * (400 + 64 + 256) + 16 * 2 * (16 + 40)
