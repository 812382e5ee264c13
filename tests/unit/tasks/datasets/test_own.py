"""Anybody's rows: columns, forms, ratings by the stated rule, and an exact division."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import CountsRows, HarnessError, OwnRows, Pair, Reading, user
from harness.data.sources import open_source
from tasks.datasets.division import divide, held_out
from tasks.datasets.own import contradictions, read_own
from tasks.pools.own import OwnPairsPool

pytestmark = pytest.mark.core

PLAIN = {"prompt": "How?", "chosen": "So.", "rejected": "No."}


def pairs_of(rows: Sequence[Mapping[str, Any]], **columns: str) -> list[tuple[str, str, str]]:
    found = read_own(rows, "own", Reading(columns=columns), divided=False).found.pairs
    return [(pair.prompt[-1].content, pair.chosen, pair.rejected) for pair in found]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def many(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"question {n}?", "chosen": f"good {n}", "rejected": f"bad {n}", **more} for n in range(count)]


# ---------------------------------------------------------------- columns


@pytest.mark.parametrize(
    "names",
    [
        ("question", "better", "worse"),
        ("instruction", "accepted", "rejected"),
        ("Prompt", "Chosen Response", "Rejected Response"),
        ("input", "preferred_output", "non_preferred_output"),
        ("query", "answer_pos", "answer_neg"),
        ("question", "response_chosen", "response_rejected"),
        (" prompt ", "good", "bad"),
    ],
)
def test_usual_names_are_known(names: Sequence[str]) -> None:
    assert pairs_of([dict(zip(names, PLAIN.values(), strict=True))]) == [("How?", "So.", "No.")]


def test_any_names_can_be_told() -> None:
    row = {"frage": "How?", "x": {"deep": "So."}, "y": "No.", "chosen": "ignored"}
    assert pairs_of([row], prompt="frage", chosen="x.deep", rejected="y") == [("How?", "So.", "No.")]


def test_what_other_columns_say_of_a_prompt_is_kept() -> None:
    row = {"instruction": "Translate.", "input": "Hallo", "chosen": "Hello", "rejected": "Bye"}
    assert pairs_of([row]) == [("Translate.\n\nHallo", "Hello", "Bye")]
    assert pairs_of([{**row, "input": ""}, row]) == [
        ("Translate.", "Hello", "Bye"),
        ("Translate.\n\nHallo", "Hello", "Bye"),
    ]
    assert pairs_of([row], prompt="instruction") == [("Translate.", "Hello", "Bye")]
    assert pairs_of([{key: row[key] for key in ("input", "chosen", "rejected")}]) == [("Hallo", "Hello", "Bye")]
    before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    for history in ([["Hi", "Hello"]], before):
        [pair] = read_own([{**row, "history": history}], "own", Reading(), divided=False).found.pairs
        assert [turn.content for turn in pair.prompt] == ["Hi", "Hello", "Translate.\n\nHallo"]


@pytest.mark.parametrize("name", ["conversations", "messages"])
def test_a_conversation_of_any_name_is_a_prompt(name: str) -> None:
    asked = [{"from": "human", "value": "How?"}]
    answers = {"chosen": {"from": "gpt", "value": "So."}, "rejected": {"from": "gpt", "value": "No."}}
    assert pairs_of([{name: asked, **answers}]) == [("How?", "So.", "No.")]
    both = {side: [*asked, answer] for side, answer in answers.items()}
    assert pairs_of([{name: both["chosen"], **both}]) == [("How?", "So.", "No.")], "it may hold the better answer, too"


def test_null_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for text in ("\n".join([*map(json.dumps, many(9)), "null"]), json.dumps([*many(9), None])):
        path.write_text(text)
        assert OwnPairsPool().left_out(open_source(str(path), OwnPairsPool.dataset)).reasons == {"null": 1}


def test_missing_columns_name_those_that_are_there() -> None:
    rows = [{"frage": "How?", "gut": "So."}]
    with pytest.raises(
        HarnessError, match=r"own: no columns for a better and a worse answer; the fields are: frage, gut;"
    ):
        pairs_of(rows)
    with pytest.raises(HarnessError, match=r"own: no column 'gutt' for 'chosen'; .* frage, gut; did you mean 'gut'"):
        pairs_of(rows, chosen="gutt")
    with pytest.raises(HarnessError, match=r"--columns: unknown 'chosne'; did you mean 'chosen'"):
        pairs_of(rows, chosne="gut")


def test_columns_are_part_of_the_revision(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "x.jsonl", many(10)), OwnPairsPool.dataset)
    plain = OwnPairsPool().revision(source)
    assert OwnPairsPool().reading(Reading(columns={"chosen": "chosen"})).revision(source) != plain
    assert OwnPairsPool().reading(Reading()).revision(source) == plain
    assert isinstance(OwnPairsPool(), OwnRows)
    assert isinstance(OwnPairsPool(), CountsRows)


# ---------------------------------------------------------------- choices, scores, ranks


@pytest.mark.parametrize(
    ("names", "first", "second", "tie"),
    [
        (("response_a", "response_b", "winner"), "A", "B", "tie"),
        (("answer_a", "answer_b", "preference"), "answer_a", "answer_b", "both"),
        (("conversation_a", "conversation_b", "winner"), "model_a", "model_b", "tie (bothbad)"),
        (("response_0", "response_1", "better_response_id"), 0, 1, "neither"),
        (("response_1", "response_2", "label"), 1, 2, 0),
        (("response1", "response2", "overall_preference"), -2, 1, 0),
        (("response1", "response2", "choice"), "1", "2", "none"),
        (("response_a", "response_b", "chosen_id"), 0, 1, "equal"),
    ],
)
def test_a_choice_between_two_answers(names: Sequence[str], first: Any, second: Any, tie: Any) -> None:
    rows = [
        {"prompt": f"q{n}", names[0]: "x", names[1]: "y", names[2]: said} for n, said in enumerate((first, second, tie))
    ]
    whole = read_own(rows, "own", Reading(), divided=False).found
    assert [(p.chosen, p.rejected) for p in whole.pairs] == [("x", "y"), ("y", "x")]
    assert whole.dropped == {"tie": 1}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "How?", "answers": ["a", "b", "c"], "scores": [1, 3, 3]},
        {"prompt": "How?", "responses": ["a", "b", "c"], "ratings": ["1,0", "3,5", "3,5"]},
        {"prompt": "How?", "completions": ["a", "b", "c"], "ranks": [2, 1, 1]},
        {
            "prompt": "How?",
            "answers": [{"text": "a", "score": 0}, {"text": "b", "score": 1}, {"text": "c", "score": 1}],
        },
        {"question": "How?", "candidates": json.dumps(["a", "b", "c"]), "rewards": json.dumps([0.5, 0.75, 0.75])},
    ],
)
def test_scores_of_several_answers_become_pairs_where_they_differ(row: Mapping[str, Any]) -> None:
    assert sorted(pairs_of([row])) == [("How?", "b", "a"), ("How?", "c", "a")]


def test_one_answer_a_row() -> None:
    rows = [
        {"prompt": "How?", "completion": text, "label": label}
        for text, label in (("a", True), ("b", False), ("a", True))
    ]
    rows += [
        {"prompt": "Why?", "completion": "x", "label": True},
        {"prompt": "When?", "completion": "y", "label": None},
    ]
    found = read_own(rows, "own", Reading(), divided=False).found
    assert [(p.prompt, p.chosen, p.rejected) for p in found.pairs] == [(user("How?"), "a", "b")]
    assert found.dropped == {"null": 1, "single": 1}


def test_repeated_scores_are_averaged_and_a_prompt_gives_at_most_eight() -> None:
    twice = [{"prompt": "How?", "answer": text, "score": score} for text, score in (("a", 5), ("a", 1), ("b", 4))]
    assert pairs_of(twice) == [("How?", "b", "a")]
    wide = {"prompt": "How?", "answers": [f"a{n}" for n in range(10)], "scores": list(range(10))}
    assert len(pairs_of([wide])) == 8
    turned = {**wide, "answers": wide["answers"][::-1], "scores": wide["scores"][::-1]}
    assert pairs_of([wide]) == pairs_of([turned])


def test_scores_that_say_nothing_are_counted() -> None:
    rows = [
        {"prompt": "Q1", "answers": ["a", "b"], "scores": [1, 2]},
        {"prompt": "Q2", "answers": ["a", "b"], "scores": [2, 2]},
        {"prompt": "Q3", "answers": ["a"], "scores": [2]},
        {"prompt": "Q4", "answers": ["a", "b"], "scores": [2]},
        {"prompt": "Q5", "answers": ["a", "b"], "scores": ["much", "little"]},
        {"prompt": "Q6", "answers": None, "scores": None},
    ]
    assert read_own(rows, "own", Reading(), divided=False).found.dropped == {
        "malformed": 2,
        "null": 1,
        "single": 1,
        "tie": 1,
    }


# ---------------------------------------------------------------- what is held out


def test_forty_pairs_always_have_thirty_two_to_train() -> None:
    spread = random.Random(0)
    for _ in range(1_000):
        prompts = [f"question {spread.randrange(10**9)}" for _ in range(spread.choice((40, 40, 30, 12)))]
        pairs = [Pair(f"p{spread.random()}", user(p := spread.choice(prompts)), "a", "b", cluster=p) for _ in range(40)]
        held = held_out(pairs)
        assert len(pairs) - len(held) >= 32
        assert held
        units = {pair.unit for pair in pairs if pair.id in held}
        assert not units & {pair.unit for pair in pairs if pair.id not in held}
    distinct = [Pair(f"p{n}", user(f"question {n}"), "a", "b") for n in range(40)]
    assert len(held_out(distinct)) == 8


def test_prompts_that_differ_in_form_alone_stay_together() -> None:
    pairs = [
        Pair(f"{n}{form}", user(f"{form} question {n}"), "a", "b") for n in range(50) for form in ("What", "what,")
    ]
    held = held_out(pairs)
    assert len(held) == 20
    assert {name.rstrip("Whatw,") for name in held} == {name[:-5] if name.endswith(",") else name[:-4] for name in held}
    assert all((f"{n}What" in held) == (f"{n}what," in held) for n in range(50))


def test_a_file_is_divided_exactly_and_says_so(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "x.jsonl", many(40)), OwnPairsPool.dataset)
    pool = OwnPairsPool()
    assert [len(pool.pairs(source, split)) for split in ("pool", "eval")] == [32, 8]
    assert pool.notes(source) == ["40 pairs: 32 to train, 8 held out (by a hash of the prompts)"]


def test_a_column_split_decides(tmp_path: Path) -> None:
    rows = [*many(10, split="train"), *[{**row, "prompt": "other " + row["prompt"]} for row in many(3, split="Test")]]
    source = open_source(write(tmp_path / "x.jsonl", rows), OwnPairsPool.dataset)
    assert [len(OwnPairsPool().pairs(source, split)) for split in ("pool", "eval")] == [10, 3]
    assert "as the column 'split' says" in OwnPairsPool().notes(source)[0]
    others = open_source(write(tmp_path / "y.jsonl", [*many(10, split="A")]), OwnPairsPool.dataset)
    assert "by a hash" in OwnPairsPool().notes(others)[0], "a column of other words is none"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("held.txt", "question 3?\nquestion 7?\n"),
        ("held.txt", "r3\nr7\n"),
        ("held.jsonl", '{"id": "r3"}\n{"id": "r7"}'),
        ("held.csv", "prompt,split\nquestion 3?,test\nquestion 7?,test\nquestion 5?,train\n"),
        ("held.json", '{"train": ["r1", "r2", "r5"], "test": ["r3", "r7"]}'),
        ("held.json", '{"train": ["r1", "r2"], "test": ["r3", "r7"]}'),
    ],
)
def test_a_split_file_decides(tmp_path: Path, name: str, text: str) -> None:
    rows = [{**row, "id": f"r{n}"} for n, row in enumerate(many(10))]
    source = open_source(write(tmp_path / "x.jsonl", rows), OwnPairsPool.dataset)
    (tmp_path / name).write_text(text)
    pool = OwnPairsPool().reading(Reading(split_file=str(tmp_path / name)))
    assert {p.chosen for p in pool.pairs(source, "eval")} == {"good 3", "good 7"}  # type: ignore[attr-defined]
    assert len(pool.pairs(source)) == 8


def test_a_split_file_that_names_nothing_is_refused() -> None:
    pairs = [Pair("a", user("x"), "1", "2"), Pair("b", user("y"), "1", "2")]
    for listed in ({"z"}, {"x", "y"}):
        with pytest.raises(
            HarnessError, match=r"the split file names . of 2 pairs as held out; expected some, and not all"
        ):
            divide(pairs, {}, listed)


# ---------------------------------------------------------------- folders


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    write(tmp_path / "both" / "train.jsonl", many(12))
    write(tmp_path / "both" / "validation.jsonl", many(4))
    write(tmp_path / "one" / "data" / "train-00000-of-00001.jsonl", many(10))
    write(tmp_path / "loose" / "monday.jsonl", many(5))
    write(tmp_path / "loose" / "tuesday.jsonl", [{**row, "prompt": "x" + row["prompt"]} for row in many(5)])
    write(tmp_path / "nested" / "pairs" / "train.jsonl", many(10))
    write(tmp_path / "nested" / "pairs" / "test.jsonl", many(3))
    for name, counts in {"both": [12, 4], "one": [8, 2], "loose": [8, 2], "nested": [10, 3]}.items():
        source = open_source(str(tmp_path / name), OwnPairsPool.dataset)
        assert [len(OwnPairsPool().pairs(source, split)) for split in ("pool", "eval")] == counts, name


def test_contradictions_are_counted() -> None:
    one, other = Pair("a", user("x"), "1", "2"), Pair("b", user("x"), "2", "1")
    assert contradictions([one, other, Pair("c", user("y"), "1", "2")]) == 2


def test_control_tokens_inside_texts_are_said(tmp_path: Path) -> None:
    rows = [*many(9), {**PLAIN, "chosen": "Say <|fin|> first."}]
    source = open_source(write(tmp_path / "x.jsonl", rows), OwnPairsPool.dataset)
    pool = OwnPairsPool().reading(Reading(control=frozenset({"<|fin|>"})))
    assert pool.notes(source)[1:] == ["1 pairs hold control tokens of the tokenizer inside their texts, as 'How?'"]  # type: ignore[attr-defined]
