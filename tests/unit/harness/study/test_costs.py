"""What a cell will cost: what records of the same kind say, and else the method's formula at a speed that was seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.records.schema import Inference, Record
from harness.study.costs import LOADING_S, CellCost, Work, cost, pairs_seen, work_of
from harness.study.footprint import footprint
from harness.study.speed import Speed
from harness.study.work import Modelled, trains
from tests.unit.harness.cli.test_cli import make_record

pytestmark = pytest.mark.core

SPEED = Speed(1e9, 2e9, 0.5e9, "the speed of this test")
MODELLED = Modelled(6e9, 8e9, 100.0, 200.0)


def record(**changes: Any) -> Record:
    made = make_record()
    inference = Inference(generated_tokens=0, forward_tokens=30, flops=9e9)
    spent = made.spent.model_copy(update={"flops": 4e9, "peak_memory_bytes": 123, "inference": inference})
    return made.model_copy(update={"spent": spent, **changes})


def forecast(work: Work, *known: Record, fitted: bool = False) -> CellCost:
    return cost(work, MODELLED, known, SPEED, memory=7, disk=8, fitted=fitted)


def test_a_record_of_the_same_size_is_its_own_forecast() -> None:
    known = record()
    found = forecast(work_of(known), known)
    assert (found.load_s, found.fit_s, found.evaluate_s) == (1, 2, 3)
    assert (found.fit_flops, found.evaluate_flops, found.memory_bytes, found.disk_bytes) == (4e9, 9e9, 123, 8)
    assert (found.fit_tokens, found.evaluate_tokens) == (20, 30)
    assert found.sure
    assert found.basis == "records of gem (1) and of medqa (1) on this model and device"


def test_twice_the_steps_and_half_the_items_carry_over_phase_by_phase() -> None:
    known = record()
    work = work_of(known)
    found = forecast(replace(work, pairs_seen=2 * work.pairs_seen, items=work.items // 2), known)
    assert (found.fit_s, found.evaluate_s, found.fit_flops, found.evaluate_flops) == (4, 1.5, 8e9, 4.5e9)


def test_processes_share_the_time_of_a_fit_and_take_memory_each() -> None:
    known = record()
    alone = work_of(known)
    assert alone.processes == 1
    two = forecast(replace(alone, processes=2))
    assert (two.fit_s, two.evaluate_s, two.fit_flops) == (3, 4, 6e9)
    decisive = {"fit": {"machine": {"processes": 2}}}
    made_by_two = known.model_copy(update={"manifest": known.manifest.model_copy(update={"decisive": decisive})})
    found = forecast(work_of(made_by_two), known, made_by_two)
    assert (found.fit_s, found.memory_bytes, found.basis) == (
        2, 2 * 123, "records of gem (1) and of medqa (2) on this model and device",
    )  # fmt: skip


def test_without_records_the_formula_speaks_and_says_so() -> None:
    found = forecast(work_of(record()))
    assert (found.fit_flops, found.evaluate_flops, found.fit_tokens, found.evaluate_tokens) == (6e9, 8e9, 100, 200)
    assert (found.fit_s, found.evaluate_s) == (6, 4)
    assert (found.load_s, found.memory_bytes, found.sure) == (LOADING_S, 7, False)
    assert found.basis == "the methods' cost formulas, at the speed of this test"
    written = cost(work_of(record()), replace(MODELLED, writes=True), (), SPEED)
    assert written.evaluate_s == 16, "answers that are written come slower"
    there = forecast(work_of(record()), fitted=True)
    assert (there.fit_s, there.fit_flops, there.fit_tokens) == (0, 0, 0)


@pytest.mark.parametrize(
    "other",
    [{"model": "other"}, {"device": "cuda"}, {"settings": {"lambda": 0.0}}, {"pool": "gsm8k"}, {"aligner": "dpo"}],
)
def test_a_fit_is_like_another_only_where_nothing_but_its_size_differs(other: dict[str, Any]) -> None:
    known = record()
    found = forecast(replace(work_of(known), **other), known)
    assert (found.fit_flops, found.fit_s) == (6e9, 6)
    assert not found.sure


def test_an_evaluation_is_like_any_other_of_the_task_on_the_model() -> None:
    known = record()
    found = forecast(replace(work_of(known), aligner="dpo"), known)
    assert (found.evaluate_flops, found.evaluate_s) == (9e9, 3)
    assert forecast(replace(work_of(known), task="gsm8k"), known).evaluate_flops == 8e9


def test_a_search_counts_its_folds_and_methods_without_a_rate_train_nothing() -> None:
    assert pairs_seen(10, 4, 0) == 40
    assert pairs_seen(10, 4, 3) == 40 * (1 + 3 * 4)
    assert trains(["shots", "sega_lr"])
    assert not trains(["shots"])


def test_the_footprint_counts_the_adapters_matrices() -> None:
    shapes = {"model.embed.weight": (50, 8), "layers.0.attn.q.weight": (8, 8), "layers.0.mlp.up.weight": (32, 8)}
    few = {"precision": "fp32", "tokens": 0, "items": 0}
    memory, disk = footprint(shapes, rank=2, targets="all-linear", **few)  # type: ignore[arg-type]
    assert disk == 3 * 4 * 2 * (16 + 40)
    assert footprint(shapes, rank=2, targets="attention", **few)[1] == 3 * 4 * 2 * 16  # type: ignore[arg-type]
    half, _ = footprint(shapes, rank=0, targets="all-linear", precision="bf16", tokens=0, items=0)
    assert memory - half == 2 * (400 + 64 + 256) + 16 * 2 * (16 + 40)
