"""Any lm-eval task by name: its settings, its prompts, its metrics, on made-up rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.contracts import Dataset, EvalContext, Family, HarnessError, Loglik, LoglikRequest, Pair, Scores, user
from tasks.lm_eval.catalogue import FEWSHOT_SEED, config_text, stock_config, stock_task
from tasks.lm_eval.corners import INCLUDE, _manager, quiet
from tasks.lm_eval.family import LmEval, harness_tasks
from tests.unit.tasks.lm_eval.test_stock import FakeAligned, ForeignPool

Row = dict[str, Any]


def arc(index: int, split: str = "test") -> Row:
    texts = [f"{split} {index} {word}" for word in ("salt", "ice", "sand")]
    choices = {"text": texts, "label": ["A", "B", "C"]}
    return {
        "id": f"{split}{index}",
        "question": f"What melts, {index}?",
        "choices": choices,
        "answerKey": "ABC"[index % 3],
    }


def problem(index: int, split: str = "test") -> Row:
    return {"question": f"What is {index} and one in {split}?", "answer": f"One more.\n#### {index + 1}"}


class Source:
    kind = "folder"

    def __init__(self, **splits: list[Row]) -> None:
        self.splits = splits
        self.asked: list[tuple[str, str]] = []

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        name = dataset.splits.get(split, split)
        self.asked.append((dataset.folder, name))
        return self.splits[name]


def evaluate(name: str, source: Any, aligned: Any = None, **changes: Any) -> Scores:
    ctx = EvalContext(source=source, limit=None, num_fewshot=0, seed=0)
    return LmEval.named(name)().evaluate(aligned or FakeAligned(), replace(ctx, **changes))


def stock_prompts(name: str, rows: list[Row]) -> list[str]:
    split = stock_config(name).get("test_split") or stock_config(name)["validation_split"]
    with quiet():
        task = stock_task(name, {split: rows})
    return [str(task.doc_to_text(entry)) for entry in task.eval_docs]


# ---------------------------------------------------------------- what a name gives


def test_a_name_gives_the_tasks_own_settings() -> None:
    assert isinstance(LmEval, Family)
    task = LmEval.named("arc_easy")
    assert (task.name, task.main_metric, task.requires) == ("lm_eval:arc_easy", "acc", frozenset())
    assert task.accepts == {"choose", "loglik"}
    assert list(task.metrics)[:2] == ["acc", "acc_norm"]
    assert task.default_pool == "ultrafeedback"
    problems = LmEval.named("gsm8k")
    assert list(problems.metrics)[:2] == ["exact_match,strict-match", "exact_match,flexible-extract"]
    assert (problems.requires, problems.accepts) == ({"generate"}, frozenset())


def test_metrics_of_which_less_is_better_are_turned_round() -> None:
    lambada, texts = LmEval.named("lambada_openai"), LmEval.named("wikitext")
    assert (lambada.main_metric, lambada.requires) == ("acc", {"loglik"})
    assert "neg_perplexity" in lambada.metrics
    assert (texts.main_metric, texts.requires) == ("neg_bits_per_byte", {"loglik"})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("arc_esy", "lm-eval has no task 'arc_esy'; did you mean 'arc_easy'"),
        ("ai2_arc", "'ai2_arc' is a group of 2 tasks; name one of them, as 'arc_challenge'"),
        ("mmlu", "'mmlu' is a group of 57 tasks; name one of them, as 'mmlu_abstract_algebra'"),
        ("squadv2", "'squadv2' is a Python class"),
        ("humaneval", "'humaneval' runs generated code"),
        ("mmmu_val_art", "'mmmu_val_art' shows images"),
    ],
)
def test_what_cannot_be_run_is_refused_with_one_line(name: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message) as caught:
        LmEval.named(name)
    assert "\n" not in str(caught.value)


def test_the_family_by_itself_asks_for_a_name() -> None:
    assert harness_tasks() == [LmEval]
    with pytest.raises(HarnessError, match="expected to name a task of lm-eval's, as in lm_eval:arc_easy"):
        LmEval().revision(Source(test=[arc(0)]))  # type: ignore[arg-type]


# ---------------------------------------------------------------- output types


def test_multiple_choice() -> None:
    rows = [arc(i) for i in range(4)]
    source = Source(test=rows)
    scores = evaluate("arc_easy", source)
    assert [r.id for r in scores.rows] == [row["id"] for row in rows]
    assert [r.detail["prompt"] for r in scores.rows] == stock_prompts("arc_easy", rows)
    assert scores.rows[1].detail["prompt"] == "Question: What melts, 1?\nAnswer:"
    for index, result in enumerate(scores.rows):
        best = max(range(3), key=lambda i: result.detail["options"][i]["logprob"])
        assert (result.detail["choice"], result.detail["gold"]) == (best, index % 3)
        assert result.detail["answer"] == rows[index]["choices"]["text"][best]
        assert result.values["acc"] == float(best == index % 3)
    assert scores.notes == {"chance": pytest.approx(1 / 3)}
    assert set(source.asked) == {("arc_easy", "test")}


def test_choices_that_differ_in_the_context() -> None:
    row = {"sentence": "The cat sat on the _ as it was warm.", "option1": "mat", "option2": "ice", "answer": "1"}
    [result] = evaluate("winogrande", Source(validation=[row])).rows
    assert [option["text"] for option in result.detail["options"]] == [
        "The cat sat on the mat",
        "The cat sat on the ice",
    ]
    assert result.values["acc"] == float(result.detail["choice"] == 0)


def test_generation_behind_filters() -> None:
    rows = [problem(i) for i in range(3)]
    scores = evaluate("gsm8k", Source(test=rows), FakeAligned("it is 2. Question: no"))
    assert [r.detail["prompt"] for r in scores.rows] == stock_prompts("gsm8k", rows)
    assert [r.values["exact_match,flexible-extract"] for r in scores.rows] == [0.0, 1.0, 0.0]
    assert {r.values["exact_match,strict-match"] for r in scores.rows} == {0.0}
    assert scores.rows[1].detail["output"] == "it is 2. "


class Flat(FakeAligned):
    """One nat a token."""

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        return [Loglik(-1.0 * len(r.continuation), len(r.continuation), True) for r in requests]


def test_whole_texts_by_document_and_as_lm_eval_sums_them() -> None:
    texts = ["hello big world of words", "short"]
    scores = evaluate("wikitext", Source(test=[{"page": text} for text in texts]), Flat())
    nats = [len(Flat().tokenizer.encode(text)) for text in texts]
    for text, total, result in zip(texts, nats, scores.rows, strict=True):
        assert result.values["neg_bits_per_byte"] == pytest.approx(-total / len(text.encode()) / math.log(2))
        assert result.values["neg_word_perplexity"] == pytest.approx(-math.exp(total / len(text.split())))
    size = sum(len(text.encode()) for text in texts)
    assert scores.notes["lm_eval bits_per_byte"] == pytest.approx(sum(nats) / size / math.log(2))


def test_a_single_continuation() -> None:
    scores = evaluate("lambada_openai", Source(test=[{"text": "he went to the shop"}]), Flat())
    [result] = scores.rows
    assert result.detail["prompt"] == "he went to the"
    tokens = len(Flat().tokenizer.encode(" shop"))
    assert result.values == {"acc": 1.0, "neg_perplexity": pytest.approx(-math.exp(tokens))}


# ---------------------------------------------------------------- examples


def test_on_parity_lm_evals_sampler_draws_from_the_commands_seed() -> None:
    train = [arc(i, "train") for i in range(9)]
    scores = evaluate("arc_easy", Source(test=[arc(0)], train=train), num_fewshot=2, track="parity")
    drawn = Random(FEWSHOT_SEED).sample(train, 2)
    blocks = scores.rows[0].detail["prompt"].split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == [f"Question: {row['question']}" for row in (*drawn, arc(0))]


def test_otherwise_examples_are_the_cells_own_rows() -> None:
    source = Source(test=[problem(0)], train=[problem(i, "train") for i in range(4)])
    own = tuple(Pair(f"x{i}", user(problem(i, "train")["question"]), "a", "b") for i in (3, 1))
    scores = evaluate("gsm8k", source, num_fewshot=2, demonstrations=own)
    blocks = scores.rows[0].detail["prompt"].split("\n\n")
    assert ["3 and one in train" in blocks[0], "1 and one in train" in blocks[1], len(blocks)] == [True, True, 3]
    assert blocks[0].endswith("#### 4")
    with pytest.raises(HarnessError, match="demonstration 'p0' is no row of lm_eval:gsm8k's training split"):
        evaluate("gsm8k", source, num_fewshot=1, demonstrations=tuple(ForeignPool().pairs(None)))


def test_a_task_without_examples_takes_none() -> None:
    source = Source(test=[{"text": "he went to the shop"}])
    with pytest.raises(HarnessError, match="has no training split: few-shot prompts are for track parity"):
        evaluate("lambada_openai", source, num_fewshot=1, demonstrations=tuple(ForeignPool().pairs(None)))


# ---------------------------------------------------------------- data


def test_rows_of_another_format_are_refused() -> None:
    with pytest.raises(
        HarnessError,
        match=r"lm_eval:arc_easy: rows in the format of allenai/ai2_arc were expected, but they do not fit",
    ):
        LmEval.named("arc_easy")().questions(Source(test=[problem(0)]), None)  # type: ignore[arg-type]


def test_revision_covers_rows_and_the_tasks_own_files() -> None:
    task = LmEval.named("arc_easy")()
    first = task.revision(Source(test=[arc(0)]))  # type: ignore[arg-type]
    assert first == LmEval.named("arc_easy")().revision(Source(test=[arc(0)]))  # type: ignore[arg-type]
    assert first != task.revision(Source(test=[arc(1)]))  # type: ignore[arg-type]
    text = config_text(stock_config("minerva_math500"))
    assert "def normalize_final_answer" in text
    assert " at 0x" not in text


def test_questions_are_what_documents_are_known_by() -> None:
    source = Source(test=[arc(0), arc(1)])
    assert LmEval.named("arc_easy")().questions(source, 1) == {"test0": "What melts, 0?"}  # type: ignore[arg-type]
    rows = [{"question": "Why?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 1, "id": "m1"}]
    assert LmEval.named("medmcqa")().questions(Source(validation=rows), None) == {"m1": "Why?"}  # type: ignore[arg-type]


class Hub:
    kind = "hub"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        raise AssertionError("lm-eval's own loading was expected")


def test_from_the_hub_data_come_as_lm_eval_loads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []

    def load(path: str, name: str | None = None, **options: Any) -> dict[str, Any]:
        asked.append((path, name, options))
        return {split: datasets.Dataset.from_list([arc(i, split) for i in range(3)]) for split in ("train", "test")}

    monkeypatch.setattr(datasets, "load_dataset", load)
    scores = evaluate("arc_easy", Hub(), num_fewshot=1, track="parity")
    assert asked == [("allenai/ai2_arc", "ARC-Easy", {})]
    assert len(scores.rows) == 3
    assert scores.rows[0].detail["prompt"].count("Question:") == 2


@pytest.mark.parametrize("name", ["arc_easy", "gsm8k"])
def test_rows_of_the_hub_that_a_prompt_may_show_are_of_the_revision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    make = arc if name == "arc_easy" else problem

    def revision(train: int, other: int = 0) -> str:
        splits = {
            "train": [make(i + train, "train") for i in range(3)],
            "test": [make(i) for i in range(3)],
            "unread": [make(other, "unread")],
        }
        sets = {split: datasets.Dataset.from_list(rows) for split, rows in splits.items()}
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: sets)
        return LmEval.named(name)().revision(Hub())  # type: ignore[arg-type]

    assert revision(0) == revision(0, other=1)
    assert revision(0) != revision(1)


def test_a_hub_that_cannot_be_had_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(
        HarnessError, match=r"'arc_easy' \(allenai/ai2_arc\) are neither cached .* no route.*--data PATH"
    ):
        LmEval.named("arc_easy")().revision(Hub())  # type: ignore[arg-type]


def test_held_out_pairs_of_the_pool_stand_in_rows_of_their_own() -> None:
    scores = evaluate("arc_easy", Source(test=[arc(0)]), pool=ForeignPool())
    assert [r.id for r in scores.rows] == ["test0", "pair:p0", "pair:p1", "pair:p2"]
    assert scores.notes["preference_pairs"] == 3


# ---------------------------------------------------------------- tasks of one's own

OWN = """
task: goats
dataset_path: json
output_type: multiple_choice
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
doc_to_choice: ["yes", "no"]
metric_list:
  - metric: acc
"""


def test_a_task_of_ones_own_is_found_in_the_folder_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "goats.yaml").write_text(OWN)
    with pytest.raises(HarnessError, match="goats"):
        LmEval.named("goats")
    monkeypatch.setenv(INCLUDE, str(tmp_path))
    source = Source(test=[{"question": f"Is {n} a goat?", "answer": n % 2} for n in range(4)])
    scores = evaluate("goats", source)
    assert len(scores.rows) == 4
    assert {"acc"} <= {name for row in scores.rows for name in row.values}
    before = LmEval.named("goats")().revision(source)
    (tmp_path / "goats.yaml").write_text(OWN.replace("{{question}}", "Q: {{question}}"))
    _manager.cache_clear()
    assert LmEval.named("goats")().revision(source) != before
    monkeypatch.setenv(INCLUDE, str(tmp_path / "none"))
    with pytest.raises(HarnessError, match="is no folder"):
        LmEval.named("goats")
