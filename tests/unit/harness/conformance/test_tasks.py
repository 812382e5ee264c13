"""The tasks' conformance kit: an honest task passes, every broken one is caught, and ours keep their promises."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import harness.conformance.tasks as kit
from harness.conformance import Check, CheckFailed, NotConformant
from harness.conformance.edits import Few
from harness.conformance.tasks import check_task, parametrize_tasks_with_checks, task_checks
from harness.contracts import HarnessError, HasFallingMetrics, Pool, Task
from harness.data.sources import SampleSource
from harness.plugins.registry import load
from tasks.alpaca_eval import AlpacaEval
from tasks.care_protocol import CareProtocol
from tasks.gsm8k import GSM8K
from tasks.math500 import Math500
from tasks.medical_dialogue import MedicalDialogue
from tasks.medmcqa import MedMCQA
from tasks.medqa import MedQA
from tasks.opinions import GlobalOpinions, OpinionQA
from tasks.pools.care_protocol import CareProtocolPool
from tasks.pools.gsm8k import Gsm8kPool
from tasks.pools.medical_dialogue import MedicalDialoguePool
from tasks.pools.medmcqa import MedMCQAPool
from tasks.pools.medqa import MedQAPool
from tasks.pools.opinions import GlobalOpinionsPool, OpinionQAPool
from tasks.pools.pairs import UltraFeedbackPool
from tasks.pools.pubmedqa import PubMedQAPool
from tasks.preference import PreferenceTask
from tasks.pubmedqa import PubMedQA
from tests.broken_pools import Towns, reading_towns
from tests.broken_tasks import BROKEN, HonestTask

SMALL = Few(SampleSource(), 4)
OPINIONS = Few(SampleSource(), 200)
DRAWN = {"pool_split_unread": "one set of ratings: the draw divides groups and questions"}
JUDGED = {"metrics_returned": "coverage is counted only by a judge that was measured above chance"}
UNGAMED = {"metrics_returned": "length control needs ten instructions, two of its forms a file of the public data"}


def test_an_honest_task_passes_everything() -> None:
    assert {outcome.status for outcome in check_task(HonestTask, Towns())} == {"passed"}


@pytest.mark.parametrize(("task", "check"), BROKEN.items(), ids=lambda value: getattr(value, "name", value))
def test_a_broken_task_is_caught(task: type[Task], check: str) -> None:
    named = {one.name: one for one in task_checks(task, Towns())}
    with pytest.raises(CheckFailed, match=task.name):
        named[check]()


def test_every_check_is_listed_says_what_it_finds_and_has_a_broken_task() -> None:
    defined = [value for name, value in vars(kit).items() if name.startswith("check_") and name != "check_task"]
    assert set(defined) == set(kit.CHECKS)
    assert all(check.__doc__ for check in kit.CHECKS)
    assert set(BROKEN.values()) == {check.name for check in task_checks(HonestTask, Towns())}


def test_all_failures_are_listed_and_announced_ones_pass() -> None:
    peeking = next(task for task, check in BROKEN.items() if check == "pool_split_unread")
    with pytest.raises(NotConformant, match="pool_split_unread"):
        check_task(peeking, Towns())
    outcomes = check_task(peeking, Towns(), expected_failures={"pool_split_unread": "it peeks"})
    assert {o.check: o.status for o in outcomes}["pool_split_unread"] == "expected"
    with pytest.raises(HarnessError, match="did you mean 'pool_split_unread'"):
        check_task(peeking, Towns(), expected_failures={"pool_split_unreadd": "misspelt"})


def test_a_task_that_reads_no_rows_has_none_to_change() -> None:
    unlike = [one for one in check_task(reading_towns(HonestTask, "rows"), SampleSource()) if one.status != "passed"]
    assert [(outcome.check, outcome.status) for outcome in unlike] == [("revision_follows_data", "skipped")]
    assert "reads no rows" in unlike[0].note


def by_hash(texts: Sequence[str]) -> Any:
    """Unit vectors that stand for sentence embeddings."""
    found = np.array([list(hashlib.sha256(text.encode()).digest()) for text in texts], dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_our_tasks_say_of_which_figures_less_is_better() -> None:
    """Lengths have no direction; of all that is not named here more is better."""
    ours = load(plugins=False).tasks.values()
    assert {task.name: task.lower_is_better for task in ours if isinstance(task, HasFallingMetrics)} == {
        "alpaca_eval": {"truncated"},
        "care_protocol": {"truncated", "same_level"},
        "medical_dialogue": {"contradiction"},
    }


class Dialogue(MedicalDialogue):
    """The task without the model that embeds."""

    def __init__(self) -> None:
        super().__init__(by_hash)


class Care(CareProtocol):
    """The task without the model that embeds."""

    def __init__(self) -> None:
        super().__init__(by_hash)


class Preferences(PreferenceTask):
    """The task without the model that embeds."""

    def __init__(self, pool: Pool | None = None) -> None:
        super().__init__(pool, by_hash)


@parametrize_tasks_with_checks([MedQA], SMALL, pool=MedQAPool())
def test_medqa(check: Check) -> None:
    check()


@parametrize_tasks_with_checks([MedMCQA], SMALL, pool=MedMCQAPool())
def test_medmcqa(check: Check) -> None:
    check()


@parametrize_tasks_with_checks([PubMedQA], SMALL, pool=PubMedQAPool())
def test_pubmedqa(check: Check) -> None:
    check()


@parametrize_tasks_with_checks([GSM8K, Math500], SMALL, pool=Gsm8kPool())
def test_problems(check: Check) -> None:
    check()


@parametrize_tasks_with_checks([Preferences], SMALL, pool=UltraFeedbackPool())
def test_preference(check: Check) -> None:
    check()


@parametrize_tasks_with_checks([OpinionQA], OPINIONS, pool=OpinionQAPool(), expected_failures=DRAWN)
def test_opinionqa(check: Check) -> None:
    check()


@parametrize_tasks_with_checks([GlobalOpinions], OPINIONS, pool=GlobalOpinionsPool(), expected_failures=DRAWN)
def test_global_opinions(check: Check) -> None:
    check()


@parametrize_tasks_with_checks([Dialogue], SampleSource(), pool=MedicalDialoguePool(), expected_failures=JUDGED)
def test_medical_dialogue(check: Check) -> None:
    check()


@parametrize_tasks_with_checks([Care], SMALL, pool=CareProtocolPool())
def test_care_protocol(check: Check) -> None:
    check()


@parametrize_tasks_with_checks([AlpacaEval], SMALL, pool=UltraFeedbackPool(), expected_failures=UNGAMED)
def test_alpaca_eval(check: Check) -> None:
    check()
