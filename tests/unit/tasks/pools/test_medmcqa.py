"""The MedMCQA pool: pairs with and without arguments, prompts, verifier, revision, malformed rows."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from harness.contracts import Dataset, GoldAnswers, HarnessError, Pool, SourceKind
from tasks.datasets.closing import LETTERED, final_letter, names_letter
from tasks.pools.medmcqa import MedMCQAPool, harness_pools

pytestmark = pytest.mark.core

OPTIONS = {"opa": "Rest", "opb": "Aspirin", "opc": "Surgery", "opd": "Water"}
PLAIN = {"id": "r0", "question": "What helps?", **OPTIONS, "cop": 1, "exp": "It does, says the book."}
ARGUED = {**PLAIN, "id": "r1", "explanation": "It does.", "wrong_idx": 0, "wrong_argument": "It must."}


class _Rows:
    kind: SourceKind = "sample"

    def __init__(self, *rows: Mapping[str, Any]) -> None:
        self._rows = rows

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        assert (dataset.folder, dataset.hub) == ("medmcqa", "openlifescienceai/medmcqa")
        return self._rows

    def describe(self) -> str:
        return "rows"

    def announce(self) -> str:
        return "rows"


def test_it_is_a_pool() -> None:
    assert harness_pools() == [MedMCQAPool]
    assert isinstance(MedMCQAPool(), Pool)
    assert MedMCQAPool.dataset.splits == {"pool": "train", "eval": "validation"}


def test_a_pair_with_arguments_reasons_on_both_sides() -> None:
    (pair,) = MedMCQAPool().pairs(_Rows(ARGUED))
    assert pair.chosen == "It does.\nFinal Answer: B. Aspirin"
    assert pair.rejected == "It must.\nFinal Answer: A. Rest"
    assert (pair.id, pair.unit) == ("r1", "r1")
    system, question = pair.prompt
    assert (system.role, system.content) == ("system", LETTERED)
    assert question.content == "What helps?\nA. Rest\nB. Aspirin\nC. Surgery\nD. Water"


def test_a_public_explanation_enters_neither_side() -> None:
    (pair,) = MedMCQAPool().pairs(_Rows(PLAIN))
    assert pair.chosen == "Final Answer: B. Aspirin"
    assert pair.rejected in {"Final Answer: A. Rest", "Final Answer: C. Surgery", "Final Answer: D. Water"}
    rows = [{**PLAIN, "id": f"r{n}"} for n in range(300)]
    letters = Counter(final_letter(pair.rejected) for pair in MedMCQAPool().pairs(_Rows(*rows)))
    assert set(letters) == set("ACD")
    assert all(70 <= count <= 130 for count in letters.values())


def test_ids_are_the_rows_ids() -> None:
    pool, source = MedMCQAPool(), _Rows(PLAIN, ARGUED, PLAIN)
    ids = [pair.id for pair in pool.pairs(source)]
    assert ids == ["r0", "r1", "r0.2"] == [prompt.id for prompt in pool.prompts(source)]
    assert pool.questions(source) == dict.fromkeys(ids, "What helps?")
    assert [prompt.messages for prompt in pool.prompts(source)] == [pair.prompt for pair in pool.pairs(source)]


def test_revision_follows_the_data_and_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = MedMCQAPool()
    first = pool.revision(_Rows(ARGUED))
    assert first == pool.revision(_Rows(ARGUED))
    assert first != pool.revision(_Rows({**ARGUED, "explanation": "It did."}))
    monkeypatch.setattr("tasks.datasets.medmcqa.LETTERED", "Think.")
    assert first != pool.revision(_Rows(ARGUED))


@pytest.mark.parametrize(
    "fault",
    [
        {"question": ""},
        {"cop": -1},
        {"cop": 4},
        {"cop": None},
        {"opb": None},
        {"opd": None},
        {"wrong_idx": 1},
        {"wrong_idx": 4},
        {"wrong_idx": "A"},
    ],
)
def test_a_malformed_row_is_named(fault: Mapping[str, Any]) -> None:
    with pytest.raises(HarnessError, match="medmcqa row 'r1'"):
        MedMCQAPool().pairs(_Rows({**ARGUED, **fault}))


def test_verifier_rewards_the_gold_letter_only() -> None:
    verify = MedMCQAPool().verifier(_Rows(ARGUED))
    assert verify("r1", "Final Answer: B. Aspirin") == 1.0
    assert verify("r1", "Final Answer: A. Rest") == 0.0
    assert verify("r1", "no idea") == 0.0
    with pytest.raises(KeyError):
        verify("r2", "Final Answer: B. Aspirin")
    assert pickle.loads(pickle.dumps(verify)) == verify == GoldAnswers({"r1": "B"}, names_letter)
