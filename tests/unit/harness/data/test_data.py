"""Sources, the nested draw and the leak gate."""

from __future__ import annotations

import gzip
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.config import PRESETS, Budget, GroupSplit
from harness.contracts import Dataset, HarnessError, Pair, Prompt, Rating, Source, user
from harness.data import draw, leaks, sources

pytestmark = pytest.mark.core

DATASET = Dataset(folder="quiz", hub="someone/Quiz-Set")


def _write(path: Path, rows: Sequence[Any], *, compressed: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if compressed else text)
    return path


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl", ".parquet"])
def test_folder_reads_every_format_once(tmp_path: Path, ending: str) -> None:
    rows = [{"question": "é", "n": 1}, {"question": "b", "n": 2}]
    path = tmp_path / "quiz" / f"train{ending}"
    if ending == ".parquet":
        import pyarrow
        from pyarrow import parquet

        path.parent.mkdir()
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        _write(path, rows, compressed=ending.endswith("gz"))
    source = sources.open_source(str(tmp_path), DATASET)
    assert isinstance(source, Source)
    assert source.kind == "folder"
    assert list(source.rows(DATASET, "pool")) == rows
    path.unlink()
    assert list(source.rows(DATASET, "pool")) == rows


def test_files_below_folders_csv_and_json(tmp_path: Path) -> None:
    nested = Dataset("quiz", "x/y", splits={})
    _write(tmp_path / "quiz" / "outputs" / "model.jsonl", [{"n": 1}])
    (tmp_path / "quiz" / "table.csv").write_text('a,b\n1,"x, y"\n')
    (tmp_path / "quiz" / "list.json").write_text('[{"n": 1}, {"n": 2}]')
    source = sources.FolderSource(tmp_path)
    assert source.rows(nested, "outputs/model") == [{"n": 1}]
    assert source.rows(nested, "table") == [{"a": "1", "b": "x, y"}]
    assert source.rows(nested, "list") == [{"n": 1}, {"n": 2}]
    with pytest.raises(HarnessError, match=r"outputs/modell is missing .*did you mean 'model'"):
        source.rows(nested, "outputs/modell")
    with pytest.raises(HarnessError, match="others/model is missing"):
        source.rows(nested, "others/model")
    for content, said in (
        ("[1]", "a JSON array of objects"),
        ("[", "readable"),
    ):
        (tmp_path / "quiz" / "list.json").write_text(content)
        with pytest.raises(HarnessError, match=said):
            sources.FolderSource(tmp_path).rows(nested, "list")
    (tmp_path / "quiz" / "table.csv").write_bytes(b"PK\x03\x04 a workbook")
    with pytest.raises(HarnessError, match="is a zip archive or an Excel workbook"):
        sources.FolderSource(tmp_path).rows(nested, "table")


def test_splits_follow_the_data_set(tmp_path: Path) -> None:
    _write(tmp_path / "quiz" / "all.jsonl", [{"n": 1}])
    _write(tmp_path / "quiz" / "validation.jsonl", [{"n": 2}])
    other = Dataset("quiz", "x/y", splits={"pool": "all", "eval": "validation"})
    source = sources.open_source(str(tmp_path), other)
    assert source.rows(other, "pool")[0]["n"] == 1
    assert source.rows(other, "eval")[0]["n"] == 2


def test_folder_with_evaluation_rows_only(tmp_path: Path) -> None:
    _write(tmp_path / "quiz" / "test.jsonl.gz", [{"n": 1}], compressed=True)
    source = sources.open_source(str(tmp_path), DATASET)
    assert len(source.rows(DATASET, "eval")) == 1
    with pytest.raises(HarnessError, match=r"quiz/train is missing .*known: test"):
        source.rows(DATASET, "pool")


