"""What the shipped opinions promise: their generator's bytes, enough of both sides, and nothing to be had by place."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from harness.config import Budget, GroupSplit
from harness.contracts import Rating, Ratings
from harness.data.draw import draw_ratings
from harness.data.sources import SampleSource
from harness.util.words import normalise
from tasks.datasets.opinions import lettered
from tasks.opinions import jensen_shannon, places, wasserstein
from tasks.pools.opinions import GlobalOpinionsPool, OpinionPool, OpinionQAPool

SOURCE = SampleSource()
POOLS = {"opinionqa": OpinionQAPool, "global_opinions": GlobalOpinionsPool}
GROUPS = {"opinionqa": 12, "global_opinions": 16}
ASKED = {"opinionqa": 132, "global_opinions": 99}
"""Questions of each group; all in all 132."""
SCRIPT = Path(__file__).parents[4] / "tools" / "make_opinion_samples.py"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_opinion_samples", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _survey(maker: ModuleType, name: str) -> Any:
    return next(survey for survey in maker.SURVEYS if survey.name == name)


def _pool(name: str) -> OpinionPool:
    return POOLS[name]()


@pytest.mark.core
@pytest.mark.parametrize("name", POOLS)
def test_the_generator_gives_the_same_bytes(maker: ModuleType, name: str) -> None:
    shipped = SCRIPT.parents[1] / "tasks" / "samples" / name / "pool.jsonl"
    assert shipped.read_text("utf-8") == maker.rendered(_survey(maker, name))
    assert shipped.stat().st_size < 2**20


@pytest.mark.core
@pytest.mark.parametrize("name", POOLS)
def test_every_row_is_read_and_nothing_occurs_twice(name: str) -> None:
    groups = _pool(name).groups(SOURCE)
    assert len(groups) == GROUPS[name]
    assert {len(ratings) for ratings in groups.values()} == {ASKED[name]}
    assert sum(map(len, groups.values())) == len(SOURCE.rows(POOLS[name].dataset, "pool"))
    distinct = {rating.prompt for ratings in groups.values() for rating in ratings}
    bare = {normalise(prompt.split("\nOptions:")[0]) for prompt in distinct}
    assert len(bare) == len(distinct) == 132


@pytest.mark.core
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", POOLS)
def test_every_draw_leaves_something_on_each_side(name: str, seed: int) -> None:
    context, auxiliary = _drawn(_pool(name).groups(SOURCE), seed)
    seen = {rating.question for side in (context, auxiliary) for ratings in side.values() for rating in ratings}
    assert len(context) >= 5
    assert len(auxiliary) >= 7
    assert all(len(ratings) == 20 for ratings in context.values())
    for group in context:
        left = {rating.question for rating in _pool(name).groups(SOURCE)[group]} - seen
        assert len(left) >= 20


@pytest.mark.core
@pytest.mark.parametrize("name", POOLS)
def test_a_scale_is_listed_either_way_and_its_place_means_nothing(maker: ModuleType, name: str) -> None:
    asked = maker.questions(_survey(maker, name))
    scales = [one for one in asked if one.places]
    assert 0.35 < sum(one.places[0] > 0 for one in scales) / len(scales) < 0.65
    first = np.array([one.loadings[0] for one in scales])
    assert np.abs(first.mean(0)).max() < 0.05
    assert all(len(places(one.options)) == len(one.base) for one in asked), "the undecided stand off the scale"


@pytest.mark.core
@pytest.mark.parametrize("name", POOLS)
def test_profiles_are_centred_scaled_and_far_apart(maker: ModuleType, name: str) -> None:
    profiles = np.array(list(maker.profiles(_survey(maker, name)).values()))
    assert np.allclose(profiles.mean(0), 0)
    assert np.allclose(profiles.std(0), 1)
    apart = np.linalg.norm(profiles[:, None] - profiles[None], axis=-1) + 9 * np.eye(len(profiles))
    assert apart.min() > 0.5


# ---------------------------------------------------------------- what can be learnt


def _drawn(groups: Ratings, seed: int) -> tuple[Ratings, Ratings]:
    budget = Budget(preset="32", labels=20, prompts=0, batch=4, min_steps=1, selection="last")
    return draw_ratings(groups, budget, seed, GroupSplit())[:2]


def _by_place(one: Any) -> Any:
    """Features of a reader who sees only where an option stands."""
    t = np.linspace(1, -1, len(one.base))
    return np.stack([t, t * t], 1)


def _by_meaning(one: Any) -> Any:
    """Features of a reader who understands the question as its writer did."""
    return np.array(one.loadings)


def _features(one: Any, reader: Any) -> Any:
    x = reader(one)
    x = x - x.mean(0)
    return np.vstack([x, np.zeros((len(one.options) - len(x), x.shape[1]))])


def _fitted(rows: Sequence[Rating], asked: Any, means: Any, reader: Any) -> Any:
    """Ridge from an option's features to what a group's context has beyond the mean."""
    x = np.concatenate([_features(asked[row.prompt], reader) for row in rows])
    y = np.concatenate([np.array(row.probabilities) - means[row.question] for row in rows])
    width = x.shape[1]
    return np.linalg.solve(x.T @ x + 0.1 * np.trace(x.T @ x) / width * np.eye(width), x.T @ y)


def _scores(name: str, seed: int, asked: Any) -> dict[str, list[float]]:
    """Similarity on unseen questions of: uniform, the other groups' mean (an oracle there), and two readers on top."""
    groups = _pool(name).groups(SOURCE)
    context, auxiliary = _drawn(groups, seed)
    given: dict[str, list[Any]] = {}
    for group in auxiliary:
        for row in groups[group]:
            given.setdefault(row.question, []).append(row.probabilities)
    means = {question: np.mean(values, axis=0) for question, values in given.items()}
    seen = {row.question for side in (context, auxiliary) for rows in side.values() for row in rows}
    found: dict[str, list[float]] = {}
    for group, bought in context.items():
        weights = {reader: _fitted(bought, asked, means, reader) for reader in (_by_place, _by_meaning)}
        for row in groups[group]:
            if row.question in seen:
                continue
            guesses = {"uniform": np.full(len(row.options), 1 / len(row.options)), "mean": means[row.question]}
            for reader, w in weights.items():
                guess = np.maximum(means[row.question] + _features(asked[row.prompt], reader) @ w, 0)
                guesses[reader.__name__.strip("_")] = guess / guess.sum()
            for label, guess in guesses.items():
                found.setdefault(label, []).append(_similarity(name, row, guess))
    return found


