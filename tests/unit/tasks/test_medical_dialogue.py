"""The medical_dialogue task, its rows, its pool and its test of entailment, on made-up sources, models and judges."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.contracts import (
    ChooseRequest,
    Completion,
    Dataset,
    DatasetAbsent,
    EvalContext,
    GenerateRequest,
    HarnessError,
    JudgeItem,
    Message,
    Pair,
    Preference,
    PreferRequest,
    SampleRow,
    Scores,
    Verdict,
    user,
)
from harness.data.sources import FolderSource, SampleSource, open_source
from harness.stats import mean_interval
from harness.util.words import normalise
from tasks.datasets.dialogues import DATASET, dialogues, pairs_of
from tasks.measures.entailment import (
    Claim,
    Known,
    by_model,
    by_similarity,
    judge_of,
    measure,
    negated,
    remembering,
    sentences,
)
from tasks.medical_dialogue import NEW_TOKENS, MedicalDialogue
from tasks.pools.medical_dialogue import MedicalDialoguePool
from tasks.pools.pairs import LiveQAMedPool
from tests.tiny import offering

TURNS = [
    {"role": "user", "content": "My knee hurts."},
    {"role": "assistant", "content": "Since when?"},
    {"role": "user", "content": "Since Monday. What helps?"},
]
SAMPLE = {
    "question": TURNS,
    "answers": [
        {"grade": 4, "text": "Keep it moving and use a cool pack for some days."},
        {"grade": 3, "text": "Use a cool pack for some days, if you have one."},
        {"grade": 1, "text": "Keep it still and use a hot pack for some years."},
    ],
    "Must_have": ["The knee should be kept moving."],
    "Nice_to_have": ["A cool pack can be used."],
}
LIVEQA = [
    {"question": "Is tea safe?", "answer": "Question: Tea?\nURL: http://x\nAnswer: Tea is safe.)", "grade": 4},
    {"question": "Is tea safe?", "answer": "Tea is a plant.", "grade": 2},
    {"question": "Is tea safe?", "answer": "Tea is a plant.", "grade": 1},
    {"question": "Is mud safe?", "answer": "Mud is fine.", "grade": 1},
]
ICLINIQ = {"question": "Is rain safe?", "answer_pos": "Rain is wet, and safe.", "answer_neg": "Rain is never safe."}
K_QA = [
    {
        "Question": f"What does pill {n} do?",
        "Free_form_answer": f"Pill {n} is made for ailment {n}. Pill {n} should be taken at hour {n}.",
        "Must_have": [f"Pill {n} is made for ailment {n}."],
        "Nice_to_have": [f"Pill {n} should be taken at hour {n}."],
    }
    for n in range(100, 112)
]
EVERYTHING = {"medical_dialogue": [SAMPLE], "liveqa_med": LIVEQA, "icliniq": [ICLINIQ], "k_qa": K_QA}


class Rows:
    """A folder with the same rows in both splits."""

    kind = "folder"

    def __init__(self, **folders: Sequence[Mapping[str, Any]]) -> None:
        self.folders = folders

    def describe(self) -> str:
        return "folder made-up"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        if dataset.folder not in self.folders:
            raise DatasetAbsent(f"no folder {dataset.folder!r}")
        return self.folders[dataset.folder]


def embed(texts: Sequence[str]) -> Any:
    """Unit vectors of word counts: two texts are as near as the words that they share."""
    vectors = np.zeros((len(texts), 4096), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in normalise(text).split() or ["nothing"]:
            vectors[row, int(hashlib.sha256(word.encode()).hexdigest(), 16) % 4096] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Model:
    """Likes what `liked` says; answers with `answer`."""

    def __init__(self, answer: str = "Tea is safe.", liked: Sequence[str] = ()) -> None:
        self.answer, self.liked = answer, tuple(liked)
        self.asked: list[GenerateRequest] = []

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        self.asked += requests
        return [[Completion(self.answer, tuple(range(len(self.answer.split()) + 1)), "stop")] for _ in requests]

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        return [self.compare(r.a, r.b) for r in requests]

    def compare(self, a: str, b: str) -> Preference:
        high, low = (-1.0 if text in self.liked else -9.0 for text in (a, b))
        return Preference(1 / (1 + math.exp(low - high)), (high, len(a.split())), (low, len(b.split())))


class LengthJudge:
    """The longer answer wins; `longest` is refused."""

    name, version = "length", "1"

    def __init__(self) -> None:
        self.items: list[JudgeItem] = []

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        self.items += items
        return [
            Verdict(float(len(i.a) > len(i.b)), (), "", 7, 0.5, "broken" if "mud" in i.prompt[-1].content else "ok")
            for i in items
        ]


def context(source: Any, **changes: Any) -> EvalContext:
    return replace(EvalContext(source=source, limit=None, num_fewshot=0, seed=0), **changes)


def evaluate(
    source: Any, model: Any = None, task: Any = MedicalDialogue, vectors: Any = embed, **changes: Any
) -> Scores:
    return task(vectors).evaluate(model or Model(), context(source, **changes))  # type: ignore[no-any-return]


def answers(scores: Scores) -> dict[str, SampleRow]:
    """Rows of generated answers by the last turn of their prompt."""
    return {row.detail["prompt"][-1]["content"]: row for row in scores.rows if "output" in row.detail}


# ---------------------------------------------------------------- rows and pairs


def test_every_layout_is_read_and_taken_in_turn() -> None:
    found = dialogues(Rows(**EVERYTHING), "eval")  # type: ignore[arg-type]
    assert [d.layout for d in found[:6]] == ["medical_dialogue", "icliniq", "liveqa_med", "k_qa", "liveqa_med", "k_qa"]
    own, icliniq, tea, pill = found[:4]
    assert own.prompt == tuple(Message(t["role"], t["content"]) for t in TURNS)  # type: ignore[arg-type]
    assert own.question == "My knee hurts.\nSince Monday. What helps?"
    assert (len(own.pairs), len(icliniq.pairs), len(tea.pairs), len(pill.pairs)) == (3, 1, 1, 0)
    assert tea.grades == {"Tea is safe.": 4.0, "Tea is a plant.": 1.5}, "repeated answers have their mean grade"
    assert own.references == (SAMPLE["answers"][0]["text"],)  # type: ignore[index]
    assert tea.references == ("Tea is safe.",)
    assert icliniq.references == (ICLINIQ["answer_pos"],)
    assert pill.references == (K_QA[0]["Free_form_answer"],)
    assert found[4].references == (), "the best of bad answers is no reference"
    assert pill.statements == (*K_QA[0]["Must_have"], *K_QA[0]["Nice_to_have"])


def test_graded_pairs_are_those_of_the_pool_of_liveqa_med() -> None:
    rows = Rows(liveqa_med=LIVEQA)
    assert pairs_of(dialogues(rows, "eval")) == LiveQAMedPool().pairs(rows, "eval")  # type: ignore[arg-type]


def test_rows_of_one_question_are_one_dialogue_wherever_they_stand() -> None:
    row = {"Question": "Is tea safe?", "Free_form_answer": "It is.", "Must_have": [], "Nice_to_have": None}
    (tea, _) = dialogues(Rows(liveqa_med=LIVEQA, k_qa=[row]), "eval")  # type: ignore[arg-type]
    assert (tea.physician, len(tea.grades)) == (("It is.",), 2)
    assert tea.references == ("It is.",)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "a"}, "fields of one layout"),
        ({"question": "a", "answer": "b", "grade": 5}, "grade from 1 to 4, not 5"),
        ({"question": "a", "answer": "b", "grade": True}, "grade from 1 to 4"),
        ({"question": "a", "answer": None, "grade": 1}, "an answer's text"),
        ({"question": 3, "answer": "b", "grade": 1}, "a text or a list of messages"),
        ({"question": "  ", "answer": "b", "grade": 1}, "patient's turn that holds text"),
        ({"question": TURNS[:2], "answer": "b", "grade": 1}, "does not end with a patient's turn"),
        ({"question": [{"role": "doctor", "content": "x"}], "answer": "b", "grade": 1}, "malformed message"),
        ({"question": "a", "answers": "b"}, "list of objects"),
        ({"question": "a", "answer_pos": "b", "answer_neg": 1}, "expected a text, not int"),
        ({"Question": "a", "Free_form_answer": "b", "Must_have": "c"}, "a list of texts"),
    ],
)
def test_malformed_rows_are_named(row: Mapping[str, Any], words: str) -> None:
    good = {"question": "a", "answer": "b", "grade": 1}
    with pytest.raises(HarnessError, match=f"liveqa_med eval row 2.*{words}"):
        dialogues(Rows(liveqa_med=[good, row]), "eval")  # type: ignore[arg-type]


def test_unusable_answers_give_no_pair() -> None:
    rows = [
        {"question": "a", "answer_pos": "same", "answer_neg": "same "},
        {"question": "b", "answer_pos": "", "answer_neg": "x"},
    ]
    assert pairs_of(dialogues(Rows(icliniq=rows), "eval")) == ()  # type: ignore[arg-type]


def test_a_source_without_any_folder_says_which_would_do(tmp_path: Path) -> None:
    (tmp_path / "medqa").mkdir()
    with pytest.raises(HarnessError, match="any of medical_dialogue, icliniq, liveqa_med, k_qa would do"):
        dialogues(FolderSource(tmp_path), "eval")
    (tmp_path / "k_qa").mkdir()
    (tmp_path / "k_qa" / "test.jsonl").write_text("{broken")
    with pytest.raises(HarnessError, match="broken JSON"):
        dialogues(FolderSource(tmp_path), "eval")


def test_no_hub_has_it_and_auto_takes_the_sample() -> None:
    with pytest.raises(HarnessError, match="medical_dialogue is on no hub"):
        dialogues(open_source("hub", DATASET), "eval")
    chosen = open_source("auto", DATASET)
    assert isinstance(chosen, SampleSource)
    assert "on no hub" in chosen.announce()


def test_the_pool_offers_pairs_and_prompts_and_says_what_to_keep_apart() -> None:
    source: Any = Rows(**EVERYTHING)
    pool = MedicalDialoguePool()
    pairs, prompts, questions = pool.pairs(source), pool.prompts(source), pool.questions(source)
    assert len(pairs) == 5
    assert len({pair.unit for pair in pairs[:3]}) == 3, "one pair of every question before the second of any"
    assert len(prompts) == 4 + len(K_QA)
    assert set(questions) == {pair.id for pair in pairs} | {prompt.id for prompt in prompts}
    assert {pair.unit for pair in pairs} <= {prompt.id for prompt in prompts}
    assert pool.groups(source) == {}
    assert pool.verifier(source) is None
    assert pool.revision(source) != pool.revision(Rows(liveqa_med=LIVEQA))  # type: ignore[arg-type]
    assert pool.pairs(Rows(k_qa=K_QA)) == ()  # type: ignore[arg-type]


# ---------------------------------------------------------------- the task


def test_expert_agreement_is_per_pair_and_clustered_by_question() -> None:
    source = Rows(**EVERYTHING)
    scores = evaluate(source, Model(liked=["Tea is safe.", SAMPLE["answers"][0]["text"]]))  # type: ignore[index]
    rows = [row for row in scores.rows if "expert_agreement" in row.values]
    assert len(rows) == 5
    assert len({row.unit for row in rows}) == 3
    assert {row.unit for row in rows} <= {row.id for row in scores.rows if "output" in row.detail}
    by_chosen = {(row.detail["chosen"], row.detail["rejected"]): row.values["expert_agreement"] for row in rows}
    best, middle, worst = (answer["text"] for answer in SAMPLE["answers"])  # type: ignore[index, union-attr]
    assert (by_chosen[best, middle], by_chosen[best, worst], by_chosen[middle, worst]) == (1.0, 1.0, 0.5)
    assert by_chosen[ICLINIQ["answer_pos"], ICLINIQ["answer_neg"]] == 0.5
    values = [row.values["expert_agreement"] for row in rows]
    assert mean_interval(values, [row.unit for row in rows]).n == 3
    assert all(row.values["expert_agreement_ratio"] == 0.5 for row in rows), "base itself"
    assert scores.notes["preference_pairs"] == 5


def test_per_token_and_ratio_to_base() -> None:
    source = Rows(liveqa_med=LIVEQA)
    base = {row.id: row for row in evaluate(source).rows}
    (row, *_) = evaluate(source, Model(liked=["Tea is a plant."]), base=base).rows
    assert row.values == {"expert_agreement": 0.0, "expert_agreement_mean": 0.0, "expert_agreement_ratio": 0.0}
    (row, *_) = evaluate(source, Model(liked=["Tea is safe."]), base=base).rows
    assert row.values["expert_agreement_ratio"] == 1.0
    with pytest.raises(HarnessError, match="missing from the base model's rows"):
        evaluate(source, base={})


def test_own_answers_are_compared_with_all_references() -> None:
    source = Rows(**EVERYTHING)
    rows = answers(evaluate(source, Model("Tea is safe.")))
    assert rows["Is tea safe?"].values["rouge_l"] == pytest.approx(1.0)
    assert rows["Is tea safe?"].values["similarity"] == pytest.approx(1.0)
    assert 0.0 < rows["Is rain safe?"].values["rouge_l"] < 1.0
    assert rows["Is rain safe?"].values["similarity"] < 1.0
    assert rows["Is mud safe?"].values == {"answer_tokens": 4.0, "answer_words": 3.0}, "nothing to compare with"
    several = [*LIVEQA, {"question": "Is tea safe?", "answer": "Yes, every day.", "grade": 4}]
    again = answers(evaluate(Rows(liveqa_med=several), Model("Yes, every day.")))
    assert again["Is tea safe?"].values["similarity"] == pytest.approx(1.0), "the nearest of the best answers counts"


def test_an_empty_answer_is_like_nothing() -> None:
    values = answers(evaluate(Rows(liveqa_med=LIVEQA), Model("")))["Is tea safe?"].values
    assert (values["similarity"], values["rouge_l"], values["answer_words"]) == (0.0, 0.0, 0.0)


def test_requests_hold_the_conversation_and_the_demonstrations() -> None:
    model = Model()
    shown = Pair("p", user("Is ice safe?", system="Be short."), "It is cold.", "No.")
    evaluate(Rows(medical_dialogue=[SAMPLE]), model, num_fewshot=1, demonstrations=(shown, shown))
    (request,) = model.asked
    assert request.max_new_tokens == NEW_TOKENS
    assert isinstance(request.context, tuple)
    assert [m.role for m in request.context] == ["user", "assistant", "user", "assistant", "user"]
    assert request.context[1].content == "It is cold."
    assert request.context[-1].content == TURNS[-1]["content"]


def test_a_model_that_only_prefers_has_the_pairs_metrics_alone() -> None:
    scores = evaluate(Rows(**EVERYTHING), offering(Model(), "prefer"), vectors=None)
    assert {name for row in scores.rows for name in row.values} == {
        "expert_agreement",
        "expert_agreement_mean",
        "expert_agreement_ratio",
    }

    with pytest.raises(HarnessError, match="asks for generate or prefer; the model's capabilities are: nothing"):
        evaluate(Rows(**EVERYTHING), object())


def test_limit_revision_and_questions() -> None:
    source: Any = Rows(**EVERYTHING)
    task = MedicalDialogue(embed)
    assert len(task.questions(source, 3)) == 3
    scores = evaluate(source, limit=3)
    assert [row.id for row in scores.rows if "output" in row.detail] == list(task.questions(source, 3))
    assert {k: v for k, v in scores.notes.items() if k.startswith("items_")} == {
        "items_medical_dialogue": 1.0,
        "items_icliniq": 1.0,
        "items_liveqa_med": 1.0,
    }
    changed = json.loads(json.dumps(EVERYTHING))
    changed["k_qa"][0]["Must_have"][0] += " Or not."
    assert task.revision(source) != task.revision(Rows(**changed))  # type: ignore[arg-type]


def test_statements_alone_are_a_task_of_their_own() -> None:
    source: Any = Rows(k_qa=K_QA)
    with pytest.raises(HarnessError, match="--task medical_dialogue:k_qa"):
        MedicalDialogue(embed).questions(source, None)
    only = MedicalDialogue.named("k_qa")
    assert (only.name, only.main_metric) == ("medical_dialogue:k_qa", "similarity")
    assert MedicalDialogue.named("liveqa_med").main_metric == "expert_agreement"
    scores = evaluate(Rows(**EVERYTHING), task=only)
    assert len(scores.rows) == len(K_QA)
    assert all("similarity" in row.values for row in scores.rows)
    with pytest.raises(HarnessError, match="no folder 'kqa'"):
        MedicalDialogue.named("kqa")


# ---------------------------------------------------------------- judges


def test_win_rate_against_base_or_the_baseline() -> None:
    source = Rows(liveqa_med=LIVEQA)
    alone = evaluate(source, judge=LengthJudge())
    assert {row.values["win_rate"] for row in answers(alone).values()} == {0.5}, "base against itself is not judged"
    base = {row.id: row for row in alone.rows}
    judge = LengthJudge()
    scores = evaluate(source, Model("Tea is safe for you."), judge=judge, base=base)
    assert answers(scores)["Is tea safe?"].values["win_rate"] == 1.0
    assert "win_rate" not in answers(scores)["Is mud safe?"].values, "a verdict that failed is no verdict"
    assert (scores.notes["judge_tokens"], scores.notes["judge_cost"], scores.notes["judge_failed"]) == (14.0, 1.0, 1.0)
    assert judge.items[0].reference == "Tea is safe."
    longer = {row.id: row for row in evaluate(source, Model("Tea is safe for you and for all.")).rows}
    beaten = evaluate(source, Model("Tea is safe for you."), judge=LengthJudge(), base=base, baseline=longer)
    assert answers(beaten)["Is tea safe?"].values["win_rate"] == 0.0
    same = LengthJudge()
    evaluate(source, judge=same, base=base)
    assert same.items == [], "equal answers are a tie"
    with pytest.raises(HarnessError, match="no answer among the baseline's rows"):
        evaluate(source, Model("x"), judge=LengthJudge(), base=base, baseline={})


def test_without_a_judge_there_is_no_win_rate() -> None:
    scores = evaluate(Rows(**EVERYTHING))
    assert not any("win_rate" in row.values for row in scores.rows)
    assert "judge_tokens" not in scores.notes


# ---------------------------------------------------------------- entailment

KNOWN = [
    Known(f"q{n}", row["Free_form_answer"], (*row["Must_have"], *row["Nice_to_have"])) for n, row in enumerate(K_QA)
]  # type: ignore[arg-type, misc]


def test_a_judge_that_reads_is_found_above_chance_and_its_figures_are_shown() -> None:
    source = Rows(**EVERYTHING)
    scores = evaluate(source, Model(K_QA[0]["Must_have"][0]))
    own, foreign = (answers(scores)[K_QA[n]["Question"]].values for n in (0, 1))
    assert (own["must_have"], foreign["must_have"]) == (1.0, 0.0)
    assert own["nice_to_have"] == 0.0
    assert scores.notes["entailment_agreement_low"] > 0.5
    assert scores.notes["entailment_agreement_n"] == len(K_QA) * 2
    assert "must_have" not in answers(scores)["Is tea safe?"].values


class Guesser(LengthJudge):
    """Reads nothing: its verdicts are drawn by a hash."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def entails(self, claims: Sequence[Claim]) -> list[float]:
        return [hashlib.sha256(repr((self.seed, claim)).encode()).digest()[0] / 255 for claim in claims]


