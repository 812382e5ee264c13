"""A judged task through the whole loop: which judge, with which tools, against whose answers."""

from __future__ import annotations

import os
import types
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.config import PRESETS, Lengths, Lora, RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import (
    Aligned,
    EvalContext,
    GenerateRequest,
    HarnessError,
    JudgeItem,
    JudgeTools,
    Loglik,
    LoglikRequest,
    SampleRow,
    Scores,
    Source,
    Verdict,
    capabilities,
    user,
)
from harness.contracts.progress import Silent
from harness.hookspecs import hookimpl
from harness.lm.backends.hf import HfEngine
from harness.lm.language_model import ModelAligned
from harness.plugins.registry import Registry, load
from harness.records.schema import Record
from harness.run.engine import run
from harness.run.evaluation import judge_basis
from harness.run.plan import make_plan

pytestmark = pytest.mark.recipe

QUESTIONS = {"q0": "Say one.", "q1": "Say two."}


class Longer:
    """Prefers the longer answer; `longer:letters` counts letters, and asks for a model to show that it can."""

    name: ClassVar[str] = "longer"
    version: ClassVar[str] = "1"
    tools: JudgeTools | None = None

    @classmethod
    def named(cls, argument: str) -> type[Longer]:
        if argument != "letters":
            raise HarnessError(f"judge longer counts letters, not {argument!r}")
        return type("Letters", (cls,), {"name": "longer:letters", "version": "2", "compares_with_reference": True})

    def with_tools(self, tools: JudgeTools) -> Longer:
        self.tools = tools
        return self

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        assert self.tools is not None
        if self.version == "2":
            assert "loglik" in capabilities(self.tools.load(""))
        self.tools.cache.mkdir(parents=True, exist_ok=True)
        (self.tools.cache / "asked").write_text(str(len(items)))
        return [Verdict(_better(len(i.a), len(i.b)), (_better(len(i.a), len(i.b)),), "", 0, 0.0) for i in items]


def _better(a: int, b: int) -> float:
    return 0.5 if a == b else float(a > b)


class Essay:
    """Two questions; the reference answers are longer than anything that the tiny model says."""

    name: ClassVar[str] = "essay"
    paper: ClassVar[str] = ""
    licence: ClassVar[str] = "none"
    main_metric: ClassVar[str] = "win_rate"
    metrics: ClassVar[Mapping[str, str]] = {"win_rate": "P(better)"}
    default_pool: ClassVar[str] = "medqa"
    default_judge: ClassVar[str] = "longer"
    requires: ClassVar[frozenset[Any]] = frozenset({"generate"})
    accepts: ClassVar[frozenset[Any]] = frozenset()

    def revision(self, source: Source) -> str:
        return "1"

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        return QUESTIONS

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        asked = [GenerateRequest(user(text), max_new_tokens=8) for text in QUESTIONS.values()]
        answers = [row[0].text for row in aligned.generate(asked)]
        others = [str(ctx.baseline[i].detail["output"]) if ctx.baseline else "x" * 999 for i in QUESTIONS]
        assert ctx.judge is not None
        items = [JudgeItem(i, user(q), a, b) for (i, q), a, b in zip(QUESTIONS.items(), answers, others, strict=True)]
        rows = zip(items, ctx.judge.compare(items), strict=True)
        return Scores(tuple(SampleRow(i.id, i.id, {"win_rate": v.p_a}, {"output": i.a}) for i, v in rows))


@pytest.fixture(scope="module")
def registry() -> Registry:
    plugin = types.ModuleType("essays")
    plugin.harness_tasks = hookimpl(lambda: [Essay])  # type: ignore[attr-defined]
    plugin.harness_judges = hookimpl(lambda: [Longer])  # type: ignore[attr-defined]
    return load(plugins=False, extra=[plugin])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("model") / "tiny"))


def cell(tiny: str, store: Path, **changes: Any) -> RunConfig:
    return RunConfig(
        **{
            "aligner": "base",
            "task": "essay",
            "model": tiny,
            "store": store,
            "data": "sample",
            "budget": small_budget(),
            "lengths": Lengths(prompt=96, completion=32, new_tokens=16),
            "lora": Lora(r=4, alpha=8),
            **changes,
        }
    )


def small_budget() -> Any:
    return PRESETS["8"].model_copy(update={"min_steps": 1, "prompts": 2, "labels": 2})


