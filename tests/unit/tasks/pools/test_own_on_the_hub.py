"""A user's own pairs as a data set of the hub; nothing is asked of a network."""

from __future__ import annotations

from typing import Any

import datasets
import pytest

from harness.data.sources import open_source
from tasks.pools.own import OwnPairsPool
from tasks.pools.pairs import UltraFeedbackPool
from tasks.preference import PreferenceTask


def test_a_data_set_of_ones_own_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"prompt": f"question {i}?", "chosen": f"good {i} {j}", "rejected": f"bad {i} {j}"}
        for i in range(3)
        for j in "ab"
    ]
    asked: list[Any] = []

    def load(*given: Any, **named: Any) -> Any:
        asked.append((given[0], named["data_dir"], named["split"]))
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    for spec, folder in (("hub:someone/pairs-v1", None), ("hub:someone/pairs-v1:part/one", "part/one")):
        source = open_source(spec, OwnPairsPool.dataset)
        assert len(OwnPairsPool().pairs(source)) == 6
        assert len(PreferenceTask(OwnPairsPool()).questions(source, None)) == 6
        assert source.describe() == "hub someone/pairs-v1"
        assert sorted(asked[-2:]) == [("someone/pairs-v1", folder, split) for split in ("test", "train")]
    source.rows(UltraFeedbackPool.dataset, "eval")
    assert asked[-1][0] == UltraFeedbackPool.dataset.hub, "a public data set keeps its own address"
