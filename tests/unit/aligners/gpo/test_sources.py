"""What the module learns from and reads, and the settings."""

from __future__ import annotations

import pytest

from aligners.gpo import GpoConfig
from aligners.gpo.sources import MOST_UNSEEN, PAIRS, contexts_of, training_sources, unseen_questions
from harness.contracts import FewShot, HarnessError, Pair, Rating, user


def test_sources_too_small_for_an_episode_are_refused() -> None:
    pair = Pair("p", user("Say."), "good", "bad")
    with pytest.raises(HarnessError, match="needs two labelled pairs"):
        training_sources(FewShot(), [pair])


def test_pairs_are_one_more_source_and_auxiliary_groups_come_before_the_target_groups() -> None:
    pairs = [Pair(f"p{i}", user("Say."), "good", f"bad {i}") for i in range(2)]
    ratings = tuple(Rating(f"q{i}", f"Is it {i}?", ("yes", "no"), (0.5, 0.5)) for i in range(2))
    assert set(training_sources(FewShot(groups={"g": ratings}, auxiliary={"a": ratings}), pairs)) == {"a", PAIRS}
    assert set(training_sources(FewShot(groups={"g": ratings}), ())) == {"g"}


def test_swapped_contexts_are_the_next_groups_and_pairs_with_exchanged_labels() -> None:
    pair = Pair("p", user("Say."), "good", "bad")
    yes, no = ((Rating("q", "Is it?", ("yes", "no"), y),) for y in ((1.0, 0.0), (0.0, 1.0)))
    few_shot = FewShot(groups={"a": yes, "b": no})
    swapped = contexts_of(few_shot, [pair], "swapped")
    assert {name: one[0].y for name, one in swapped.items()} == {"a": (0.0, 1.0), "b": (1.0, 0.0), PAIRS: (0.0, 1.0)}
    assert contexts_of(few_shot, [pair], "none") == {"a": (), "b": (), PAIRS: ()}
    with pytest.raises(HarnessError, match="only 'a'"):
        contexts_of(FewShot(groups={"a": yes}), (), "swapped")


def test_the_papers_preset_is_written_out_and_yields_to_what_is_given() -> None:
    paper = GpoConfig.model_validate({"preset": "paper", "sigma": "bounded"})
    assert (paper.steps, paper.loss, paper.centre, paper.sigma) == (200_000, "gaussian", "none", "bounded")
    assert (paper.most, paper.balanced, paper.standardise, paper.warmup) == (100, False, False, 0)


@pytest.mark.parametrize("options", [("yes", "no"), ("yes", "no", "perhaps")])
def test_unseen_questions_are_none_of_those_that_were_learned(options: tuple[str, ...]) -> None:
    y = tuple(1 / len(options) for _ in options)
    ratings = tuple(Rating(f"q{i}", f"Is it {i}?", options, y) for i in range(30))
    pairs = tuple(Pair(f"p{i}", user(f"Say {i}."), f"good {i}", f"bad {i}") for i in range(4))
    few_shot = FewShot(groups={"g": ratings[:2], "h": ratings[:2]}, auxiliary={"a": ratings, "b": ratings})
    learned = {one.question.key for source in training_sources(few_shot, pairs).values() for one in source}
    unseen = unseen_questions(few_shot, pairs, ())
    assert len({one.key for one in unseen} - learned) == len(unseen) == MOST_UNSEEN + 4
    assert unseen[0].texts[0].startswith("Is it 0?\n\nIs it 1?\nOptions: A. yes")
    assert unseen[-1].texts == ("Say 3.\n\nSay 0.", "Say 3.\n\nSay 1.")
    assert unseen_questions(FewShot(), pairs[:2], pairs[2:])[-1].texts == ("Say 3.\n\ngood 3", "Say 3.\n\nbad 3")
    assert unseen_questions(FewShot(), pairs[:2], ()) == []
