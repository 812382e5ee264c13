"""What a fit is told and what it leaves keeps every digit on its way through JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import Lora
from harness.contracts import (
    Budget,
    FewShot,
    GoldAnswers,
    HarnessError,
    Lengths,
    Message,
    Pair,
    Prompt,
    Rating,
    Regime,
    user,
)
from harness.fit.sharding import Sharding
from harness.models.wheels import ModelFiles
from harness.run.job import FitJob, FitReport, Start, Starts, Stopped, read_model, write_model
from harness.run.worker import in_words
from harness.util.own_json import OtherVersion

pytestmark = pytest.mark.core


def same(right: str, answer: str) -> float:
    return float(right == answer)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PROMPTS = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=3).map(tuple)
SHARES = st.lists(st.floats(0, 1), max_size=3).map(tuple)
RATINGS = st.dictionaries(
    TEXTS, st.lists(st.builds(Rating, TEXTS, TEXTS, st.just(("a", "b")), SHARES), max_size=2).map(tuple), max_size=2
)
FEW = st.builds(
    FewShot,
    pairs=st.lists(st.builds(Pair, TEXTS, PROMPTS, TEXTS, TEXTS, st.none() | TEXTS), max_size=3).map(tuple),
    prompts=st.lists(st.builds(Prompt, TEXTS, PROMPTS), max_size=2).map(tuple),
    verifier=st.none() | st.builds(GoldAnswers, st.dictionaries(TEXTS, TEXTS, max_size=3), st.just(same)),
    groups=RATINGS,
    auxiliary=RATINGS,
)


def job(few_shot: FewShot, **changes: Any) -> FitJob:
    settings: dict[str, Any] = {
        "fit_id": "f",
        "aligner": "sft",
        "aligner_config": {"learning_rate": 0.1 + 0.2, "steps": None},
        "few_shot": few_shot,
        "files": ModelFiles("tiny", Path("/models/tiny"), {"weights": "0" * 64}, "MIT"),
        "model": "tiny",
        "judge_models": {"": ModelFiles("tiny", Path("/models/tiny"), {"weights": "0" * 64}, "MIT")},
        "backend": "hf",
        "code": {"harness": "1" * 64, "plug-ins": "2" * 64},
        "base": "3" * 64,
        "regime": Regime(Budget(labels=3), Lengths(), "cpu", "fp32"),
        "lora": Lora(),
        "threads": 2,
        "processes": 1,
        "sharding": Sharding(classes=("Layer",), keep=True),
        "fast_paths": True,
        "gradient_checkpointing": False,
        "seed": 2**32 - 1,
        "checkpoint_steps": 8,
        "plugins": True,
        "allow": frozenset({"a", "b"}),
    }
    return FitJob(**{**settings, **changes})


@given(FEW)
def test_a_job_comes_back_as_it_was_sent(few_shot: FewShot) -> None:
    sent = job(few_shot)
    assert FitJob.model_validate_json(sent.model_dump_json()) == sent


def test_a_verifier_travels_as_gold_answers_and_the_name_of_a_rule() -> None:
    gold = GoldAnswers({"p": "yes", "q": "no"}, same)
    sent = job(FewShot(verifier=gold)).model_dump(mode="json")
    assert sent["few_shot"]["verifier"] == {"gold": {"p": "yes", "q": "no"}, "rule": f"{__name__}.same"}
    back = FitJob.model_validate(sent).few_shot.verifier
    assert back is not None
    assert (back("p", "yes"), back("p", "no")) == (1.0, 0.0)
    with pytest.raises(KeyError):
        gold.about(["p"])("q", "no")


def test_a_report_keeps_every_digit_and_what_is_not_finite(tmp_path: Path) -> None:
    report = FitReport(liveness={"a": 0.1 + 0.2, "b": math.inf}, trials=({"score": 1 / 3},), seconds_fit=1e-300)
    write_model(tmp_path / "fit.json", report)
    assert read_model(tmp_path / "fit.json", FitReport) == report
    assert read_model(tmp_path / "none.json", FitReport) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"3"])
def test_a_damaged_report_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_bytes(content)
    with pytest.raises(HarnessError, match=r"fit\.json is damaged .*; delete it and run again"):
        read_model(tmp_path / "fit.json", FitReport)


@pytest.mark.parametrize(
    ("content", "how"),
    [
        ('{"unknown": 1}', "it has unknown, which this version does not know"),
        ('{"spend": {"tokens": 1}}', "it has spend.tokens, which this version does not know"),
        ('{"status": "fine"}', "status: Input should be 'ok'"),
        ('{"status": "ok", "spend": 3}', "spend: "),
        ('{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}', "and 2 more"),
    ],
)
def test_a_report_of_another_version_is_not_called_damaged(content: str, how: str, tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_text(content)
    with pytest.raises(OtherVersion) as caught:
        read_model(tmp_path / "fit.json", FitReport)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'fit.json'} was written by another version of harness (")
    assert how in said
    assert said.endswith("; delete it and run again")


def test_a_job_without_a_field_of_this_version_is_of_another(tmp_path: Path) -> None:
    older = {key: value for key, value in job(FewShot()).model_dump(mode="json").items() if key != "fast_paths"}
    (tmp_path / "job.json").write_text(json.dumps(older))
    with pytest.raises(OtherVersion, match="it lacks fast_paths"):
        read_model(tmp_path / "job.json", FitJob)


def test_unknown_keys_of_a_job_are_refused() -> None:
    with pytest.raises(ValueError, match="store"):
        job(FewShot(), store="/runs")


def test_every_start_counts_and_what_it_did_after_its_last_checkpoint_is_lost() -> None:
    known = (Start(began=100.0), Start(began=200.0, ended=207.0), Start(began=300.0), Start(began=400.0))
    counted = Starts(starts=known).counted(saved=[110.0, 320.0], logged=350.0)
    assert [start.lost for start in counted.starts] == [0.0, 7.0, 30.0, None], "of the first, nobody saw a sign of life"
    assert (counted.loss.restarts, counted.loss.seconds) == (3, 37.0)
    again = Starts(starts=(*counted.starts, Start(began=500.0))).counted(saved=[410.0], logged=415.0)
    assert [start.lost for start in again.starts] == [0.0, 7.0, 30.0, 5.0, None], "what was counted stays"


def test_a_first_start_lost_nothing() -> None:
    starts = Starts().begun().counted([], 0.0)
    assert (starts.loss.restarts, starts.loss.seconds) == (0, 0.0)


def test_an_exception_in_one_line() -> None:
    assert in_words(ValueError("two\n lines")) == "ValueError: two lines"
    assert in_words(SystemExit(0)) == "SystemExit: 0"
    assert in_words(RuntimeError()) == "RuntimeError"
    assert len(in_words(ValueError("x" * 20_000))) < 400
    assert Stopped(kind="raised", reason="r").traceback == ""


def test_a_prompt_is_data_too() -> None:
    assert job(FewShot(prompts=(Prompt("p", user("q", system="s")),))).few_shot.prompts[0].messages[1].content == "q"
