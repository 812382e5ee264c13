"""AlpacaEval through the whole loop: a third party's judge, references or another run as the baseline."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.config import PRESETS, Lengths, Lora, RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import HarnessError, JudgeItem, JudgeTools, Verdict
from harness.hookspecs import hookimpl
from harness.plugins.registry import Registry, load
from harness.records.samples import read_samples
from harness.run.engine import run
from leaderboards import render, tables
from tasks.measures.length_control import length_controlled

pytestmark = pytest.mark.recipe

LIMIT = 12
DPO = "dpo [learning_rate=0.01]"


class ClosestLength:
    """Prefers the answer whose length is closer to the reference's; counts what it was asked in its cache."""

    name: ClassVar[str] = "closest_length"
    version: ClassVar[str] = "1"
    tools: JudgeTools | None = None

    def with_tools(self, tools: JudgeTools) -> ClosestLength:
        self.tools = tools
        return self

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        assert self.tools is not None
        self.tools.cache.mkdir(parents=True, exist_ok=True)
        with (self.tools.cache / "asked").open("a") as file:
            file.write(f"{len(items)}\n")
        return [self._verdict(item) for item in items]

    def _verdict(self, item: JudgeItem) -> Verdict:
        far = [abs(len(side) - len(item.reference or "")) for side in (item.a, item.b)]
        p = 0.5 if far == [0, 0] else far[1] / sum(far)
        return Verdict(p, (p, p), "", 7, 0.5)


@pytest.fixture(scope="module")
def registry() -> Registry:
    plugin = types.ModuleType("judges_of_length")
    plugin.harness_judges = hookimpl(lambda: [ClosestLength])  # type: ignore[attr-defined]
    return load(plugins=False, extra=[plugin])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("model") / "tiny"))


def cell(tiny: str, store: Path, **changes: Any) -> RunConfig:
    settings: Mapping[str, Any] = {
        "aligner": "dpo",
        "aligner_config": {"learning_rate": 0.01},
        "task": "alpaca_eval",
        "train_on": "medqa",
        "judge": "closest_length",
        "model": tiny,
        "store": store,
        "data": "sample",
        "limit": LIMIT,
        "budget": PRESETS["8"].model_copy(update={"min_steps": 8, "prompts": 0, "labels": 8}),
        "lengths": Lengths(prompt=96, completion=64, new_tokens=16),
        "lora": Lora(r=4, alpha=8),
    }
    return RunConfig(**{**settings, **changes})


def test_against_the_references_and_against_base(
    tiny: str, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.alpaca_eval.length_controlled", partial(length_controlled, resamples=4))
    tuned = run(cell(tiny, tmp_path), registry=registry)
    assert tuned.status == "ok", tuned.failure
    assert set(tuned.scores) == {"win_rate", "discrete_win_rate", "lc_minimal", "length", "truncated"}
    assert tuned.task.judge == "closest_length"
    assert (tuned.task.notes["judge_tokens"], tuned.task.notes["judge_cost"]) == (7 * LIMIT, 0.5 * LIMIT)
    low, high = tuned.scores["lc_minimal"].ci95 or (1, 0)
    assert low <= tuned.scores["lc_minimal"].mean <= high
    (table,) = tables(tmp_path, task="alpaca_eval")
    rows = {row.label: row.metrics for row in table.rows}
    assert set(rows) == {"base", DPO}
    assert all(set(metrics) == set(tuned.scores) for metrics in rows.values())
    assert rows[DPO]["win_rate"].versus_base is not None
    assert rows[DPO]["lc_minimal"].score.mean == pytest.approx(tuned.scores["lc_minimal"].mean)
    assert "lc_minimal" in render([table], "md")

    against = run(cell(tiny, tmp_path, baseline="base"), registry=registry)
    own = {row.id: row for row in read_samples(tmp_path / against.id / "samples.parquet")}
    base = read_samples(tmp_path / _base_run(tmp_path) / "samples.parquet")
    references = {row.id: row.detail["baseline"] for row in base}
    assert len(own) == LIMIT
    for row in base:
        assert own[row.id].detail["baseline"] == row.detail["output"]
        assert own[row.id].values["win_rate"] == pytest.approx(_by_length(own[row.id].detail, references[row.id]))
    equal = [row.id for row in base if own[row.id].detail["output"] == row.detail["output"]]
    assert against.task.notes["equal_answers"] == len(equal) < LIMIT
    assert len({row.values["win_rate"] for row in own.values()}) > 1
    same = next(t for t in tables(tmp_path, task="alpaca_eval") if t.setting.baseline == "base").row("base")
    itself = read_samples(tmp_path / same.records[0] / "samples.parquet")
    assert [row.values["win_rate"] for row in itself] == [0.5] * LIMIT, "base against its own answers"
    assert same.metrics["lc_minimal"].score.mean == 0.5


def test_another_run_as_baseline_must_have_answered_the_same_items(
    tiny: str, tmp_path: Path, registry: Registry
) -> None:
    short = run(cell(tiny, tmp_path, aligner="base", aligner_config={}, limit=2), registry=registry)
    with pytest.raises(HarnessError, match="no answer to 1 of 3 instructions"):
        run(cell(tiny, tmp_path, aligner="base", aligner_config={}, limit=3, baseline=short.id), registry=registry)
    again = run(cell(tiny, tmp_path, aligner="base", aligner_config={}, limit=2, baseline=short.id), registry=registry)
    assert again.scores["win_rate"].mean == 0.5


def _by_length(detail: Mapping[str, Any], reference: str) -> float:
    """What `ClosestLength` says of a row's answer against its baseline; equal answers are a tie."""
    if detail["output"] == detail["baseline"]:
        return 0.5
    item = JudgeItem("", (), detail["output"], detail["baseline"], reference)
    return ClosestLength()._verdict(item).p_a


def _base_run(store: Path) -> str:
    plain = [t for t in tables(store, task="alpaca_eval") if t.setting.baseline == "reference"]
    return plain[0].row("base").records[0]
