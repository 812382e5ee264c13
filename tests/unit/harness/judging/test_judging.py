"""Measuring judges: what each figure counts, on judges of known behaviour; layouts, the sample, the stored file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.contracts import Dataset, HarnessError, JudgeItem, SourceKind, Verdict, user
from harness.data.sources import SampleSource
from harness.judging import calibration
from harness.judging.calibration import NULL_WINS, Calibration, Figures
from harness.judging.check import faults, source_of
from harness.judging.measure import NULL_ANSWER, LabelledPair, measure, revision, side
from tasks.judges.labelled import SETS, labelled_set, read

pytestmark = pytest.mark.core

Rule = Callable[[JudgeItem], float]


@dataclass
class Judge:
    """Answers by a rule on the item; with `both`, shows that it looked at either order."""

    rule: Rule
    both: bool = False
    status: str = "ok"
    name: ClassVar[str] = "rule"
    version: ClassVar[str] = "1"

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        return [self.verdict(item) for item in items]

    def verdict(self, item: JudgeItem) -> Verdict:
        p = self.rule(item)
        if self.both:
            swapped = 1 - self.rule(replace(item, a=item.b, b=item.a))
            return Verdict((p + swapped) / 2, (p, swapped), "", 10, 0.5, self.status)
        return Verdict(p, (p,), "", 10, 0.5, self.status)


def pair(index: int, a: str, b: str, better: float, unit: str | None = None) -> LabelledPair:
    return LabelledPair(JudgeItem(f"p{index}", user(f"Question {index}?"), a, b), better, unit or f"u{index}")


def good_wins(item: JudgeItem) -> float:
    return {(True, False): 1.0, (False, True): 0.0}.get(("good" in item.a, "good" in item.b), 0.5)


PAIRS = tuple(
    pair(i, *(("good", "a longer bad one") if i % 2 else ("a bad one", "good, and longer")), float(i % 2))
    for i in range(20)
)
"""Odd: a is better and shorter. Even: b is better and longer."""


def measured(
    rule: Rule, pairs: Sequence[LabelledPair] = PAIRS, *, both: bool = False, again: Rule | None = None
) -> Figures:
    return measure(Judge(rule, both), Judge(again or rule, both), pairs)


def mean(score: Any) -> float:
    assert score is not None
    return float(score.mean)


# ---------------------------------------------------------------- figures


def test_a_judge_that_is_always_right() -> None:
    found = measured(good_wins)
    assert (found.pairs, found.answered, found.tokens, found.cost) == (20, 20, 200, 10.0)
    assert mean(found.agreement) == 1.0
    assert found.agreement is not None
    assert found.agreement.ci95 is not None
    assert found.agreement.ci95[0] > 0.8
    assert found.agreement_with_ties is None
    assert mean(found.longer) == mean(found.longer_people) == 0.5
    assert mean(found.flips) == mean(found.ties) == mean(found.null_win_rate) == 0.0
    assert mean(found.consistency) == 1.0
    assert found.consistency_shift == found.shift == 0.0
    assert faults(found) == ()


def test_a_judge_that_likes_the_longer_answer() -> None:
    found = measured(lambda item: float(len(item.a) > len(item.b)))
    assert mean(found.longer) == 1.0
    assert mean(found.longer_people) == 0.5
    assert mean(found.agreement) == 0.5
    assert mean(found.null_win_rate) == 1.0
    assert faults(found) == (NULL_WINS,)


def test_a_judge_that_likes_the_first_answer_and_shows_it() -> None:
    found = measured(lambda item: 0.9, both=True)
    assert mean(found.first_position) == 1.0
    assert mean(found.flips) == 1.0
    assert found.shift == pytest.approx(0.8)
    assert [mean(order) for order in found.agreement_by_order] == [0.5, 0.5]
    assert mean(found.ties) == 1.0
    assert mean(found.agreement) == 0.5


def test_a_judge_that_likes_the_first_answer_and_hides_it() -> None:
    found = measured(lambda item: 0.9)
    assert found.first_position is None
    assert found.agreement_by_order == ()
    assert mean(found.flips) == 1.0
    assert found.shift == pytest.approx(0.8)


def test_agreement_of_each_order() -> None:
    def first_is_good(item: JudgeItem) -> float:
        return float("good" in item.a)

    found = measured(lambda item: max(first_is_good(item), 0.6), both=True)
    assert [mean(order) for order in found.agreement_by_order] == [0.5, 0.5]
    assert mean(found.first_position) == 1.0
    biased = [p for p in PAIRS if p.better]
    found = measured(lambda item: max(first_is_good(item), 0.6), biased, both=True)
    assert [mean(order) for order in found.agreement_by_order] == [1.0, 0.0]


def test_ties_of_people_count_only_three_ways() -> None:
    pairs = [*PAIRS, pair(90, "good", "good", 0.5), pair(91, "good", "a bad one", 0.5)]
    found = measured(good_wins, pairs)
    assert mean(found.agreement) == 1.0
    assert mean(found.agreement_with_ties) == pytest.approx(21 / 22)
    assert mean(found.ties) == pytest.approx(1 / 22)


def test_a_tie_of_the_judge_counts_half() -> None:
    assert mean(measured(lambda item: 0.5).agreement) == 0.5


def test_pairs_of_one_question_are_one_unit() -> None:
    pairs = [replace(p, unit=f"u{index // 4}") for index, p in enumerate(PAIRS)]
    found = measured(good_wins, pairs)
    assert found.agreement is not None
    assert found.agreement.n == 5


def test_a_second_run_that_differs() -> None:
    found = measured(good_wins, again=lambda item: 1 - good_wins(item))
    assert mean(found.consistency) == 0.0
    assert found.consistency_shift == 1.0


def test_the_second_run_meets_the_items_in_reverse() -> None:
    seen: list[str] = []

    def note(item: JudgeItem) -> float:
        seen.append(item.id)
        return good_wins(item)

    measured(good_wins, again=note)
    assert seen == [p.item.id for p in PAIRS[::-1]]


def test_only_the_first_pairs_are_judged_again() -> None:
    found = measure(Judge(good_wins), Judge(good_wins), PAIRS, subset=4)
    assert found.agreement is not None
    assert found.consistency is not None
    assert found.null_win_rate is not None
    assert (found.agreement.n, found.consistency.n, found.null_win_rate.n) == (20, 4, 4)


def test_the_null_answer_stands_in_both_places() -> None:
    shown: list[tuple[bool, bool]] = []

    def note(item: JudgeItem) -> float:
        if item.id.startswith("null:"):
            shown.append((item.a == NULL_ANSWER, item.b == NULL_ANSWER))
            assert "good" in item.a + item.b
        return 0.5

    measured(note)
    assert Counter(shown) == {(True, False): 10, (False, True): 10}


def test_a_judge_without_verdicts_has_no_figures() -> None:
    found = measure(Judge(good_wins, status="no key"), Judge(good_wins), PAIRS)
    assert found.answered == 0
    assert found.statuses == {"no key": 20}
    assert found.agreement is found.null_win_rate is found.consistency is None
    assert faults(found) == ()


def test_a_missing_verdict_is_refused() -> None:
    class Short(Judge):
        def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
            return super().compare(items)[1:]

    with pytest.raises(HarnessError, match="19 verdicts on 20 items"):
        measure(Short(good_wins), Judge(good_wins), PAIRS)
    with pytest.raises(HarnessError, match="no labelled pairs"):
        measured(good_wins, ())


def test_sides() -> None:
    assert [side(p) for p in (0.0, 0.49, 0.5, 0.5 + 1e-9, 0.51, 1.0)] == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]


# ---------------------------------------------------------------- labelled pairs


@dataclass
class Rows:
    """A source of given rows."""

    found: Sequence[Mapping[str, Any]]
    kind: SourceKind = "folder"

    def describe(self) -> str:
        return "rows"

    def announce(self) -> str:
        return "rows"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        return self.found


def test_layouts() -> None:
    llmbar = {"input": "Why?", "output_1": "x", "output_2": "y", "label": 2}
    (found,) = read(Rows([llmbar]), "llmbar")
    assert (found.item.prompt, found.item.a, found.item.b, found.better) == (user("Why?"), "x", "y", 0.0)
    autoj = [{"prompt": "Why?", "response 1": "x", "response 2": "y", "label": label} for label in (0, 1, 2)]
    found_autoj = read(Rows(autoj), "autoj")
    assert [p.better for p in found_autoj] == [1.0, 0.0, 0.5]
    assert len({p.item.id for p in found_autoj}) == 3
    assert len({p.unit for p in found_autoj}) == 1
    assert len(read(Rows(autoj), "autoj", 2)) == 2
    assert revision(found_autoj) != revision(found_autoj[:2])


@pytest.mark.parametrize("change", [{"label": 3}, {"label": "1"}, {"output_2": None}, {"input": None}])
def test_a_malformed_row_is_named(change: Mapping[str, Any]) -> None:
    row = {"input": "Why?", "output_1": "x", "output_2": "y", "label": 1}
    with pytest.raises(HarnessError, match="mtbench-0001 is malformed"):
        read(Rows([row, {**row, **change}]), "mtbench")


def test_where_pairs_come_from(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="did you mean 'mtbench'"):
        labelled_set("mt-bench")
    with pytest.raises(HarnessError, match=r"do not ship.*--data PATH"):
        source_of("llmbar", "sample")
    with pytest.raises(HarnessError, match="not from the hub"):
        source_of("llmbar", "hub")
    assert source_of("sample", str(tmp_path)).kind == "sample"
    assert source_of("llmbar", str(tmp_path)).kind == "folder"


def test_the_sample_is_balanced() -> None:
    pairs = read(SampleSource(), "sample")
    assert len(pairs) == len({p.unit for p in pairs}) == 64
    cells = Counter((p.better, len(p.item.a) > len(p.item.b)) for p in pairs)
    assert set(cells.values()) == {16}
    assert all(len(p.item.a) != len(p.item.b) and p.item.reference for p in pairs)
    found = measured(lambda item: float(len(item.a) > len(item.b)), pairs)
    assert mean(found.agreement) == mean(found.longer_people) == 0.5


def test_every_row_of_the_sample_says_why() -> None:
    rows = SampleSource().rows(Dataset("judge_pairs", ""), "sample")
    assert all(str(row["reason"]).startswith("the worse answer") for row in rows)
    assert SETS["sample"].labelled_by.endswith("no person")


# ---------------------------------------------------------------- the stored file


def stored(**changes: Any) -> Calibration:
    values: dict[str, Any] = {
        "judge": "local", "judge_version": "1", "model": None, "set": "llmbar", "labelled_by": "people",
        "source": "folder data", "revision": "abc", "limit": None, "figures": measured(good_wins), "created": "2026",
        "packages": {}, "python": "3.11", "platform": "linux", "git_commit": None, "git_dirty": None,
    }  # fmt: skip
    return Calibration(**{**values, **changes})


def test_a_calibration_survives_the_disk(tmp_path: Path) -> None:
    made = [
        stored(),
        stored(model="org/model"),
        stored(judge="alpaca_eval:/home/me/judge", set="autoj", fails=(NULL_WINS,)),
    ]
    paths = [calibration.save(tmp_path, one) for one in made]
    assert len(set(paths)) == 3
    assert all(path.parent.parent == tmp_path / "judges" for path in paths)
    assert paths[0].name == "llmbar.json"
    assert sorted(calibration.load(tmp_path), key=lambda c: (c.judge, c.model or "")) == sorted(
        made, key=lambda c: (c.judge, c.model or "")
    )
    assert not list(tmp_path.rglob(".*"))


def test_measuring_again_replaces(tmp_path: Path) -> None:
    calibration.save(tmp_path, stored())
    calibration.save(tmp_path, stored(created="2027"))
    assert [one.created for one in calibration.load(tmp_path)] == ["2027"]


def test_a_calibration_belongs_to_a_judge_and_where_need_be_to_a_model() -> None:
    assert stored().applies("local", "any")
    assert not stored().applies("local:any", "any")
    assert stored(model="mine").applies("local", "mine")
    assert not stored(model="mine").applies("local", "other")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is damaged"),
        ('{"format": 9}', "another version of harness .it has format 9"),
        ('{"format": 1}', "another version of harness .it lacks judge"),
    ],
)
def test_a_calibration_that_cannot_be_read_is_named(tmp_path: Path, content: str, told: str) -> None:
    path = calibration.save(tmp_path, stored())
    path.write_text(content)
    with pytest.raises(HarnessError, match=told) as caught:
        list(calibration.load(tmp_path))
    assert str(path) in str(caught.value)


def test_the_file_is_json_that_people_can_read(tmp_path: Path) -> None:
    value = json.loads(calibration.save(tmp_path, stored()).read_text())
    assert value["figures"]["agreement"]["mean"] == 1.0
