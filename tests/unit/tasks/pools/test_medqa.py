"""The MedQA pool: pairs with and without arguments, prompts, verifier, revision."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from harness.contracts import Dataset, GoldAnswers, HarnessError, Pool, SourceKind
from tasks.datasets.closing import LETTERED, final_letter, names_letter
from tasks.datasets.medqa import DOCUMENTS
from tasks.pools.medqa import MedQAPool, harness_pools

pytestmark = pytest.mark.core

OPTIONS = {"A": "Rest", "B": "Aspirin", "C": "Surgery", "D": "Water"}
PLAIN = {"question": "What helps?", "options": OPTIONS, "answer_idx": "B", "answer": "Aspirin"}
ARGUED = {**PLAIN, "id": "r1", "explanation": "It does.", "wrong_idx": "D", "wrong_argument": "It must."}


class _Rows:
    kind: SourceKind = "sample"

    def __init__(self, *rows: Mapping[str, Any]) -> None:
        self._rows = rows

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        assert (dataset.folder, dataset.hub) == ("medqa", "GBaker/MedQA-USMLE-4-options")
        return self._rows


def test_it_is_a_pool() -> None:
    assert harness_pools() == [MedQAPool]
    assert isinstance(MedQAPool(), Pool)
    assert MedQAPool.dataset.splits == {"pool": "train", "eval": "test"}


def test_a_pair_with_arguments_reasons_on_both_sides() -> None:
    (pair,) = MedQAPool().pairs(_Rows(ARGUED))
    assert pair.chosen == "It does.\nFinal Answer: B. Aspirin"
    assert pair.rejected == "It must.\nFinal Answer: D. Water"
    assert (pair.id, pair.unit) == ("r1", "r1")
    system, question = pair.prompt
    assert (system.role, system.content) == ("system", LETTERED)
    assert question.content == "What helps?\nA. Rest\nB. Aspirin\nC. Surgery\nD. Water"


def test_a_pair_without_arguments_is_two_closing_lines() -> None:
    (pair,) = MedQAPool().pairs(_Rows(PLAIN))
    assert pair.chosen == "Final Answer: B. Aspirin"
    assert pair.rejected in {f"Final Answer: {letter}. {OPTIONS[letter]}" for letter in "ACD"}
    assert [pair] == MedQAPool().pairs(_Rows(PLAIN))
    rows = [{**PLAIN, "question": f"What helps {n}?"} for n in range(300)]
    letters = Counter(final_letter(pair.rejected) for pair in MedQAPool().pairs(_Rows(*rows)))
    assert set(letters) == set("ACD")
    assert all(70 <= count <= 130 for count in letters.values())


def test_ids_are_the_tasks_ids() -> None:
    rows = [PLAIN, ARGUED, PLAIN]
    pool, source = MedQAPool(), _Rows(*rows)
    ids = [pair.id for pair in pool.pairs(source)]
    assert ids == DOCUMENTS.ids(rows) == [prompt.id for prompt in pool.prompts(source)] == list(pool.questions(source))
    assert len(set(ids)) == 3
    assert pool.questions(source)["r1"] == "What helps?"
    assert [prompt.messages for prompt in pool.prompts(source)] == [pair.prompt for pair in pool.pairs(source)]


def test_revision_follows_the_data_and_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = MedQAPool()
    first = pool.revision(_Rows(ARGUED))
    assert first == pool.revision(_Rows(ARGUED))
    assert first != pool.revision(_Rows({**ARGUED, "explanation": "It did."}))
    monkeypatch.setattr("tasks.datasets.medqa.LETTERED", "Think.")
    assert first != pool.revision(_Rows(ARGUED))


@pytest.mark.parametrize(
    "fault",
    [{"question": ""}, {"answer_idx": "E"}, {"options": {"A": "x"}}, {"options": None}, {"wrong_idx": "B"}],
)
def test_a_malformed_row_is_named(fault: Mapping[str, Any]) -> None:
    with pytest.raises(HarnessError, match="medqa row 'r1'"):
        MedQAPool().pairs(_Rows({**ARGUED, **fault}))


@pytest.mark.parametrize(
    ("completion", "letter"),
    [
        ("Because.\nFinal Answer: B. Aspirin", "B"),
        ("Final Answer: A. Rest\nNo. Final Answer: B. Aspirin", "B"),
        ("final answer is C", "C"),
        ("**Final Answer:** **D**", "D"),
        ("Final Answer: (A) Rest", "A"),
        ("The final answer is: option B.", "B"),
        ("Final Answer: A benzodiazepine", None),
        ("Final Answer: E. None", None),
        ("B. Aspirin", None),
        ("", None),
    ],
)
def test_the_last_final_answer_counts(completion: str, letter: str | None) -> None:
    assert final_letter(completion) == letter


def test_verifier_rewards_the_gold_letter_only() -> None:
    verify = MedQAPool().verifier(_Rows(ARGUED))
    assert verify("r1", "Final Answer: B. Aspirin") == 1.0
    assert verify("r1", "Final Answer: D. Water") == 0.0
    assert verify("r1", "no idea") == 0.0
    with pytest.raises(KeyError):
        verify("r2", "Final Answer: B. Aspirin")
    assert pickle.loads(pickle.dumps(verify)) == verify == GoldAnswers({"r1": "B"}, names_letter)
