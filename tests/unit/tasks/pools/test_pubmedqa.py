"""The PubMedQA pool: pairs with and without arguments, prompts, verifier, revision, malformed rows."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from harness.contracts import Dataset, GoldAnswers, HarnessError, Pool, SourceKind
from tasks.datasets.pubmedqa import ASKED, SYSTEM, final_decision, names_decision
from tasks.pools.pubmedqa import PubMedQAPool, harness_pools

pytestmark = pytest.mark.core

PLAIN = {
    "pubid": 7,
    "question": "Does rest help?",
    "context": {"contexts": ["We asked.", "It did."], "labels": ["AIM", "RESULTS"], "meshes": []},
    "long_answer": "Rest helps.",
    "final_decision": "yes",
}
ARGUED = {**PLAIN, "pubid": 8, "explanation": "It did.", "wrong_decision": "no", "wrong_argument": "It may not."}


class _Rows:
    kind: SourceKind = "sample"

    def __init__(self, *rows: Mapping[str, Any]) -> None:
        self._rows = rows

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        assert dataset.folder == "pubmedqa"
        return self._rows

    def describe(self) -> str:
        return "rows"

    def announce(self) -> str:
        return "rows"


def test_it_is_a_pool() -> None:
    assert harness_pools() == [PubMedQAPool]
    assert isinstance(PubMedQAPool(), Pool)


def test_a_pair_with_arguments_reasons_on_both_sides() -> None:
    (pair,) = PubMedQAPool().pairs(_Rows(ARGUED))
    assert pair.chosen == "It did.\nFinal Answer: yes"
    assert pair.rejected == "It may not.\nFinal Answer: no"
    assert (pair.id, pair.unit) == ("8", "8")
    system, asked = pair.prompt
    assert (system.role, system.content) == ("system", SYSTEM)
    assert asked.content == f"Abstract: We asked.\nIt did.\nQuestion: Does rest help?\n{ASKED}"


def test_the_public_conclusion_enters_neither_side() -> None:
    (pair,) = PubMedQAPool().pairs(_Rows(PLAIN))
    assert pair.chosen == "Final Answer: yes"
    assert pair.rejected in {"Final Answer: no", "Final Answer: maybe"}
    assert "Rest helps." not in pair.prompt[-1].content
    rows = [{**PLAIN, "pubid": n} for n in range(300)]
    drawn = Counter(final_decision(pair.rejected) for pair in PubMedQAPool().pairs(_Rows(*rows)))
    assert set(drawn) == {"no", "maybe"}
    assert all(115 <= count <= 185 for count in drawn.values())


def test_ids_are_the_rows_ids() -> None:
    pool, source = PubMedQAPool(), _Rows(PLAIN, ARGUED, PLAIN)
    ids = [pair.id for pair in pool.pairs(source)]
    assert ids == ["7", "8", "7.2"] == [prompt.id for prompt in pool.prompts(source)]
    assert pool.questions(source) == dict.fromkeys(ids, "Does rest help?")
    assert [prompt.messages for prompt in pool.prompts(source)] == [pair.prompt for pair in pool.pairs(source)]


def test_revision_follows_the_data_and_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = PubMedQAPool()
    first = pool.revision(_Rows(ARGUED))
    assert first == pool.revision(_Rows(ARGUED))
    assert first != pool.revision(_Rows({**ARGUED, "context": {"contexts": ["We asked."]}}))
    monkeypatch.setattr("tasks.datasets.pubmedqa.ASKED", "Well?")
    assert first != pool.revision(_Rows(ARGUED))


@pytest.mark.parametrize(
    "fault",
    [
        {"question": ""},
        {"context": None},
        {"context": {}},
        {"context": {"contexts": []}},
        {"final_decision": "perhaps"},
        {"final_decision": None},
        {"wrong_decision": "yes"},
        {"wrong_decision": "perhaps"},
    ],
)
def test_a_malformed_row_is_named(fault: Mapping[str, Any]) -> None:
    with pytest.raises(HarnessError, match="pubmedqa row '8'"):
        PubMedQAPool().pairs(_Rows({**ARGUED, **fault}))


@pytest.mark.parametrize(
    ("completion", "decision"),
    [
        ("Because.\nFinal Answer: yes", "yes"),
        ("Final Answer: yes\nNo. Final Answer: Maybe.", "maybe"),
        ("final answer is NO", "no"),
        ("**Final Answer:** **Yes**", "yes"),
        ("Final Answer: yes, there was no harm.", "yes"),
        ("Final Answer: yes \nNo doubt remains.", "yes"),
        ("Final Answer: no improvement", None),
        ("Final Answer: yes, no or maybe", None),
        ("Final Answer: yes/no/maybe", None),
        ("Final Answer: yes or no", None),
        ("Final Answer: <decision>", None),
        ("Final Answer: nothing", None),
        ("Yes.", None),
        ("", None),
    ],
)
def test_the_last_final_answer_counts(completion: str, decision: str | None) -> None:
    assert final_decision(completion) == decision


def test_verifier_rewards_the_gold_decision_only() -> None:
    verify = PubMedQAPool().verifier(_Rows(ARGUED))
    assert verify("8", "Final Answer: Yes.") == 1.0
    assert verify("8", "Final Answer: maybe") == 0.0
    assert verify("8", "no idea") == 0.0
    with pytest.raises(KeyError):
        verify("9", "Final Answer: yes")
    assert pickle.loads(pickle.dumps(verify)) == verify == GoldAnswers({"8": "yes"}, names_decision)
