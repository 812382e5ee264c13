import random

import pytest

from harness.contracts import Pair, user
from tasks.measures.shortcuts import bag_of_words, length_only

pytestmark = pytest.mark.core


def pair(index: int, chosen: str, rejected: str) -> Pair:
    return Pair(f"p{index}", user("Which drug?"), chosen, rejected)


def words(rng: random.Random, n: int) -> str:
    return " ".join(rng.choice(["fever", "pain", "drug", "dose", "cough", "rash"]) for _ in range(n))


def longer_chosen(n: int, seed: int) -> list[Pair]:
    rng = random.Random(seed)
    return [pair(i, words(rng, 12), words(rng, 6)) for i in range(n)]


def marked_chosen(n: int, seed: int) -> list[Pair]:
    rng = random.Random(seed)
    return [pair(i, f"{words(rng, 8)} indeed", f"{words(rng, 8)} hardly") for i in range(n)]


def test_length_only_finds_length_and_nothing_else() -> None:
    assert length_only(longer_chosen(20, 0), longer_chosen(40, 1)) == 1.0
    rng = random.Random(5)
    even = [pair(i, words(rng, 8), words(rng, 8)) for i in range(200)]
    assert abs(length_only(even[:100], even[100:]) - 0.5) < 0.2


def test_bag_of_words_finds_the_marker_that_length_cannot() -> None:
    assert bag_of_words(marked_chosen(20, 0), marked_chosen(40, 1)) == 1.0
    assert length_only(marked_chosen(20, 0), [pair(0, "aa indeed", "aa hardly")]) == 0.5


@pytest.mark.parametrize("control", [length_only, bag_of_words])
def test_both_orders_count(control) -> None:  # type: ignore[no-untyped-def]
    """A lesson turned around is a lesson: swapped test pairs score exactly the complement."""
    train, test = longer_chosen(20, 0) + marked_chosen(20, 1), longer_chosen(15, 2) + marked_chosen(15, 3)
    swapped = [pair(i, p.rejected, p.chosen) for i, p in enumerate(test)]
    assert control(train, test) + control(train, swapped) == pytest.approx(1.0)


@pytest.mark.parametrize("control", [length_only, bag_of_words])
def test_degenerate_inputs_are_chance(control) -> None:  # type: ignore[no-untyped-def]
    train = longer_chosen(4, 0)
    assert control(train[:1], train) == 0.5
    assert control([], train) == 0.5
    assert control(train, []) == 0.5


def test_words_that_training_never_saw_tell_nothing() -> None:
    assert bag_of_words([pair(0, "...", "?"), pair(1, "!", "-")], [pair(2, "a b", "c")]) == 0.5


def test_same_text_on_both_sides_is_a_tie() -> None:
    same = [pair(i, "one two", "one two") for i in range(4)]
    assert bag_of_words(longer_chosen(8, 0), same) == 0.5
    assert length_only(longer_chosen(8, 0), same) == 0.5
