"""Pools of pairs and of opinions: layouts, what is dropped, grades, groups."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import Dataset, HarnessError, Message, Pool, SourceKind, user
from harness.data.sources import open_source
from tasks.datasets import layouts, turns
from tasks.datasets.graded import answer_text
from tasks.datasets.opinions import lettered
from tasks.datasets.pairs import asked, read_pairs
from tasks.datasets.turns import turns_of
from tasks.pools import opinions, own, pairs
from tasks.pools.opinions import GlobalOpinionsPool, OpinionQAPool
from tasks.pools.own import OwnPairsPool
from tasks.pools.pairs import HHHarmlessPool, LiveQAMedPool, UltraFeedbackPool
from tasks.preference import PreferenceTask

pytestmark = pytest.mark.core

PAIR_POOLS = (UltraFeedbackPool, HHHarmlessPool, LiveQAMedPool, OwnPairsPool)
OPINION_POOLS = (OpinionQAPool, GlobalOpinionsPool)
TALK = "\n\nHuman: Hello\n\nAssistant: Hi. Human: is inline\n\nHuman: How?\n\nAssistant:"
TURNS = (*user("Hello"), Message("assistant", "Hi. Human: is inline"), Message("user", "How?"))


class Rows:
    """A source of given rows, the same for every split unless they are given by split."""

    def __init__(self, rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], kind: SourceKind = "folder") -> None:
        self.given, self.kind = rows, kind
        self.asked: list[tuple[str, str]] = []

    def describe(self) -> str:
        return "rows"

    def announce(self) -> str:
        return "rows"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        self.asked.append((dataset.folder, dataset.splits[split]))
        return self.given[split] if isinstance(self.given, Mapping) else self.given


def as_turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": "user" if i % 2 == 0 else "assistant", "content": text} for i, text in enumerate(texts)]


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize("pool", [*PAIR_POOLS, *OPINION_POOLS])
def test_they_are_pools(pool: type[Pool]) -> None:
    assert isinstance(pool(), Pool)
    assert pool.licence
    assert pool in [*pairs.harness_pools(), *own.harness_pools(), *opinions.harness_pools()]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "How?", "chosen": "So.", "rejected": " No. "},
        {"question": "How?", "chosen": "So.", "rejected": "No."},
        {"prompt": as_turns("How?"), "chosen": as_turns("How?", "So."), "rejected": as_turns("How?", "No.")},
        {"prompt": "How?", "chosen": as_turns("", "So.")[1:], "rejected": "No."},
        {"chosen": as_turns("How?", "So."), "rejected": as_turns("How?", "No.")},
        {"chosen": "\n\nHuman: How?\n\nAssistant: So.", "rejected": "\n\nHuman: How?\n\nAssistant: No."},
        {"prompt": "\n\nHuman: How?\n\nAssistant:", "chosen": " So.", "rejected": " No."},
    ],
)
def test_every_layout_is_the_same_pair(row: Mapping[str, Any]) -> None:
    [pair] = read_pairs([row], "own").pairs
    [plain] = read_pairs([{"prompt": "How?", "chosen": "So.", "rejected": "No."}], "own").pairs
    assert (pair.prompt, pair.chosen, pair.rejected) == (user("How?"), "So.", "No.")
    assert (pair.id, pair.unit) == (plain.id, plain.unit)


def test_transcripts_become_turns() -> None:
    row = {"chosen": TALK + " So.", "rejected": TALK + "  No. "}
    [pair] = HHHarmlessPool().pairs(Rows([row]))
    assert pair.prompt == TURNS
    assert (pair.chosen, pair.rejected) == ("So.", "No.")
    assert asked(pair.prompt) == "Hello\nHow?"
    assert HHHarmlessPool().questions(Rows([row])) == {pair.id: "Hello\nHow?"}


def test_turns_of_one_speaker_are_joined_so_that_speakers_take_turns() -> None:
    found = turns_of("\n\nHuman: a\n\nHuman: b\n\nAssistant: c\n\nAssistant: d")
    assert found == (Message("user", "a\n\nb"), Message("assistant", "c\n\nd"))


def test_a_plain_prompt_that_mentions_human_is_no_transcript() -> None:
    text = "Continue: Human: hi\n\nAssistant: hello"
    [pair] = read_pairs([{"prompt": text, "chosen": "a\n\nHuman: b", "rejected": "c"}], "own").pairs
    assert pair.prompt == user(text)
    assert pair.chosen == "a\n\nHuman: b"


def test_unusable_rows_are_counted_by_reason() -> None:
    good = {"prompt": "How?", "chosen": "So.", "rejected": "No."}
    rows = [
        good,
        good,
        {**good, "rejected": "So. "},
        {**good, "chosen": "  "},
        {**good, "prompt": ""},
        {"prompt": as_turns("a", "b"), "chosen": "So.", "rejected": "No."},
        {"chosen": TALK + " So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
    ]
    pool = OwnPairsPool()
    assert len(pool.pairs(Rows(rows))) == 1
    assert pool.dropped(Rows(rows)) == {"empty": 3, "identical": 1, "other_prompt": 1, "repeated": 1}
    assert pool.dropped(Rows([good])) == {}


@pytest.mark.parametrize(
    ("row", "reason", "said"),
    [
        (
            {"prompt": "How?", "chosen": "So."},
            "malformed",
            "own row 2: has no field 'rejected'; its fields are: prompt, ",
        ),
        (
            {"chosen": "So.", "rejected": "No."},
            "malformed",
            "own row 2: 'chosen' is a text without the turns before it",
        ),
        ({"chosen": as_turns("How?"), "rejected": as_turns("How?", "No.")}, "no_answer", "'chosen' does not end with"),
        ({"prompt": [{"role": "x", "content": "x"}], "chosen": "a", "rejected": "b"}, "malformed", "malformed message"),
        ({"prompt": True, "chosen": "a", "rejected": "b"}, "malformed", "own row 2: 'prompt' is True; expected a text"),
    ],
)
def test_a_row_in_no_layout_is_counted_and_named(row: Mapping[str, Any], reason: str, said: str) -> None:
    found = read_pairs([{"prompt": "How?", "chosen": "So.", "rejected": "No."}, row], "own")
    assert (len(found.pairs), found.dropped, found.rows) == (1, {reason: 1}, 2)
    assert said in found.examples[reason]
    with pytest.raises(HarnessError, match=rf"none of 1 rows gives a pair \({reason} 1\); the first: own row 1: "):
        read_pairs([row], "own")


def test_pairs_of_one_prompt_are_one_cluster_and_a_row_may_name_its_own() -> None:
    rows = [{"prompt": "How?", "chosen": f"So {n}.", "rejected": "No."} for n in range(2)]
    rows += [{"prompt": "When?", "chosen": "Now.", "rejected": "No.", "cluster": "c7"}]
    found = OwnPairsPool().pairs(Rows(rows))
    assert found[0].unit == found[1].unit != found[2].unit == "c7"
    assert len({pair.id for pair in found}) == 3
    assert [(p.id, p.messages) for p in OwnPairsPool().prompts(Rows(rows))] == [
        (found[0].unit, user("How?")),
        ("c7", user("When?")),
    ]


def test_a_pool_reads_the_split_it_is_asked_for() -> None:
    rows = {split: [{"prompt": split, "chosen": "So.", "rejected": "No."}] for split in ("pool", "eval")}
    source = Rows(rows)
    assert UltraFeedbackPool().pairs(source)[0].prompt == user("pool")
    assert UltraFeedbackPool().pairs(source, "eval")[0].prompt == user("eval")
    assert source.asked == [("ultrafeedback", "train"), ("ultrafeedback", "test")]


def test_revision_follows_data_and_template(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"chosen": TALK + " So.", "rejected": TALK + " No."}
    first = HHHarmlessPool().revision(Rows([row]))
    assert first == HHHarmlessPool().revision(Rows([row]))
    assert first != HHHarmlessPool().revision(Rows([{**row, "chosen": TALK + " Thus."}]))
    monkeypatch.setattr(turns, "_SPEAKERS", {"Human": "system", "Assistant": "assistant"})
    monkeypatch.setattr(layouts, "check", lambda *_: None)
    assert first != HHHarmlessPool().revision(Rows([row]))


# ---------------------------------------------------------------- graded answers


def graded(question: str, *grades: int, answer: str = "answer") -> list[dict[str, Any]]:
    return [{"question": question, "answer": f"{answer} {n}", "grade": grade} for n, grade in enumerate(grades)]


def test_grades_make_pairs_where_they_differ_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = graded("Why?", 1, 2, 4)
    found = LiveQAMedPool().pairs(Rows(rows))
    expected = {("answer 2", "answer 0"), ("answer 2", "answer 1"), ("answer 1", "answer 0")}
    assert {(pair.chosen, pair.rejected) for pair in found} == expected
    assert {pair.unit for pair in found} == {found[0].cluster}
    monkeypatch.setattr(LiveQAMedPool, "gap", 3.0)
    assert [(p.chosen, p.rejected) for p in LiveQAMedPool().pairs(Rows(rows))] == [("answer 2", "answer 0")]


def test_an_answer_graded_twice_has_the_mean_of_its_grades() -> None:
    twice = [*graded("Why?", 1), {"question": "Why?", "answer": "answer 0", "grade": 4}]
    rows = [
        *twice,
        {"question": "Why?", "answer": "other", "grade": 3},
        {"question": "Why?", "answer": "x", "grade": 1},
    ]
    found = {(pair.chosen, pair.rejected) for pair in LiveQAMedPool().pairs(Rows(rows))}
    assert found == {("answer 0", "x"), ("other", "x")}  # 2.5 against 3 is less than 1 apart


def test_choice_and_order_of_graded_pairs() -> None:
    rows = graded("Why?", *([1, 4] * 6)) + graded("How?", 1, 4, answer="reply")
    found = LiveQAMedPool().pairs(Rows(rows))
    assert [pair.prompt[-1].content for pair in found[:2]] == ["Why?", "How?"]
    assert len(found) == LiveQAMedPool.per_question + 1
    assert {p.id for p in found} == {p.id for p in LiveQAMedPool().pairs(Rows(rows[::-1]))}


def test_headers_of_answers_are_cut() -> None:
    row = "Question: What is X ? (Also called: Y)\nURL: https://a.b/c\nAnswer: X is (roughly) Y (or Z)) \n"
    assert answer_text(row) == "X is (roughly) Y (or Z)"
    assert answer_text(" plain (text) ") == "plain (text)"
    empty = {"question": "Why?", "answer": "Question: a\nURL: b\nAnswer: ) \n", "grade": 4}
    assert LiveQAMedPool().dropped(Rows([*graded("Why?", 1, 2), empty])) == {"empty": 1}


@pytest.mark.parametrize("fault", [{"grade": 5}, {"grade": None}, {"answer": None}, {"question": " "}])
def test_a_malformed_judgement_is_named(fault: Mapping[str, Any]) -> None:
    with pytest.raises(HarnessError, match="liveqa_med row 'd9' is malformed"):
        LiveQAMedPool().pairs(Rows([{"question": "Why?", "answer": "a", "grade": 1, "doc": "d9", **fault}]))


# ---------------------------------------------------------------- opinions


def opinion(question: str, group: str, *shares: float) -> dict[str, Any]:
    options = [f"option {n}" for n in range(len(shares))]
    text = lettered(question, options)
    return {"question": text, "options": options, "attribute": group, "gold_distribution": list(shares)}


def test_lettered_text_is_the_folders_form() -> None:
    assert lettered("Is it? ", ["Yes", "No"]) == "Question: Is it?\nOptions: A. Yes B. No\nAnswer:"


def test_groups_hold_every_question_once() -> None:
    rows = [
        opinion("Is it?", "old", 0.25, 0.75),
        opinion("Is it ?", "old", 0.5, 0.5),
        opinion("Is it?", "young", 0.5, 0.5),
        opinion("Selected?", "old", 1.0),
        opinion("Was it?", "old", 0.2, 0.3, 0.5),
    ]
    found = OpinionQAPool().groups(Rows(rows))
    assert {group: [r.probabilities for r in ratings] for group, ratings in found.items()} == {
        "old": [(0.25, 0.75), (0.2, 0.3, 0.5)],
        "young": [(0.5, 0.5)],
    }
    assert found["old"][0].question == found["young"][0].question != found["old"][1].question
    assert found["old"][0].prompt == lettered("Is it?", ["option 0", "option 1"])
    pool = OpinionQAPool()
    assert (pool.pairs(Rows(rows)), pool.prompts(Rows(rows)), pool.questions(Rows(rows))) == ((), (), {})


def test_countries_with_few_questions_are_left_out() -> None:
    rows = [opinion(f"Is it {n}?", "Here", 0.5, 0.5) for n in range(24)]
    rows += [opinion(f"Is it {n}?", "There", 0.5, 0.5) for n in range(23)] + [opinion("One?", "There", 1.0)]
    assert {group: len(r) for group, r in GlobalOpinionsPool().groups(Rows(rows)).items()} == {"Here": 24}


def test_the_hubs_layout_gives_the_same_ratings() -> None:
    shares = [[0.1 * n / 3, 1 - 0.1 * n / 3] for n in range(24)]
    folder = [opinion(f"Is it {n}?", "Here", *share) for n, share in enumerate(shares)]
    hub = [
        {
            "question": f"Is it {n}?",
            "options": "['option 0', 'option 1']",
            "selections": f"defaultdict(<class 'list'>, {{'Here': {share}, 'Rare': [0.5, 0.5]}})" if n else
            {"Here": share},
        }
        for n, share in enumerate(shares)
    ]  # fmt: skip
    source = Rows(hub, "hub")
    assert GlobalOpinionsPool().groups(source) == GlobalOpinionsPool().groups(Rows(folder))
    assert source.asked == [("global_opinions", "train")]


def test_shares_are_divided_by_their_sum() -> None:
    [rating] = OpinionQAPool().groups(Rows([opinion("Is it?", "old", 0.24, 0.74)]))["old"]
    assert sum(rating.probabilities) == pytest.approx(1, abs=1e-12)
    assert rating.probabilities[1] == pytest.approx(0.74 / 0.98)


@pytest.mark.parametrize(
    "fault",
    [
        {"gold_distribution": [0.5, 0.4]},
        {"gold_distribution": [1.0]},
        {"gold_distribution": [1.5, -0.5]},
        {"gold_distribution": [float("nan"), 0.5]},
        {"gold_distribution": None},
        {"gold_distribution": "[0.5, "},
        {"gold_distribution": ["much", "little"]},
        {"gold_distribution": [None, 1.0]},
        {"attribute": None},
        {"attribute": " "},
        {"options": "['option 0"},
        {"question": None},
    ],
)
def test_a_malformed_opinion_is_named(fault: Mapping[str, Any]) -> None:
    with pytest.raises(HarnessError, match="opinionqa row 2 is malformed"):
        OpinionQAPool().groups(Rows([opinion("Is it?", "a", 0.5, 0.5), {**opinion("Was it?", "a", 0.5, 0.5), **fault}]))


# ---------------------------------------------------------------- where there is nothing


@pytest.mark.parametrize("pool", [HHHarmlessPool, OwnPairsPool])
def test_where_no_sample_ships_the_error_says_so(pool: type[Pool]) -> None:
    source = open_source("sample", pool.dataset)
    with pytest.raises(HarnessError, match=rf"no sample of '{pool.dataset.folder}' ships .*use --data PATH"):
        pool().revision(source)
    with pytest.raises(HarnessError, match=r"no sample of .* ships .*use --data PATH"):
        PreferenceTask(pool()).revision(source)


@pytest.mark.parametrize("pool", [LiveQAMedPool, OwnPairsPool, OpinionQAPool])
def test_what_is_on_no_hub_says_so(pool: type[Pool]) -> None:
    with pytest.raises(HarnessError, match=rf"'{pool.dataset.folder}' is on no hub; use --data PATH"):
        pool().revision(open_source("hub", pool.dataset))


# ---------------------------------------------------------------- pairs of one's own


def own_rows(count: int, each: int = 2) -> list[dict[str, str]]:
    return [
        {"prompt": f"question {i}?", "chosen": f"good {i} {j}", "rejected": f"bad {i} {j}"}
        for i in range(count)
        for j in range(each)
    ]


def test_a_file_of_pairs_is_divided_by_prompt_whatever_its_order(tmp_path: Path) -> None:
    rows = own_rows(100)
    ids: list[list[set[str]]] = []
    for number, ordered in enumerate((rows, rows[::-1])):
        path = tmp_path / f"{number}.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in ordered))
        source = open_source(str(path), OwnPairsPool.dataset)
        assert (source.kind, source.describe()) == ("file", f"file {number}.jsonl")
        ids.append([{p.id for p in OwnPairsPool().pairs(source, split)} for split in ("pool", "eval")])
        units = [{p.unit for p in OwnPairsPool().pairs(source, split)} for split in ("pool", "eval")]
        assert not units[0] & units[1]
        assert 10 <= len(units[1]) <= 30
    assert ids[0] == ids[1]
    assert len(ids[0][0] | ids[0][1]) == len(rows)


def test_a_file_is_for_ones_own_pairs_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps(own_rows(1)[0]))
    source = open_source(str(tmp_path / "mine.jsonl"), UltraFeedbackPool.dataset)
    with pytest.raises(HarnessError, match=r"mine.jsonl is one file .* 'ultrafeedback' .* use --train-on pairs"):
        UltraFeedbackPool().pairs(source)
    (tmp_path / "mine.txt").write_text("no rows")
    with pytest.raises(HarnessError, match=r"\(it is a file that ends in none of .jsonl, .json, .csv"):
        open_source(str(tmp_path / "mine.txt"), OwnPairsPool.dataset)