def win_rate(record: Record) -> float:
    return record.scores["win_rate"].mean


def test_the_task_s_own_judge_compares_with_the_references(tiny: str, tmp_path: Path, registry: Registry) -> None:
    record = run(cell(tiny, tmp_path), registry=registry)
    assert (record.task.judge, record.task.judge_version, record.task.baseline) == ("longer", "1", "reference")
    assert win_rate(record) == 0.0
    assert (tmp_path / ".judges" / "longer" / "asked").read_text() == "2"
    assert record.manifest.plugins["judge:longer"] == "given in code"


def test_a_judge_of_closeness_is_not_set_against_the_reference(tiny: str, tmp_path: Path, registry: Registry) -> None:
    against = make_plan(cell(tiny, tmp_path, judge="longer:letters"), registry, Silent()).config.baseline
    assert against == "base"
    forced = make_plan(cell(tiny, tmp_path, judge="longer:letters", baseline="reference"), registry, Silent()).config
    assert forced.baseline == "reference"


def test_another_judge_asks_for_no_new_answers(
    tiny: str, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(cell(tiny, tmp_path), registry=registry)
    monkeypatch.setattr(HfEngine, "generate", lambda *_, **__: pytest.fail("the answers are there already"))
    second = run(cell(tiny, tmp_path, judge="longer:letters", baseline="reference"), registry=registry)
    assert second.id != first.id
    assert second.spent.inference.generated_tokens == first.spent.inference.generated_tokens > 0
    assert second.spent.lost.restarts == 0


def test_what_a_model_said_as_judge_is_asked_once(
    tiny: str, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(cell(tiny, tmp_path, aligner="icl", judge="local"), registry=registry)
    with monkeypatch.context() as idle:
        idle.setattr(ModelAligned, "loglik", lambda *_: pytest.fail("the judge said this before"))
        again = run(cell(tiny, tmp_path, aligner="icl", judge="local", seed=1), registry=registry)
    assert again.id != first.id
    assert again.scores == first.scores
    asked: list[int] = []
    loglik = ModelAligned.loglik

    def counted(model: ModelAligned, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        asked.append(len(requests))
        return loglik(model, requests)

    monkeypatch.setattr(ModelAligned, "loglik", counted)
    run(cell(tiny, tmp_path, aligner="icl", judge="local", seed=2, fast_paths="off"), registry=registry)
    assert asked == [4 * len(QUESTIONS)] * 2, "of base and of icl, which are computed another way"


def test_what_a_judge_s_model_says_rests_on_its_files_machine_code_and_libraries(
    tiny: str, tmp_path: Path, registry: Registry
) -> None:
    plan = make_plan(cell(tiny, tmp_path, judge="local"), registry, Silent())
    basis = judge_basis(plan, "")
    decisive = plan.decisive
    fit, answers, judgement = decisive["fit"], decisive["answers"], decisive["judgement"]
    others = {
        "template": replace(plan, judge_models={"": replace(plan.files, contents={"chat_template.jinja": "other"})}),
        "threads": {**decisive, "fit": {**fit, "machine": {**fit["machine"], "threads": 7}}},
        "loading": {**decisive, "fit": {**fit, "code": {**fit["code"], "harness": "other"}}},
        "code": {**decisive, "answers": {**answers, "code": {**answers["code"], "harness": "other"}}},
        "libraries": {**decisive, "answers": {**answers, "libraries": {"torch": "other"}}},
        "judge": {**decisive, "judgement": {**judgement, "judge": {**judgement["judge"], "version": "other"}}},
    }  # fmt: skip
    for what, other in others.items():
        changed = replace(plan, decisive=other) if isinstance(other, dict) else other
        assert judge_basis(changed, "") != basis, what
    seeds = {
        **decisive,
        "fit": {**fit, "seeds": {"draw": 5, "training": 5}, "machine": {**fit["machine"], "sharding": {}}},
    }
    assert judge_basis(replace(plan, decisive=seeds), "") == basis


def test_one_of_a_family_has_its_own_name_version_and_run(tiny: str, tmp_path: Path, registry: Registry) -> None:
    plain = run(cell(tiny, tmp_path), registry=registry)
    letters = run(cell(tiny, tmp_path, judge="longer:letters", baseline="reference"), registry=registry)
    assert (letters.task.judge, letters.task.judge_version) == ("longer:letters", "2")
    assert letters.id != plain.id
    assert letters.manifest.plugins["judge:longer"] == "given in code"
    with pytest.raises(HarnessError, match="counts letters, not 'words'"):
        run(cell(tiny, tmp_path, judge="longer:words"), registry=registry)


def test_answers_are_judged_against_the_base_model_or_another_run(
    tiny: str, tmp_path: Path, registry: Registry
) -> None:
    plain = run(cell(tiny, tmp_path), registry=registry)
    assert win_rate(run(cell(tiny, tmp_path, baseline="base"), registry=registry)) == 0.5
    fitted = run(cell(tiny, tmp_path, aligner="sft", baseline="base"), registry=registry)
    assert fitted.task.baseline == "base"
    assert win_rate(fitted) > 0.0  # the references are longer than everything, the base model's answers are not
    assert win_rate(run(cell(tiny, tmp_path, baseline=plain.id), registry=registry)) == 0.5


def test_a_baseline_that_cannot_be_used_is_named(tiny: str, tmp_path: Path, registry: Registry) -> None:
    other = run(cell(tiny, tmp_path, task="medqa", limit=2), registry=registry)
    with pytest.raises(HarnessError, match="no run 'nowhere'"):
        run(cell(tiny, tmp_path, aligner="sft", baseline="nowhere"), registry=registry)
    assert not (tmp_path / ".fits").exists(), "refused before anything is fitted"
    with pytest.raises(HarnessError, match="is of another task"):
        run(cell(tiny, tmp_path, baseline=other.id), registry=registry)
    with pytest.raises(HarnessError, match="judges no answers, but --judge longer was given"):
        run(cell(tiny, tmp_path, task="medqa", judge="longer"), registry=registry)


class Keyless(Longer):
    """Cannot judge, and knows it."""

    name = "keyless"

    def ready(self) -> None:
        raise HarnessError("judge keyless has no key; set KEY")


class Misspelt(Essay):
    """Returns a metric under another name than it declares."""

    name = "misspelt"
    metrics: ClassVar[Mapping[str, str]] = {"win_rates": "P(better)"}
    main_metric = "win_rates"


class Doubled(Essay):
    """Gives two answers one id."""

    name = "doubled"

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        found = super().evaluate(aligned, ctx)
        return Scores((*found.rows, found.rows[0]))


@pytest.fixture(scope="module")
def faulty() -> Registry:
    plugin = types.ModuleType("faulty")
    plugin.harness_tasks = hookimpl(lambda: [Essay, Misspelt, Doubled])  # type: ignore[attr-defined]
    plugin.harness_judges = hookimpl(lambda: [Longer, Keyless])  # type: ignore[attr-defined]
    return load(plugins=False, extra=[plugin])


@pytest.mark.parametrize("aligner", ["base", "sft"])
def test_a_judge_without_a_key_is_said_before_anything_is_fitted_or_generated(
    aligner: str, tiny: str, tmp_path: Path, faulty: Registry
) -> None:
    with pytest.raises(HarnessError, match="judge keyless has no key; set KEY"):
        run(cell(tiny, tmp_path, judge="keyless", aligner=aligner), registry=faulty)
    assert not [path for path in tmp_path.rglob("*") if path.name in ("responses.jsonl", "job.json", "record.json")]


def test_an_annotator_without_its_key_stops_the_run_before_the_model_answers(
    tiny: str, tmp_path: Path, faulty: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("OPENAI_")]:
        monkeypatch.delenv(name)
    with pytest.raises(HarnessError, match="there is no key; set OPENAI_API_KEY"):
        run(cell(tiny, tmp_path, judge="alpaca_eval:weighted_alpaca_eval_gpt4_turbo"), registry=faulty)
    assert not [path for path in tmp_path.rglob("*") if path.name in ("responses.jsonl", "job.json", "record.json")]


@pytest.mark.parametrize(
    ("task", "reason"),
    [("misspelt", "returns metric 'win_rate', which it does not declare"), ("doubled", "several samples")],
)
def test_what_a_task_did_not_promise_ends_as_failed(
    task: str, reason: str, tiny: str, tmp_path: Path, faulty: Registry
) -> None:
    record = run(cell(tiny, tmp_path, task=task), registry=faulty)
    assert record.status == "failed"
    assert reason in str(record.reason)
