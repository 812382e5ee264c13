"""Several rows of one method on one command line."""

from __future__ import annotations

import pytest

from harness.cli.resolve import Options, cells
from harness.cli.variants import Variant, variants
from harness.contracts import HarnessError
from harness.plugins.registry import load

pytestmark = pytest.mark.core


def test_settings_in_brackets_are_of_one_row_alone() -> None:
    options = Options(aligner="gem,gem[weights=random,k=3],gem [optimise=none],dpo", task="medqa", seeds=(0, 1))
    found = cells(options, load(plugins=False))
    assert [(one.aligner, one.aligner_config, one.seed) for one in found[::2]] == [
        ("gem", {}, 0),
        ("gem", {"weights": "random", "k": 3}, 0),
        ("gem", {"optimise": "none"}, 0),
        ("dpo", {}, 0),
    ]
    assert len(found) == 8


def test_a_rows_setting_stands_over_that_of_all_rows() -> None:
    options = Options(aligner="dpo,dpo[beta=0.5]", task="medqa", sets=("aligner.beta=0.2",))
    assert [one.aligner_config["beta"] for one in cells(options, load(plugins=False))] == [0.2, 0.5]


def test_shuffled_labels_are_a_row_beside_the_method() -> None:
    options = Options(aligner="dpo,dpo[labels=shuffled]", task="medqa")
    assert [one.shuffle_labels for one in cells(options, load(plugins=False))] == [False, True]


def test_values_may_hold_brackets_and_commas() -> None:
    assert variants("a[x=[1, 2],y=3], b") == [Variant("a", ("aligner.x=[1, 2]", "aligner.y=3")), Variant("b")]


@pytest.mark.parametrize("text", ["gem[weights=random", "gem[weights]", "gem[k=3]x"])
def test_brackets_that_hold_no_settings_are_refused(text: str) -> None:
    with pytest.raises(HarnessError, match=r"--aligner 'gem"):
        variants(text)
