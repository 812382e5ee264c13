"""The judges' conformance kit: an honest judge passes, every broken one is caught, and ours keep their promises."""

from __future__ import annotations

import pytest

import harness.conformance.judges as kit
from harness.conformance import Check, CheckFailed, NotConformant
from harness.conformance.judges import check_judge, judge_checks, parametrize_judges_with_checks
from harness.contracts import HarnessError, Judge
from tasks.judges.constant import Constant
from tasks.judges.local import Local
from tasks.judges.similarity import Relevance, Similarity
from tests.broken_judges import BROKEN, HonestJudge


def test_an_honest_judge_passes_everything() -> None:
    assert {outcome.status for outcome in check_judge(HonestJudge)} == {"passed"}


@pytest.mark.parametrize(("judge", "check"), BROKEN.items(), ids=lambda value: getattr(value, "name", value))
def test_a_broken_judge_is_caught(judge: type[Judge], check: str) -> None:
    named = {one.name: one for one in judge_checks(judge)}
    with pytest.raises(CheckFailed, match=judge.name):
        named[check]()


def test_every_check_is_listed_says_what_it_finds_and_has_a_broken_judge() -> None:
    defined = [value for name, value in vars(kit).items() if name.startswith("check_") and name != "check_judge"]
    assert set(defined) == set(kit.CHECKS)
    assert all(check.__doc__ for check in kit.CHECKS)
    assert set(BROKEN.values()) == {check.name for check in judge_checks(HonestJudge)}


def test_all_failures_are_listed_and_announced_ones_pass() -> None:
    with pytest.raises(NotConformant, match="positive_control"):
        check_judge(Constant)
    outcomes = check_judge(Constant, expected_failures={"positive_control": "it reads nothing"})
    assert {o.check: o.status for o in outcomes}["positive_control"] == "expected"
    with pytest.raises(HarnessError, match="did you mean 'positive_control'"):
        check_judge(Constant, expected_failures={"positive_controll": "misspelt"})


@parametrize_judges_with_checks([Similarity, Relevance])
def test_similarity_keeps_its_promises(check: Check) -> None:
    check()


@parametrize_judges_with_checks(
    [Local, Local.named("any")],
    expected_failures={"positive_control": "the kit's model has random weights"},
)
def test_local_keeps_its_promises(check: Check) -> None:
    check()
