"""Pools and opinion tasks on the public data: counts, clusters, and what a uniform answer scores."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import ChooseRequest, EvalContext, Pool
from harness.data.sources import open_source
from tasks.datasets.opinions import lettered
from tasks.opinions import GlobalOpinions, OpinionQA
from tasks.pools.opinions import GlobalOpinionsPool, OpinionQAPool
from tasks.pools.pairs import HHHarmlessPool, LiveQAMedPool, UltraFeedbackPool

DATA = Path(os.environ.get("HARNESS_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not (DATA / "opinionqa").is_dir(), reason="no public data folder: set HARNESS_DATA"),
]


@pytest.mark.parametrize(
    ("pool", "train", "held_out", "dropped"),
    [
        (UltraFeedbackPool, 994, 103, 0),
        (HHHarmlessPool, 681, 669, 2),
        (LiveQAMedPool, 256, 304, 0),
    ],
)
def test_pairs_of_public_sets(pool: Any, train: int, held_out: int, dropped: int) -> None:
    source = open_source(str(DATA), pool.dataset)
    splits = [pool().labelled(source, split) for split in ("pool", "eval")]
    assert [len(found.pairs) for found in splits] == [train, held_out]
    assert sum(count for found in splits for count in found.dropped.values()) == dropped
    for pair in (pair for found in splits for pair in found.pairs):
        assert pair.chosen != pair.rejected
        roles = [message.role for message in pair.prompt]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


def test_graded_answers_are_clustered_by_question() -> None:
    source = open_source(str(DATA), LiveQAMedPool.dataset)
    pairs = LiveQAMedPool().pairs(source, "eval")
    assert len({pair.unit for pair in pairs}) == 38
    assert len({pair.unit for pair in pairs[:38]}) == 38
    assert not any("URL:" in pair.chosen[:400] for pair in pairs)


class Uniform:
    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        return [[-math.log(len(r.options))] * len(r.options) for r in requests]


def uniform(task: Any, pool: Pool) -> tuple[Any, Any]:
    """(what a uniform answer scores when every group is asked everything but its first question, the ratings)."""
    source = open_source(str(DATA), pool.dataset)
    ratings = pool.groups(source)
    shown = {group: given[:1] for group, given in ratings.items()}
    ctx = EvalContext(source=source, limit=None, num_fewshot=0, seed=0, pool=pool, groups=shown)
    return task().evaluate(Uniform(), ctx), ratings


def test_uniform_on_opinionqa() -> None:
    scores, ratings = uniform(OpinionQA, OpinionQAPool())
    assert (len(ratings), {len(given) for given in ratings.values()}) == (22, {146})
    assert scores.notes["uniform"] == pytest.approx(0.81, abs=0.005)
    values = [row.values["wasserstein"] for row in scores.rows]
    assert sum(values) / len(values) == pytest.approx(scores.notes["uniform"])


def test_uniform_on_global_opinions() -> None:
    scores, ratings = uniform(GlobalOpinions, GlobalOpinionsPool())
    assert (len(ratings), min(len(given) for given in ratings.values())) == (30, 24)
    assert scores.notes["uniform"] == pytest.approx(0.67, abs=0.01)


@pytest.mark.parametrize("pool", [OpinionQAPool, GlobalOpinionsPool])
def test_the_folders_text_is_the_form_that_the_hubs_rows_are_given(pool: Any) -> None:
    ratings = pool().groups(open_source(str(DATA), pool.dataset))
    for rating in (rating for given in ratings.values() for rating in given):
        stem = rating.prompt.removeprefix("Question: ").rsplit("\nOptions: ", maxsplit=1)[0]
        assert " ".join(rating.prompt.split()) == " ".join(lettered(stem, rating.options).split())