def test_missing_folders_are_named_with_the_nearest(tmp_path: Path) -> None:
    _write(tmp_path / "quizz" / "test.jsonl", [{}])
    with pytest.raises(HarnessError, match=r"no folder 'quiz'; did you mean 'quizz'"):
        sources.open_source(str(tmp_path), DATASET).rows(DATASET, "eval")
    with pytest.raises(HarnessError, match=r"'smaple' is neither .*did you mean 'sample'"):
        sources.open_source("smaple", DATASET)
    with pytest.raises(HarnessError, match=r"not there\); expected a folder"):
        sources.open_source(str(tmp_path / "absent"), DATASET)
    (tmp_path / "quizz" / "notes.txt").write_text("")
    with pytest.raises(HarnessError, match="a file that ends in none of"):
        sources.open_source(str(tmp_path / "quizz" / "notes.txt"), DATASET)


def test_broken_files_are_named_with_the_line(tmp_path: Path) -> None:
    path = _write(tmp_path / "quiz" / "test.jsonl.gz", [{"n": n} for n in range(200)], compressed=True)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(HarnessError, match=r"test\.jsonl\.gz is not a whole gzip file"):
        sources.FolderSource(tmp_path).rows(DATASET, "eval")
    path.write_bytes(b"plain text")
    with pytest.raises(HarnessError, match="not a whole gzip file"):
        sources.FolderSource(tmp_path).rows(DATASET, "eval")
    path.unlink()
    plain = path.with_name("test.jsonl")
    plain.write_text('{"n": 1}\n\n{"n": \n')
    with pytest.raises(HarnessError, match=r"test\.jsonl, line 3: broken JSON"):
        sources.FolderSource(tmp_path).rows(DATASET, "eval")
    plain.write_text("[1]\n")
    with pytest.raises(HarnessError, match=r"element 1: a JSON array of objects was expected, not of ints"):
        sources.FolderSource(tmp_path).rows(DATASET, "eval")
    plain.write_text("\n")
    with pytest.raises(HarnessError, match=r"test\.jsonl holds no rows"):
        sources.FolderSource(tmp_path).rows(DATASET, "eval")
    plain.with_name("test.parquet").write_bytes(b"PAR?")
    plain.unlink()
    with pytest.raises(HarnessError, match="not a readable Parquet file"):
        sources.FolderSource(tmp_path).rows(DATASET, "eval")


def test_sample_names_what_ships() -> None:
    source = sources.open_source("sample", DATASET)
    medqa = Dataset("medqa", "x/y")
    assert source.kind == "sample"
    assert len(source.rows(medqa, "pool")) > 0
    assert source.rows(medqa, "pool") is source.rows(medqa, "pool")
    with pytest.raises(HarnessError, match=r"no sample of 'quiz' .*medqa"):
        source.rows(DATASET, "pool")
    with pytest.raises(HarnessError, match="no split 'pol'; did you mean 'pool'"):
        source.rows(medqa, "pol")


# ---------------------------------------------------------------- auto