def test_a_judge_at_chance_is_not_shown() -> None:
    scores = evaluate(Rows(**EVERYTHING), judge=Guesser())
    assert scores.notes["entailment_agreement_low"] <= 0.5
    assert scores.notes["entailment_agreement_n"] == len(K_QA) * 2
    assert not any({"must_have", "nice_to_have", "contradiction"} & set(row.values) for row in scores.rows)


def test_guessing_passes_for_reading_about_as_seldom_as_the_interval_says() -> None:
    found = [measure(Guesser(seed).entails, KNOWN) for seed in range(100)]
    assert sum(m is not None and m.entailment.above_chance for m in found) <= 8
    assert sum(m is not None and m.tells_contradiction for m in found) <= 2


@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0])
def test_a_constant_judge_is_at_chance(constant: float) -> None:
    measured = measure(lambda claims: [constant] * len(claims), KNOWN)
    assert measured is not None
    assert measured.entailment.mean == 0.5
    assert not measured.entailment.above_chance
    assert not measured.tells_contradiction


def test_contradiction_needs_a_judge_that_tells_a_statement_from_its_negation() -> None:
    topical = evaluate(Rows(**EVERYTHING))
    assert topical.notes["contradiction_agreement_low"] <= 0.5
    assert not any("contradiction" in row.values for row in topical.rows)

    class Reader(LengthJudge):
        """Entailed is what stands there word for word."""

        def entails(self, claims: Sequence[Claim]) -> list[float]:
            return [float(hypothesis in premise) for premise, hypothesis in claims]

    pill = K_QA[0]
    scores = evaluate(Rows(**EVERYTHING), Model(str(negated(pill["Must_have"][0]))), judge=Reader())
    assert scores.notes["contradiction_agreement"] == 1.0
    values = answers(scores)[pill["Question"]].values  # type: ignore[index]
    assert (values["must_have"], values["contradiction"]) == (0.0, 0.5)
    assert answers(scores)[K_QA[1]["Question"]].values["contradiction"] == 0.0  # type: ignore[index]


