"""The pools' conformance kit: an honest pool passes, every broken one is caught, and ours keep their promises."""

from __future__ import annotations

import pytest

import harness.conformance.pools as kit
from harness.conformance import Check, CheckFailed, NotConformant
from harness.conformance.edits import Few
from harness.conformance.pools import check_pool, parametrize_pools_with_checks, pool_checks
from harness.contracts import HarnessError, Pool
from harness.data.sources import SampleSource
from tasks.pools.care_protocol import CareProtocolPool
from tasks.pools.gsm8k import Gsm8kPool
from tasks.pools.medical_dialogue import MedicalDialoguePool
from tasks.pools.medmcqa import MedMCQAPool
from tasks.pools.medqa import MedQAPool
from tasks.pools.opinions import GlobalOpinionsPool, OpinionQAPool
from tasks.pools.pairs import UltraFeedbackPool
from tasks.pools.pubmedqa import PubMedQAPool
from tests.broken_pools import BROKEN, HonestPool, Towns, reading_towns

pytestmark = pytest.mark.core


def test_an_honest_pool_passes_everything() -> None:
    assert {outcome.status for outcome in check_pool(HonestPool, Towns())} == {"passed"}


@pytest.mark.parametrize(("pool", "check"), BROKEN.items(), ids=lambda value: getattr(value, "name", value))
def test_a_broken_pool_is_caught(pool: type[Pool], check: str) -> None:
    named = {one.name: one for one in pool_checks(pool, Towns())}
    with pytest.raises(CheckFailed, match=pool.name):
        named[check]()


def test_every_check_is_listed_says_what_it_finds_and_has_a_broken_pool() -> None:
    defined = [value for name, value in vars(kit).items() if name.startswith("check_") and name != "check_pool"]
    assert set(defined) == set(kit.CHECKS)
    assert all(check.__doc__ for check in kit.CHECKS)
    assert set(BROKEN.values()) == {check.name for check in pool_checks(HonestPool, Towns())}


def test_all_failures_are_listed_and_announced_ones_pass() -> None:
    mixed = next(pool for pool, check in BROKEN.items() if check == "splits_apart")
    with pytest.raises(NotConformant, match="splits_apart"):
        check_pool(mixed, Towns())
    outcomes = check_pool(mixed, Towns(), expected_failures={"splits_apart": "one file"})
    assert {o.check: o.status for o in outcomes}["splits_apart"] == "expected"
    with pytest.raises(HarnessError, match="did you mean 'splits_apart'"):
        check_pool(mixed, Towns(), expected_failures={"splits_apartt": "misspelt"})


def test_a_pool_that_reads_no_rows_has_none_to_change() -> None:
    in_code = reading_towns(HonestPool, "revision", "pairs", "questions", "prompts", "groups", "verifier")
    unlike = [outcome for outcome in check_pool(in_code, SampleSource()) if outcome.status != "passed"]
    assert [(outcome.check, outcome.status) for outcome in unlike] == [("revision_follows_data", "skipped")]
    assert "reads no rows" in unlike[0].note


SHIPPED = (
    MedQAPool,
    MedMCQAPool,
    PubMedQAPool,
    Gsm8kPool,
    UltraFeedbackPool,
    MedicalDialoguePool,
    OpinionQAPool,
    GlobalOpinionsPool,
)


@parametrize_pools_with_checks([CareProtocolPool], Few(SampleSource(), 12))
def test_care_protocol_whose_verifier_reads_whole_answers(check: Check) -> None:
    check()


@parametrize_pools_with_checks(SHIPPED, SampleSource())
def test_ours_keep_their_promises_on_the_sample(check: Check) -> None:
    check()