def _similarity(name: str, row: Rating, guess: Any) -> float:
    if name == "global_opinions":
        return jensen_shannon(row.probabilities, guess)
    value = wasserstein(row.options, row.probabilities, guess)
    assert value is not None
    return value


@pytest.mark.parametrize("name", POOLS)
def test_only_meaning_beats_the_mean_on_unseen_questions(
    maker: ModuleType, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {lettered(one.text, one.options): one for one in maker.questions(_survey(maker, name))}
    draws = [_scores(name, seed, asked) for seed in range(5)]
    means = {label: float(np.mean([np.mean(draw[label]) for draw in draws])) for label in draws[0]}
    with capsys.disabled():
        print(name, "  ".join(f"{label} {value:.3f}" for label, value in means.items()), end=" ")
    assert means["mean"] > means["uniform"] + 0.03
    assert means["by_place"] < means["mean"] + 0.005
    assert means["by_meaning"] > means["mean"] + 0.03


@pytest.mark.parametrize("name", POOLS)
def test_words_alone_do_not_tell_the_loadings_of_a_new_question(
    maker: ModuleType, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeCV

    asked = maker.questions(_survey(maker, name))
    options = [(i, o, x) for i, one in enumerate(asked) for o, x in zip(one.options, one.loadings, strict=False)]
    texts = [" ".join([o, asked[i].text, *(f"{word}|{o}" for word in asked[i].text.split())]) for i, o, _ in options]
    loadings = np.array([x for *_, x in options])
    explained = []
    for start in range(4):
        held = np.array([i % 4 == start for i, *_ in options])
        words = TfidfVectorizer(token_pattern=r"\S+").fit([t for t, out in zip(texts, held, strict=True) if not out])
        x = words.transform(texts)
        guess = RidgeCV(alphas=np.logspace(-2, 3, 12)).fit(x[~held], loadings[~held]).predict(x[held])
        explained.append(1 - ((guess - loadings[held]) ** 2).sum() / (loadings[held] ** 2).sum())
    with capsys.disabled():
        print(name, f"variance of loadings told by words {np.mean(explained):.3f}", end=" ")
    assert np.mean(explained) < 0.2
