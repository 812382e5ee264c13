"""Short names of rows: what they keep of labels that would read alike."""

from __future__ import annotations

import pytest

from leaderboards.names import short_names
from tests.unit.leaderboards.site_store import ATTACK

pytestmark = pytest.mark.core
RATES = ("0.0005", "0.005")


def test_what_fits_stays_and_what_does_not_loses_its_middle() -> None:
    long = "gem [layers=all, steps=4000, weights=random]"
    assert short_names(["sft", long], 20) == {"sft": "sft", long: "gem [layers...andom]"}


def test_labels_that_would_read_alike_show_where_they_differ() -> None:
    labels = [f"dpo [epochs=3.0, learning_rate={rate}, preset=ours, warmup=0.1]" for rate in RATES]
    names = short_names(["sft", *labels], 34)
    assert [names[label] for label in labels] == [f"dpo [..., learning_rate={rate}]" for rate in RATES]
    with_more = [labels[0], labels[0].replace("ours,", "ours, seed_of_the_order=1,")]
    assert list(short_names(with_more, 34).values()) == ["dpo [...]", "dpo [..., seed_of_the_order=1]"]


def test_versions_of_one_method_show_their_version() -> None:
    labels = [f"dpo [epochs=3.0, learning_rate=0.0005, preset=ours, warmup=0.1] v{version}" for version in (1, 2)]
    assert [name[-2:] for name in short_names(labels, 34).values()] == ["v1", "v2"]


@pytest.mark.parametrize(
    "labels",
    [
        [f"{'a' * 40}{n}{'b' * 40}" for n in range(3)],
        [f"a [x={'1' * 40}{n}{'2' * 40}]" for n in range(3)],
        ["a  b", "a b", "a\nb", "a b (1)"],
        [f"{ATTACK}{n}{ATTACK}" for n in range(3)],
        [f"a [{', '.join(f'{name}={n}' for name in 'abcdefghijklmnopqrstuvw')}]" for n in range(3)],
    ],
)
def test_no_two_names_are_the_same(labels: list[str]) -> None:
    names = short_names(labels, 30)
    assert len(set(names.values())) == len(labels) == len(names)
    assert all(len(name) <= 30 + len(" (1) (1)") for name in names.values())