def test_the_halves_share_no_question_and_too_few_measure_nothing() -> None:
    asked: list[list[Claim]] = []

    def entails(claims: Sequence[Claim]) -> list[float]:
        asked.append(list(claims))
        return [float(hypothesis in premise) for premise, hypothesis in claims]

    measured = measure(entails, KNOWN)
    assert measured is not None
    assert measured.entailment.mean == 1.0
    calibration, held_out = ({h for _, h in asked[i]} for i in (0, 2))
    assert calibration
    assert held_out
    assert not calibration & held_out
    assert all(h not in premise for premise, h in asked[1] + asked[3]), "of another question"
    assert measure(entails, KNOWN[:3]) is None
    assert measure(entails, [Known("a", "", ("b",)), *KNOWN[:3]]) is None


def test_no_statements_no_measuring() -> None:
    scores = evaluate(Rows(liveqa_med=LIVEQA))
    assert not any(name.startswith("entailment") for name in scores.notes)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("Aspirin is safe.", "Aspirin is not safe."),
        ("Aspirin is not safe.", "Aspirin is safe."),
        ("It cannot help.", "It can help."),
        ("It may cause pain.", "It cannot cause pain."),
        ("You should not stop.", "You should stop."),
        ("It doesn't matter.", "It does matter."),
        ("Pills that are red can help.", "Pills that are red cannot help."),
        ("Causes pain.", None),
    ],
)
def test_negation_by_rule(statement: str, expected: str | None) -> None:
    assert negated(statement) == expected