def test_auto_takes_the_hub_where_cached_or_reachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setattr(sources, "_ask", lambda limit: False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    source = sources.open_source("auto", DATASET)
    assert source.kind == "sample"
    assert "hub" in source.announce()
    assert source.describe() == sources.open_source("sample", DATASET).describe()
    (tmp_path / "someone___quiz-set" / "default").mkdir(parents=True)
    cached = sources.open_source("auto", DATASET)
    assert cached.kind == "hub"
    assert "cached" in cached.announce()
    other = Dataset("other", "someone/other")
    assert sources.open_source("auto", other).kind == "sample"
    assert sources.open_source("auto", DATASET, other).kind == "sample"  # the task's data as well as the pool's
    monkeypatch.setattr(sources, "_ask", lambda limit: True)
    assert sources.open_source("auto", other).kind == "hub"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert sources.open_source("auto", other).kind == "sample"


def test_reachability_does_not_wait_longer_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(sources, "_ask", lambda limit: time.sleep(5) or True)  # type: ignore[func-returns-value]
    started = time.monotonic()
    assert sources._reachable(0.1) is False
    assert time.monotonic() - started < 4


def test_any_answer_of_the_hub_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert sources._ask(0.5) is False

    def refuse(request: Any, timeout: float) -> Any:
        raise urllib.error.HTTPError(request.full_url, 403, "no", {}, None)  # type: ignore[arg-type]

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert sources._ask(0.5) is True


# ---------------------------------------------------------------- the draw


class _Pool:
    name: ClassVar[str] = "quiz"
    licence: ClassVar[str] = "MIT"
    dataset: ClassVar[Dataset] = DATASET

    def __init__(self, units: int, per_unit: int = 1, *, turned: bool = False, prompts: int | None = None) -> None:
        self._pairs = [
            Pair(f"q{unit}-{k}", user(f"q{unit}"), "good", "bad", cluster=f"u{unit}")
            for unit in range(units)
            for k in range(per_unit)
        ]
        self._prompts = [Prompt(f"p{n}", user(f"q{n}")) for n in range(units if prompts is None else prompts)]
        if turned:
            self._pairs.reverse()
            self._prompts.reverse()

    def revision(self, source: Source) -> str:
        return "r"

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        return self._pairs

    def questions(self, source: Source) -> Mapping[str, str]:
        return {}

    def prompts(self, source: Source) -> Sequence[Prompt]:
        return self._prompts

    def groups(self, source: Source) -> Mapping[str, tuple[Rating, ...]]:
        return {}

    def verifier(self, source: Source) -> None:
        return None


SOURCE = sources.SampleSource()


def _budget(labels: int, prompts: int) -> Budget:
    return Budget(labels=labels, prompts=prompts)


def _units(drawn: draw.Draw) -> tuple[set[str], set[str]]:
    return {pair.prompt[-1].content for pair in drawn.few_shot.pairs}, {
        prompt.messages[-1].content for prompt in drawn.few_shot.prompts
    }


def test_draws_are_nested_and_prompts_are_nobodys_pairs() -> None:
    pool = _Pool(12_000)
    draws = [draw.draw(pool, SOURCE, PRESETS[preset], 5) for preset in ("8", "32", "128", "512", "2k")]
    assert [(len(d.pair_ids), len(d.prompt_ids)) for d in draws] == [
        (8, 32), (32, 128), (128, 512), (512, 2048), (2000, 8000)
    ]  # fmt: skip
    assert all(not d.warnings for d in draws)
    for small, large in pairwise(draws):
        assert large.pair_ids[: len(small.pair_ids)] == small.pair_ids
        assert large.prompt_ids[: len(small.prompt_ids)] == small.prompt_ids
    labelled = _units(draws[-1])[0]
    assert all(not labelled & _units(d)[1] for d in draws)


def test_draw_hangs_on_the_seed_and_not_on_the_order_of_rows() -> None:
    budget = _budget(20, 20)
    first = draw.draw(_Pool(100), SOURCE, budget, 0)
    assert first == draw.draw(_Pool(100, turned=True), SOURCE, budget, 0)
    other = draw.draw(_Pool(100), SOURCE, budget, 1)
    assert set(first.pair_ids) != set(other.pair_ids)
    more = draw.draw(_Pool(101), SOURCE, budget, 0)
    assert len(set(first.pair_ids) & set(more.pair_ids)) >= 19


def test_every_pair_is_drawn_equally_often() -> None:
    counts: dict[str, int] = {}
    for seed in range(300):
        for item in draw.draw(_Pool(10), SOURCE, _budget(3, 0), seed).pair_ids:
            counts[item] = counts.get(item, 0) + 1
    assert len(counts) == 10
    assert all(55 <= count <= 130 for count in counts.values())  # 90 expected, standard deviation 8


def test_a_small_pool_gives_what_it_has_and_says_so() -> None:
    drawn = draw.draw(_Pool(40), SOURCE, _budget(32, 128), 0)
    assert (len(drawn.pair_ids), len(drawn.prompt_ids)) == (32, 8)
    assert drawn.warnings == ("pool 'quiz' has 8 unlabelled prompts beside its pairs, 128 were asked for",)
    labelled, unlabelled = _units(drawn)
    assert not labelled & unlabelled


def test_units_come_before_second_pairs_and_stay_whole() -> None:
    drawn = draw.draw(_Pool(10, per_unit=4), SOURCE, _budget(6, 10), 0)
    labelled, unlabelled = _units(drawn)
    assert len(labelled) == 6
    assert len(unlabelled) == 4
    assert not labelled & unlabelled
    twelve = draw.draw(_Pool(10, per_unit=4), SOURCE, _budget(12, 0), 0)
    assert twelve.pair_ids[:6] == drawn.pair_ids
    assert len(set(twelve.pair_ids)) == 12


def test_too_many_labels_name_the_number_that_there_is() -> None:
    with pytest.raises(
        HarnessError, match=r"'quiz' has 100 pairs to learn from, 128 labels .* use --budget 100, a smal"
    ):
        draw.draw(_Pool(100), SOURCE, PRESETS["128"], 0)
    with pytest.raises(HarnessError, match="'quiz' has nothing to draw from"):
        draw.draw(_Pool(0), SOURCE, PRESETS["8"], 0)


def test_excluded_items_are_never_drawn() -> None:
    dropped = {f"q{n}-0" for n in range(10)} | {f"u{n}" for n in range(10, 20)}
    drawn = draw.draw(_Pool(40), SOURCE, _budget(15, 40), 0, excluded=dropped)
    labelled, unlabelled = _units(drawn)
    assert not labelled & {f"q{n}" for n in range(20)}
    assert not unlabelled & {f"q{n}" for n in range(20)}
    with pytest.raises(HarnessError, match="once 20 leaked items are dropped"):
        draw.draw(_Pool(10, prompts=0), SOURCE, _budget(1, 0), 0, excluded=[f"u{n}" for n in range(20)])


class Opinions(_Pool):
    """Ten groups that answered twenty questions each."""

    def groups(self, source: Source) -> Mapping[str, tuple[Rating, ...]]:
        return {g: tuple(Rating(f"q{n}", "?", ("a", "b"), (0.5, 0.5)) for n in range(20)) for g in "abcdefghij"}


def test_groups_and_questions_are_split_by_the_draw() -> None:
    def bought(labels: int, seed: int = 0) -> draw.Draw:
        return draw.draw(Opinions(0), SOURCE, _budget(labels, 0), seed, split=GroupSplit(train=0.6, unseen=0.25))

    small, large = bought(3).few_shot, bought(7).few_shot
    assert (len(small.groups), len(small.auxiliary)) == (4, 6), "six of ten groups give auxiliary labels"
    assert {len(r) for r in small.groups.values()} == {3}
    assert {len(r) for r in small.auxiliary.values()} == {15}, "a quarter of the questions is shown to nobody"
    assert small.groups.keys() == large.groups.keys()
    assert not small.groups.keys() & small.auxiliary.keys()
    assert all(set(small.groups[group]) <= set(large.groups[group]) for group in small.groups)
    shown = {r.question for ratings in small.auxiliary.values() for r in ratings}
    assert {r.question for ratings in large.groups.values() for r in ratings} <= shown
    assert bought(3, seed=1).few_shot.groups.keys() != small.groups.keys()


def test_half_of_what_a_group_answered_is_left_to_predict() -> None:
    drawn = draw.draw(Opinions(0), SOURCE, _budget(32, 0), 0)
    assert {len(r) for r in drawn.few_shot.groups.values()} == {7}
    assert drawn.warnings == ("some groups give 7 labels, 32 were asked for: half of what they answered is kept",)


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(HarnessError, match="10 groups and 20 questions cannot be divided 99%"):
        draw.draw(Opinions(0), SOURCE, _budget(1, 0), 0, split=GroupSplit(train=0.99))


# ---------------------------------------------------------------- the leak gate


def _text(start: int, count: int = 40) -> str:
    return " ".join(f"w{n}" for n in range(start, start + count))


def test_equal_questions_leak_whatever_their_form() -> None:
    pool = {"a": "What is  the capital?", "b": "what is another capital?", "c": ""}
    assert leaks.find_leaks(pool, {"x": "WHAT is the, capital", "y": "", "z": "!"}) == ("a",)


def test_half_of_the_ngrams_is_the_line() -> None:
    # 40 words hold 28 13-grams; sharing the first 26 words shares 14 of them, 25 words 13.
    for shared, dropped in ((26, ("p",)), (25, ())):
        pool = {"p": _text(0, shared) + " " + _text(1000, 40 - shared), "q": _text(5000)}
        assert leaks.find_leaks(pool, {"e": _text(0, shared) + " " + _text(2000, 40 - shared)}) == dropped


def test_a_short_item_inside_a_long_one_leaks_either_way() -> None:
    long, short = _text(0, 200), _text(50, 20)
    assert leaks.find_leaks({"p": short}, {"e": long}) == ("p",)
    assert leaks.find_leaks({"p": long, "q": _text(900)}, {"e": short}) == ("p",)


def test_stock_phrases_are_no_leak() -> None:
    stock = _text(0, 30)
    items = {name: f"{stock} {_text(1000 * n, 14)}" for n, name in enumerate("abc", start=1)}
    assert leaks.find_leaks(items, {"e": f"{stock} {_text(9000, 14)}"}) == ()
    two = {name: items[name] for name in "ab"}
    assert leaks.find_leaks(two, {"e": f"{stock} {_text(9000, 14)}"}) == ("a", "b")


def test_the_gate_is_quick() -> None:
    pool = {f"p{n}": _text(n * 100, 100) for n in range(1_000)}
    evaluation = {f"e{n}": _text(n * 100 + 10**7, 100) for n in range(200)}
    started = time.process_time()
    assert leaks.find_leaks(pool, evaluation | {"e": pool["p77"]}) == ("p77",)
    assert time.process_time() - started < 3


def test_the_gate_works_in_any_script_and_keeps_signs() -> None:
    sums = {sign: f"What is 2 {sign} 5?" for sign in "+-*/"}
    assert leaks.find_leaks(sums, {"e": "what is 2 * 5"}) == ("*",)
    said = "今天北京的天气很好我们一起去公园散步吧然后回家吃晚饭再看一部电影"
    other = "明天上海的股市可能会下跌所以请大家小心投资不要轻信任何小道消息哦"
    pool = {"same": f"请翻译：{said}", "other": f"请翻译：{other}"}
    assert leaks.find_leaks(pool, {"e": f"翻译一下这句话：{said}"}) == ("same",)
    hindi = {"a": "वह कि जाता है", "b": "वह का जाता है"}
    assert leaks.find_leaks(hindi, {"e": "वह कि, जाता है।"}) == ("a",)


def test_two_configurations_of_one_data_set_are_two_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for config in ("a", "b"):
        (tmp_path / "lake" / config).mkdir(parents=True)
        (tmp_path / "lake" / config / "train.jsonl").write_text(json.dumps({"of": config}) + "\n")
    monkeypatch.setattr(sources.HubSource, "_load", lambda self, dataset, split: [{"of": dataset.config}])
    for source in (sources.FolderSource(tmp_path), sources.HubSource("owner/lake")):
        read = [source.rows(Dataset("lake", "owner/lake", config=config), "pool") for config in ("a", "b", "a")]
        assert read == [[{"of": "a"}], [{"of": "b"}], [{"of": "a"}]]
