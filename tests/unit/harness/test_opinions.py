"""Option texts, embeddings by question, features, and results that only choose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aligners.icl_groups import IclGroupsConfig, prompt_of, shown_rating
from aligners.icl_groups import contexts_of as icl_contexts
from aligners.mean_of_groups import Means
from aligners.ridge import mean_ratings
from aligners.uniform import Flat
from harness.contracts import ChooseRequest, HarnessError, Pair, Rating, able_to, capabilities, user
from harness.opinions.features import Embedder, Features
from harness.opinions.questions import (
    answers_question,
    bare,
    known_group,
    option_question,
    rated,
    rated_pairs,
    same_question,
)
from harness.opinions.results import GroupAligned, log_distribution, read, write
from harness.opinions.ridge import PENALTIES, best_penalty, ridge, ridge_without_each

pytestmark = pytest.mark.core

OPTIONS = ("Acceptable", "Not acceptable")
LISTED = "Question: Is it right?\nOptions: A. Acceptable B. Not acceptable\nAnswer:"
RATING = Rating("q", LISTED, OPTIONS, (0.25, 0.75))


class FakeModel:
    """Only what these results ask of a language model."""

    tokenizer = None
    max_length = 64

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)


def aligned(predictor: Any) -> GroupAligned:
    model: Any = FakeModel()
    return GroupAligned(model, "test", predictor)


def ask(prompt: str = LISTED, options: tuple[str, ...] = OPTIONS, group: str | None = None) -> ChooseRequest:
    return ChooseRequest(user(prompt), tuple("ABCDEF"[: len(options)]), options, group)


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize(
    "prompt",
    [
        "Is it right?",
        LISTED,
        "question: Is it right?\n\nOptions:\nA. Acceptable\nB. Not acceptable",
        "Is it right? Answer:",
    ],
)
def test_a_question_is_the_same_with_and_without_its_listed_options(prompt: str) -> None:
    assert bare(prompt, OPTIONS) == "Is it right?"
    assert option_question(prompt, OPTIONS) == option_question("Is it right?", OPTIONS)
    assert same_question(prompt, OPTIONS) == same_question("is it  RIGHT", ("acceptable", "not acceptable."))


def test_options_of_another_question_stay_in_its_text() -> None:
    assert bare(LISTED, ("Yes", "No")) == "Is it right?\nOptions: A. Acceptable B. Not acceptable"
    assert same_question("Is it right?", OPTIONS) != same_question("Is it right?", OPTIONS[::-1])


def test_an_option_text_holds_prompt_options_and_the_answer_and_its_span_is_the_answer() -> None:
    question = option_question(LISTED, OPTIONS)
    assert question.texts[1] == "Is it right?\nOptions: A. Acceptable B. Not acceptable\nAnswer: B. Not acceptable"
    assert [text[a:b] for text, (a, b) in zip(question.texts, question.spans, strict=True)] == list(OPTIONS)


def test_an_empty_answer_still_has_a_span() -> None:
    question = answers_question("Say nothing.", ("", "word"))
    assert all(last > first for first, last in question.spans)


@pytest.mark.parametrize("count", [0, 27])
def test_a_question_without_options_or_with_too_many_is_refused(count: int) -> None:
    with pytest.raises(HarnessError, match=f"1 to 26 options was expected, {count}"):
        option_question("What?", ("x",) * count)


# ---------------------------------------------------------------- ratings


@pytest.mark.parametrize("y", [(0.5,), (0.5, 0.6), (float("nan"), 1.0), (-0.1, 1.1)])
def test_a_rating_that_is_no_distribution_is_refused(y: tuple[float, ...]) -> None:
    with pytest.raises(HarnessError, match="'q'"):
        rated([Rating("q", "Is it?", OPTIONS, y)])


def test_a_pair_is_a_question_of_two_answers() -> None:
    pair = Pair("p", user("Say."), "good", "bad")
    (one,), (other,) = rated_pairs([pair]), rated_pairs([pair], swapped=True)
    assert [text.rpartition("\n")[2] for text in one.question.texts] == ["good", "bad"]
    assert (one.y, other.y) == ((1.0, 0.0), (0.0, 1.0))


def test_an_unknown_group_is_named_with_its_nearest() -> None:
    assert known_group("north", {"north": ()}) == "north"
    with pytest.raises(HarnessError, match=r"'nort'.*'north'"):
        known_group("nort", {"south": (), "north": ()})


# ---------------------------------------------------------------- embeddings


@pytest.mark.parametrize("pool", ["all", "answer"])
def test_each_question_is_embedded_once_and_alone_under_the_base_weights(pool: Any) -> None:
    calls: list[tuple[str, ...]] = []
    entered: list[bool] = []

    def embed(texts: Sequence[str], *, layer: int, spans: Any) -> Any:
        calls.append(tuple(texts))
        assert (layer, len(calls)) == (3, len(entered))
        assert (spans is not None) == (pool == "answer")
        return np.ones((len(texts), 2), np.float32)

    @contextmanager
    def off() -> Any:
        entered.append(True)
        yield

    embedder = Embedder(embed, 3, pool, off)
    first, second = option_question("One?", OPTIONS), option_question("Two?", OPTIONS)
    for question in (first, second, first, option_question("One?", OPTIONS)):
        embedder(question)
    assert calls == [first.texts, second.texts]


def test_features_are_centred_by_question_and_standardised() -> None:
    rng = np.random.default_rng(0)
    raw = [(rng.normal(size=(k, 5)) * [1, 2, 3, 4, 0] + 100 * i).astype(np.float32) for i, k in enumerate((2, 3, 4))]
    features = Features.of(raw, "question", standardise=True)
    rows = np.concatenate([features(one) for one in raw])
    assert np.allclose(rows.std(0), [1, 1, 1, 1, 0], atol=1e-4)
    assert np.allclose(features(raw[1]).sum(0), 0, atol=1e-3)
    both = Features.of(raw, "both", standardise=False)(raw[0])
    assert np.array_equal(both, np.concatenate([raw[0], raw[0] - raw[0].mean(0)], axis=1))
    assert np.array_equal(Features.of(raw, "none", standardise=False)(raw[0]), raw[0])


# ---------------------------------------------------------------- results


def test_log_distribution_is_normalised_and_finite_and_refuses_nan() -> None:
    assert math.fsum(map(math.exp, log_distribution([3.0, 0.0, 1.0]))) == pytest.approx(1)
    assert min(log_distribution([1.0, 0.0])) > -20
    with pytest.raises(HarnessError, match="nan"):
        log_distribution([float("nan"), 1.0])


def test_uniform_gives_every_option_the_same() -> None:
    assert aligned(Flat()).choose([ask(), ask("Which?", ("a", "b", "c"))]) == [
        pytest.approx([math.log(1 / 2)] * 2),
        pytest.approx([math.log(1 / 3)] * 3),
    ]


def test_means_are_the_groups_average_where_the_question_was_seen_and_uniform_where_not() -> None:
    groups = {"a": (RATING,), "b": (Rating("q", "is it right", OPTIONS, (0.75, 0.25)),), "c": (RATING,)}
    means = Means.of(groups)
    assert means.predict(ask()) == pytest.approx([1.25 / 3, 1.75 / 3])
    assert means.predict(ask("Is it wrong?")) == [0.5, 0.5]


def test_a_result_that_chooses_does_nothing_else_and_comes_back_from_its_files(tmp_path: Path) -> None:
    means = Means.of({"a": (RATING,)})
    result = aligned(means)
    assert capabilities(result) == {"choose"}
    with pytest.raises(HarnessError, match="the test asks for generate; the model's capabilities are: choose"):
        able_to("generate", result, by="the test")
    result.save(tmp_path)
    saved = read(tmp_path, "test")
    assert saved is not None
    assert Means(saved[0]["known"]).predict(ask()) == means.predict(ask())
    assert read(tmp_path, "another") is None


def test_arrays_come_back_bit_for_bit(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(3, 4))
    write(tmp_path, "x", {"a": [1]}, {"array": array})
    saved = read(tmp_path, "x")
    assert saved is not None
    assert saved[0] == {"a": [1]}
    assert np.array_equal(saved[1]["array"], array)


# ---------------------------------------------------------------- opinions as text


def test_a_rating_is_shown_with_its_options_and_whole_per_cents() -> None:
    text = shown_rating(RATING)
    assert (
        text
        == "Question: Is it right?\nOptions:\nA. Acceptable\nB. Not acceptable\nAnswers of this group: A 25 %, B 75 %"
    )
    prompt = prompt_of([RATING], ask("And this?"))[0].content
    assert prompt.index("A 25 %") < prompt.index("Question: And this?")
    assert "%" not in prompt_of([], ask())[0].content


def test_swapped_shows_the_next_groups_ratings() -> None:
    other = Rating("q", LISTED, OPTIONS, (1.0, 0.0))
    groups = {"a": (RATING, other), "b": (other,)}
    assert icl_contexts(groups, IclGroupsConfig(shots=1)) == {"a": (RATING,), "b": (other,)}
    assert icl_contexts(groups, IclGroupsConfig(context="swapped")) == {"a": (other,), "b": (RATING, other)}
    with pytest.raises(HarnessError, match="only 'a'"):
        icl_contexts({"a": (RATING,)}, IclGroupsConfig(context="swapped"))


# ---------------------------------------------------------------- ridge


def regression(rows: int = 24, width: int = 40) -> tuple[Any, Any, list[slice]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, width))
    return x, x[:, 0] * 0.3 + 0.1 * rng.normal(size=rows), [slice(start, start + 3) for start in range(0, rows, 3)]


def test_ridge_solves_its_normal_equations() -> None:
    x, y, _ = regression()
    w = ridge(x, y, 0.1)
    penalty = 0.1 * (x**2).sum(1).mean()
    assert np.allclose(x.T @ (y - x @ w), penalty * w)


def test_leaving_a_question_out_in_closed_form_is_leaving_it_out() -> None:
    x, y, blocks = regression()
    size = (x**2).sum(1).mean()
    found = ridge_without_each(x, y, blocks, 0.1)
    for rows in (blocks[0], blocks[5]):
        # The penalty is in units of the mean squared row: rescale it to that of all rows.
        kept = np.delete(x, rows, axis=0)
        w = ridge(kept, np.delete(y, rows), 0.1 * size / (kept**2).sum(1).mean())
        assert np.allclose(found[rows], x[rows] @ w)


def test_the_penalty_follows_the_signal() -> None:
    x, _, blocks = regression(90, 4)
    rng = np.random.default_rng(1)
    signal, noise = x @ np.array([1.0, -1.0, 0.5, 0.0]), rng.normal(size=90)
    assert best_penalty([(x, signal, blocks)]) == PENALTIES[0]
    assert best_penalty([(x, np.zeros(90), blocks)]) == PENALTIES[-1]
    assert best_penalty([(x, noise, blocks)]) > best_penalty([(x, signal, blocks)])


def test_mean_ratings_average_each_question_once() -> None:
    (one,) = mean_ratings({"a": (RATING,), "b": (Rating("q", "Is it right?", OPTIONS, (0.75, 0.25)),)})
    assert one.y == (0.5, 0.5)


def test_prefer_requests_are_refused_by_name() -> None:
    with pytest.raises(HarnessError, match="selection asks for prefer; the model's capabilities are: choose"):
        able_to("prefer", aligned(Flat()), by="selection")