def test_similarity_reads_sentence_by_sentence() -> None:
    assert sentences("One. Two?\nThree") == ["One.", "Two?", "Three"]
    score = by_similarity(embed)([("Rain is wet. Tea is safe.", "Tea is safe."), ("", "Tea is safe."), ("", "")])
    assert score == pytest.approx([1.0, 0.0, 0.0])


def test_texts_are_embedded_once() -> None:
    calls: list[str] = []

    def counted(texts: Sequence[str]) -> Any:
        calls.extend(texts)
        return embed(texts)

    remembered = remembering(counted)
    assert remembered(["a", "b", "a"]).shape == (3, 4096)
    assert np.array_equal(remembered(["b"]), embed(["b"]))
    assert calls == ["a", "b"]


class Chooser:
    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        yes = ["moon" in r.prompt[-1].content.split("Statement:")[1] for r in requests]
        return [[math.log(0.9), math.log(0.1)] if y else [math.log(0.2), math.log(0.8)] for y in yes]


class WithModel(LengthJudge):
    def language_model(self) -> Any:
        return Chooser()


def test_a_judges_language_model_is_asked_yes_or_no() -> None:
    claims = [("The sun.", "The moon."), ("The moon.", "The sun.")]
    assert by_model(Chooser())(claims) == pytest.approx([0.9, 0.2])  # type: ignore[arg-type]
    assert judge_of(WithModel(), embed)(claims) == pytest.approx([0.9, 0.2])
    assert judge_of(None, embed)([("Tea.", "Tea.")]) == pytest.approx([1.0])
    assert judge_of(LengthJudge(), embed)([("Tea.", "Tea.")]) == pytest.approx([1.0])


def test_the_judge_local_lends_its_model() -> None:
    from harness.contracts import JudgeTools
    from tasks.judges.local import Local

    class Likely(Chooser):
        def loglik(self, requests: Sequence[Any]) -> list[Any]:
            raise AssertionError("a yes-or-no question is a choice")

    judge = Local().with_tools(JudgeTools(load=lambda name: Likely(), cache=Path()))  # type: ignore[arg-type, return-value]
    assert judge_of(judge, embed)([("The sun.", "The moon.")]) == pytest.approx([0.9])
