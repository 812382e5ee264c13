"""The medqa task on a made-up source, pool and model."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.contracts import (
    ChooseRequest,
    Dataset,
    EvalContext,
    HarnessError,
    Loglik,
    LoglikRequest,
    Pair,
    Preference,
    PreferRequest,
    Scores,
    user,
)
from tasks.datasets.medqa import DATASET, DOCUMENTS, document
from tasks.lm_eval.held_out import match
from tasks.lm_eval.stock import StockTask
from tasks.measures.preference import METRICS
from tasks.medqa import MedQA, harness_tasks
from tests.tiny import offering, tiny_tokenizer


def row(index: int, split: str) -> dict[str, Any]:
    options = {letter: f"{split} drug {index}{letter}" for letter in "ABCD"}
    question = f"In {split}, patient number {index} has a fever. Which drug helps?"
    return {"question": question, "options": options, "answer_idx": "ABCD"[index % 4], "answer": "", "meta_info": "x"}


class FakeSource:
    kind = "folder"

    def __init__(self, pool: int = 6, evaluation: int = 8) -> None:
        self.splits = {
            "pool": [row(i, "pool") for i in range(pool)],
            "eval": [row(i, "eval") for i in range(evaluation)],
        }

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        assert dataset.folder == "medqa"
        return self.splits[split]


def pair(entry: Mapping[str, Any], identity: str) -> Pair:
    prompt = user(f"{entry['question']}\n" + "\n".join(f"({k}) {v}" for k, v in entry["options"].items()))
    gold = entry["options"][entry["answer_idx"]]
    return Pair(identity, prompt, f"It is {gold}, because it works.", "It is none of them, as it happens.", identity)


class FakePool:
    name, licence, dataset = "medqa", "MIT", DATASET

    def __init__(self, dataset: Dataset = DATASET) -> None:
        self.dataset = dataset

    def pairs(self, source: FakeSource, split: str = "pool") -> list[Pair]:
        return [pair(entry, f"{split}/{i}") for i, entry in enumerate(source.splits[split])]


class ForeignPool(FakePool):
    def pairs(self, source: FakeSource, split: str = "pool") -> list[Pair]:
        return [Pair(f"u{i}", user(f"Write poem {i}."), f"A rose {i}", "No.") for i in range(3)]


class FakeAligned:
    """Scores from hashes; `salt` makes another model of it, `shift` moves both answers of a pair alike."""

    max_length = 512

    def __init__(self, salt: str = "") -> None:
        self.tokenizer = tiny_tokenizer()
        self.salt = salt

    def number(self, *parts: object) -> float:
        return hashlib.sha256(repr((self.salt, *parts)).encode()).digest()[0] / 10

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        return [Loglik(-self.number(r.context, r.continuation), len(r.continuation), False) for r in requests]

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        sides = [((-self.number(r.a), len(r.a)), (-self.number(r.b, r.prompt), len(r.b))) for r in requests]
        return [Preference(1 / (1 + math.exp(b[0] - a[0])), a, b) for a, b in sides]


class Reranker:
    """Chooses and prefers by a rule that is no likelihood."""

    max_length = 512

    def __init__(self) -> None:
        self.tokenizer = tiny_tokenizer()
        self.asked: list[ChooseRequest] = []

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        self.asked += requests
        return [[math.log(share) for share in (0.2, 0.5, 0.2, 0.1)] for _ in requests]

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        return [Preference(0.9, None, None) for _ in requests]


def context(source: FakeSource | None = None, **changes: Any) -> EvalContext:
    start = EvalContext(source=source or FakeSource(), limit=None, num_fewshot=0, seed=0, pool=FakePool())  # type: ignore[arg-type]
    return replace(start, **changes)


def evaluate(ctx: EvalContext, aligned: Any = None) -> Scores:
    return MedQA().evaluate(aligned or FakeAligned(), ctx)


def test_rows_say_what_was_asked_and_answered() -> None:
    source = FakeSource()
    scores = evaluate(context(source))
    assert [r.id for r in scores.rows] == DOCUMENTS.ids(source.splits["eval"])
    for entry, result in zip(source.splits["eval"], scores.rows, strict=True):
        assert set(result.values) == set(MedQA.metrics) - MedQA.written_metrics
        detail = result.detail
        assert detail["prompt"].startswith(f"Question: {entry['question']}\nA. {entry['options']['A']}\nB. ")
        assert detail["gold"] == entry["answer_idx"]
        assert detail["answer"] == max(detail["options"], key=lambda k: detail["options"][k]["logprob"])
        assert result.values["acc"] == float(detail["answer"] == detail["gold"])
        assert result.unit == result.id


def test_every_option_has_its_share_even_where_two_read_alike() -> None:
    source = FakeSource()
    source.splits["eval"][0]["options"] = {"A": "five", "B": "seven", "C": "five", "D": "nine"}
    for result, entry in zip(evaluate(context(source)).rows, source.splits["eval"], strict=True):
        told = result.detail["shares"]
        assert list(told) == [f"{letter}. {option}" for letter, option in entry["options"].items()]
        assert math.fsum(told.values()) == pytest.approx(1)


def test_preference_figures_and_their_readings() -> None:
    scores = evaluate(context())
    for result in scores.rows:
        [figures] = result.detail["preferences"]
        (chosen, n_chosen), (rejected, n_rejected) = figures["chosen"], figures["rejected"]
        assert result.values["pref"] == result.values["pref_sum"] == float(chosen > rejected)
        assert result.values["pref_mean"] == float(chosen / n_chosen > rejected / n_rejected)
        assert result.values["pref_ratio"] == 0.5
    assert {r.values["pref_sum"] for r in scores.rows} == {0.0, 1.0}


def test_ratio_compares_with_base() -> None:
    base = {r.id: r for r in evaluate(context()).rows}
    same = evaluate(context(base=base))
    assert {r.values["pref_ratio"] for r in same.rows} == {0.5}
    other = evaluate(context(base=base), FakeAligned("other"))
    for result in other.rows:
        [ours], [theirs] = result.detail["preferences"], base[result.id].detail["preferences"]
        gains = [ours[side][0] - theirs[side][0] for side in ("chosen", "rejected")]
        assert result.values["pref_ratio"] == float(gains[0] > gains[1])
    assert {r.values["pref_ratio"] for r in other.rows} == {0.0, 1.0}


def test_base_scored_on_other_items_is_refused() -> None:
    base = {r.id: r for r in evaluate(context(limit=2)).rows}
    with pytest.raises(HarnessError, match="missing from the base model's rows"):
        evaluate(context(base=base))


def test_equal_scores_are_ties() -> None:
    aligned = FakeAligned()
    aligned.prefer = lambda requests: [Preference(0.5, (-3.0, 3), (-3.0, 3)) for _ in requests]  # type: ignore[method-assign]
    for result in evaluate(context(), aligned).rows:
        assert [result.values[m] for m in METRICS] == [0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("broken", [(float("nan"), 3), (float("-inf"), 3), (-1.0, 0)])
def test_unusable_preferences_raise(broken: tuple[float, int]) -> None:
    aligned = FakeAligned()
    aligned.prefer = lambda requests: [Preference(0.5, (-3.0, 3), broken) for _ in requests]  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match="eval/0"):
        evaluate(context(), aligned)


def test_limit_takes_items_and_their_pairs() -> None:
    scores = evaluate(context(limit=3))
    assert len(scores.rows) == 3
    assert scores.notes["preference_pairs"] == 3
    assert list(MedQA().questions(FakeSource(), 3)) == [r.id for r in scores.rows]


def test_pairs_of_another_data_set_get_their_own_rows() -> None:
    scores = evaluate(context(limit=2, pool=ForeignPool(Dataset(folder="poems", hub="x/poems"))))
    assert [r.id for r in scores.rows][2:] == ["pair:u0", "pair:u1"]
    assert set(scores.rows[0].values) == {"acc", "acc_norm", "p_gold", "acc_cyclic"}
    assert set(scores.rows[2].values) == {"pref", "pref_sum", "pref_mean", "pref_ratio"}


def test_without_pairs_there_is_accuracy_only() -> None:
    blind = offering(FakeAligned(), "loglik")
    trained = {"p_gold", "acc_cyclic"}
    for scores, more in ((evaluate(context(pool=None)), trained), (evaluate(context(), blind), set())):
        assert all(set(r.values) == {"acc", "acc_norm"} | more for r in scores.rows)
        assert scores.notes == {"chance": 0.25}


def test_parity_is_lm_evals_metric_alone() -> None:
    scores = evaluate(context(pool=None, track="parity"))
    assert all(set(r.values) == {"acc", "acc_norm"} for r in scores.rows)
    assert MedQA.parity_metric in scores.rows[0].values


def test_a_re_ranker_answers_by_choosing() -> None:
    aligned, source = Reranker(), FakeSource()
    scores = evaluate(context(source), aligned)
    assert [r.detail["answer"] for r in scores.rows] == ["B"] * 8
    assert [r.values["acc"] for r in scores.rows] == [float(e["answer_idx"] == "B") for e in source.splits["eval"]]
    assert all(
        set(r.values) == {"acc", "acc_norm", "pref", "p_gold", "acc_cyclic"} and r.values["pref"] == 1.0
        for r in scores.rows
    )
    assert scores.rows[0].detail["preferences"][0]["chosen"] is None
    assert scores.rows[0].detail["options"]["C"]["logprob"] == pytest.approx(math.log(0.2))
    assert len(aligned.asked) == 8 + 4 * 8
    # Whatever stands second is chosen: over the turns of the letters each option is chosen once.
    assert all(r.values["p_gold"] == pytest.approx(0.25) for r in scores.rows)
    assert all(r.values["acc_cyclic"] == 0.25 for r in scores.rows)
    base = {r.id: r for r in evaluate(context(source)).rows}
    assert evaluate(context(source, base=base), Reranker()).rows[0].values == scores.rows[0].values


def test_a_model_that_cannot_answer_is_refused() -> None:
    mute = offering(FakeAligned(), "prefer")
    with pytest.raises(HarnessError, match="asks for choose or loglik; the model's capabilities are: prefer"):
        evaluate(context(), mute)


def test_controls_are_fitted_on_training_pairs() -> None:
    source = FakeSource()
    notes = evaluate(context(source, training_pairs=tuple(FakePool().pairs(source)))).notes
    assert notes["bag_of_words"] == 1.0  # "because" marks every chosen answer
    assert notes["shortcut_training_pairs"] == 6
    assert evaluate(context(source)).notes["bag_of_words"] == 0.5


def test_demonstrations_are_the_cells_own_pairs() -> None:
    source = FakeSource()
    own = FakePool().pairs(source)
    scores = evaluate(context(source, num_fewshot=2, demonstrations=(own[4], own[1], own[0])))
    prompt = scores.rows[0].detail["prompt"]
    blocks = prompt.split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == [
        "Question: In pool, patient number 4 has a fever. Which drug helps?",
        "Question: In pool, patient number 1 has a fever. Which drug helps?",
        "Question: In eval, patient number 0 has a fever. Which drug helps?",
    ]
    assert [block.split("\n")[-1] for block in blocks] == ["Answer: A", "Answer: B", "Answer:"]


def test_parity_shows_the_first_training_rows() -> None:
    source = FakeSource()
    own = FakePool().pairs(source)
    ctx = context(source, num_fewshot=2, demonstrations=(own[4], own[3]), track="parity")
    blocks = evaluate(ctx).rows[0].detail["prompt"].split("\n\n")
    assert ["number 0" in blocks[0], "number 1" in blocks[1], len(blocks)] == [True, True, 3]


def test_impossible_demonstrations() -> None:
    source = FakeSource()
    with pytest.raises(HarnessError, match="3 demonstrations asked for, 1 available"):
        evaluate(context(source, num_fewshot=3, demonstrations=tuple(FakePool().pairs(source)[:1])))
    foreign = ForeignPool(Dataset(folder="poems", hub="x/poems"))
    with pytest.raises(HarnessError, match="demonstration 'u0' is no row of medqa's training split"):
        evaluate(context(source, num_fewshot=1, demonstrations=tuple(foreign.pairs(source))))


def test_revision_follows_the_evaluation_rows_only() -> None:
    first = MedQA().revision(FakeSource())
    changed, other_pool = FakeSource(), FakeSource(pool=2)
    changed.splits["eval"][3]["options"]["B"] = "placebo"
    assert MedQA().revision(FakeSource()) == first == MedQA().revision(other_pool)
    assert MedQA().revision(changed) != first


def test_rows_that_name_an_option_twice_are_of_another_revision_than_when_letters_followed_texts() -> None:
    once, twice = FakeSource(), FakeSource()
    twice.splits["eval"][3]["options"] = {"A": "five", "B": "seven", "C": "five", "D": "nine"}
    assert MedQA().revision(once) == StockTask.revision(MedQA(), once)
    assert MedQA().revision(twice) != StockTask.revision(MedQA(), twice)


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[str, int, int]] = []
    evaluate(context(progress=lambda *step: seen.append(step)))
    assert ("answers", 32, 32) in seen
    assert seen[-1] == ("preferences", 8, 8)


def test_shipped_sample_joins_its_pairs() -> None:
    from harness.data.sources import open_source
    from tasks.pools.medqa import MedQAPool

    source, pool = open_source("sample", DATASET), MedQAPool()
    own = tuple(pool.pairs(source))
    ctx = context(source, pool=pool, limit=5, num_fewshot=2, demonstrations=own, training_pairs=own)  # type: ignore[arg-type]
    scores = evaluate(ctx)
    assert [len(r.detail["preferences"]) for r in scores.rows] == [1] * 5
    assert [r.detail["preferences"][0]["pair"] for r in scores.rows] == [r.id for r in scores.rows]
    assert all(own[0].prompt[-1].content.split("\n")[0] in r.detail["prompt"] for r in scores.rows)
    assert scores.notes["shortcut_training_pairs"] == len(own)


@pytest.mark.core
def test_row_ids_are_stable_and_distinct() -> None:
    rows = [row(0, "eval"), row(1, "eval"), row(0, "eval")]
    ids = DOCUMENTS.ids(rows)
    assert ids[2] == f"{ids[0]}.2"
    assert len(set(ids)) == 3
    assert DOCUMENTS.ids(rows[:2]) == ids[:2]
    assert DOCUMENTS.ids([{"id": "eval-7", **rows[0]}]) == ["eval-7"]


@pytest.mark.core
@pytest.mark.parametrize(
    "flaw", [{"question": ""}, {"options": {"A": "x"}}, {"options": ["w", "x", "y", "z"]}, {"answer_idx": "E"}]
)
def test_malformed_rows_are_named(flaw: dict[str, Any]) -> None:
    with pytest.raises(HarnessError, match="'q9' is malformed"):
        document({**row(0, "eval"), **flaw}, "q9")


@pytest.mark.core
def test_match_prefers_the_id_and_needs_the_question() -> None:
    entry = row(0, "eval")
    texts = {"a": entry["question"], "b": entry["question"], "c": row(1, "eval")["question"]}
    assert match([pair(entry, "b"), pair(entry, "z"), pair(row(5, "eval"), "c")], texts) == {"b": "b", "z": "a"}


@pytest.mark.core
def test_registered() -> None:
    assert harness_tasks() == [MedQA]
