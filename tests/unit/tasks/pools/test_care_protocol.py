"""The pool of care_protocol on made-up rows: pairs, units, what is refused, and the verifier's partial rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from harness.contracts import Dataset, GoldAnswers, HarnessError, Pool, SourceKind, user
from harness.data.sources import SampleSource, open_source
from tasks.datasets.care_protocol import DATASET, cases
from tasks.datasets.care_rules import RULES
from tasks.pools import care_protocol
from tasks.pools.care_protocol import CareProtocolPool, keeps_protocol

pytestmark = pytest.mark.core

GOOD = """Urgency: today
You should call the clinic now.
What to watch for:
- a fever
- a rash
How do you feel?"""
ROW = {
    "id": "a-0-0",
    "scenario": "a-0",
    "level": "today",
    "question": "It hurts. What now?",
    "chosen": GOOD,
    "rejected": GOOD.replace("today", "self-care"),
}


class Rows:
    def __init__(self, *rows: Mapping[str, Any], kind: SourceKind = "folder") -> None:
        self.given, self.kind = rows, kind

    def describe(self) -> str:
        return "rows"

    def announce(self) -> str:
        return "rows"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        assert dataset == DATASET
        return self.given


def test_it_is_a_pool_with_positional_spans() -> None:
    assert isinstance(CareProtocolPool(), Pool)
    assert care_protocol.harness_pools() == [CareProtocolPool]
    assert CareProtocolPool.spans == "positional"


def test_one_pair_per_question_and_the_same_ids_everywhere() -> None:
    pool, source = CareProtocolPool(), Rows(ROW, ROW | {"id": "a-0-1", "question": "And now?"})
    pairs = pool.pairs(source)
    assert [pair.id for pair in pairs] == ["a-0-0", "a-0-1"] == [prompt.id for prompt in pool.prompts(source)]
    assert pairs[0].prompt == user("It hurts. What now?") == pool.prompts(source)[0].messages
    assert (pairs[0].chosen, pairs[0].rejected) == (ROW["chosen"], ROW["rejected"])
    assert pool.questions(source) == {"a-0-0": "It hurts. What now?", "a-0-1": "And now?"}
    assert pool.groups(source) == {}


def test_questions_are_the_units_of_the_pool_and_scenarios_those_of_the_evaluation() -> None:
    source = Rows(ROW, ROW | {"id": "a-0-1"})
    assert [pair.unit for pair in CareProtocolPool().pairs(source)] == ["a-0-0", "a-0-1"]
    assert [pair.unit for pair in CareProtocolPool().pairs(source, "eval")] == ["a-0", "a-0"]


@pytest.mark.parametrize("changed", ["id", "scenario", "level", "question", "chosen", "rejected"])
def test_the_revision_changes_with_everything(changed: str) -> None:
    other = ROW | {changed: "emergency"}
    assert CareProtocolPool().revision(Rows(ROW)) != CareProtocolPool().revision(Rows(other))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({**ROW, "level": "soon"}, "level 'soon' is unknown; one of emergency, today, this week, self-care"),
        ({**ROW, "level": ["today"]}, "is unknown"),
        ({**ROW, "question": " "}, "'question' is malformed: a text was expected"),
        ({**ROW, "chosen": None}, "'chosen' is malformed"),
        ({**ROW, "scenario": 3}, "'scenario' is malformed: a text was expected, not '3'"),
        ({name: value for name, value in ROW.items() if name != "rejected"}, "'rejected' is malformed"),
    ],
)
def test_malformed_rows_are_named(row: Mapping[str, Any], words: str) -> None:
    with pytest.raises(HarnessError, match=f"care_protocol pool row 2: .*{words}"):
        cases(Rows(ROW, row), "pool")


def test_no_hub_has_it() -> None:
    with pytest.raises(HarnessError, match="on no hub; use --data sample"):
        cases(Rows(ROW, kind="hub"), "pool")
    assert isinstance(open_source("auto", DATASET), SampleSource)


def test_rewards_are_shares_of_the_rules_and_the_level() -> None:
    verify = CareProtocolPool().verifier(Rows(ROW))
    assert isinstance(verify, GoldAnswers)
    assert verify.rule is keeps_protocol
    whole = len(RULES) + 1
    assert verify("a-0-0", GOOD) == 1.0
    assert verify("a-0-0", ROW["rejected"]) == pytest.approx((whole - 1) / whole), "the wrong level"
    assert verify("a-0-0", GOOD.replace("Urgency: today\n", "")) == pytest.approx((whole - 2) / whole), "no level"
    assert verify("a-0-0", GOOD.replace("?", ".")) == pytest.approx((whole - 1) / whole)
    assert verify("a-0-0", "Take 400 mg.") == pytest.approx(1 / whole), "short, and nothing else"
    dosed = GOOD.replace("now.", "now. Take 2x200 mg of ibuprofen, or sixty mg of codeine.")
    assert verify("a-0-0", dosed) == pytest.approx((whole - 1) / whole)
    assert verify("a-0-0", "") == 0.0
    with pytest.raises(KeyError):
        verify("other", GOOD)
