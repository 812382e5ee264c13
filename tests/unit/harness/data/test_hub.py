"""Sources through the packages `datasets` and `huggingface_hub`; nothing is asked of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from harness.contracts import Dataset, HarnessError
from harness.data import sources

DATASET = Dataset(folder="quiz", hub="someone/Quiz-Set")


def test_a_file_of_the_hub_is_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "snapshots" / ("b2" * 20)
    snapshot.mkdir(parents=True)
    (snapshot / "all.json").write_text('[{"n": 1}]')

    def fetch(repository: str, name: str, *, repo_type: str) -> str:
        assert (repository, repo_type) == ("someone/Quiz-Set", "dataset")
        if name != "all.json":
            raise OSError("offline")
        return str(snapshot / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    source = sources.HubSource(DATASET.hub)
    assert source.rows(DATASET, "all.json") == [{"n": 1}]
    assert source.describe() == f"hub someone/Quiz-Set@{'b2' * 20}"
    with pytest.raises(HarnessError, match=r"file 'x\.csv' of someone/Quiz-Set is neither cached .*OSError: offline"):
        source.rows(DATASET, "x.csv")


def test_hub_failure_is_one_sentence_and_revision_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def refuse(*given: Any, **named: Any) -> Any:
        asked.append((given, named))
        raise ConnectionError("offline\nreally")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    source = sources.open_source("hub", DATASET)
    with pytest.raises(HarnessError, match=r"split 'test' of someone/Quiz-Set .*offline really") as caught:
        source.rows(DATASET, "eval")
    assert "\n" not in str(caught.value)
    assert asked == [(("someone/Quiz-Set", None), {"data_dir": None, "split": "test"})]
    loaded = datasets.Dataset.from_list([{"n": 1}])
    loaded.info.download_checksums = {f"hf://datasets/someone/Quiz-Set@{'a1' * 20}/test.json": {}}
    monkeypatch.setattr(datasets, "load_dataset", lambda *given, **named: loaded)
    assert list(source.rows(DATASET, "eval")) == [{"n": 1}]
    assert source.describe() == f"hub someone/Quiz-Set@{'a1' * 20}"


def test_the_hub_may_divide_a_data_set_in_its_own_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def load(*given: Any, **named: Any) -> Any:
        asked.append((named["data_dir"], named["split"]))
        return datasets.Dataset.from_list([{"n": 1}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    halves = Dataset("halves", "someone/halves", hub_splits={"pool": "train[:5]", "eval": "train[5:]"})
    source = sources.open_source("hub", halves)
    assert [list(source.rows(halves, split)) for split in ("pool", "eval")] == [[{"n": 1}], [{"n": 1}]]
    assert asked == [(None, "train[:5]"), (None, "train[5:]")]
    folders = Dataset("folders", "someone/folders", hub_folder="second")
    assert list(source.rows(folders, "eval")) == [{"n": 1}]
    assert asked[2:] == [("second", "test")], "a data set of several folders of files"
    (tmp_path / "halves").mkdir()
    (tmp_path / "halves" / "test.jsonl").write_text('{"n": 2}\n')
    assert list(sources.open_source(str(tmp_path), halves).rows(halves, "eval")) == [{"n": 2}]


def test_what_datasets_saves_is_read(tmp_path: Path) -> None:
    rows = [{"n": n} for n in range(24)]
    made = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(rows), "test": datasets.Dataset.from_list(rows[:2])}
    )
    made.save_to_disk(str(tmp_path / "quiz"), num_shards={"train": 2, "test": 1})
    source = sources.FolderSource(tmp_path)
    assert source.rows(Dataset("quiz", "x/y"), "pool") == rows
    assert source.rows(Dataset("quiz", "x/y"), "eval") == rows[:2]
