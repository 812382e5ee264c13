"""A report over synthetic records: what is compared with what, what p speaks of, and the learning curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import leaderboards
from harness.contracts import HarnessError
from harness.records.store import Store
from harness.study.file import study_of
from harness.study.index import Index, IndexedCell
from harness.study.report import StudyReport, build
from harness.study.report.figures import PanelRow
from tests.unit.leaderboards.test_leaderboards import ITEMS, add

BUDGETS = (8, 16, 32, 64, 128)
FLOOR, SLOPE = 0.2, 0.1
"""A method's share right at 8 labels, and what a doubling adds."""


def answers(share: float, rng: np.random.Generator) -> dict[str, float]:
    return {item: float(value) for item, value in zip(ITEMS, rng.random(len(ITEMS)) < share, strict=True)}


class Made:
    """A store of synthetic cells and their index."""

    def __init__(self, folder: Path, base: Any = None, **changes: Any) -> None:
        self.folder = folder
        self.cells: list[IndexedCell] = []
        self.rng = np.random.default_rng(5)
        self.base = add(folder, "base", base or answers(0.25, self.rng), **changes).name

    def cell(self, method: str, values: Any, draw: int, labels: int = 32, **changes: Any) -> None:
        name, shuffled = method.split(maxsplit=1)[0], method.endswith("[labels=shuffled]")
        run = add(
            self.folder, name, values, seed__draw=draw, seed__training=draw, budget__labels=labels,
            budget__preset=str(labels), data__shuffled_labels=shuffled, **changes,
        ).name  # fmt: skip
        axes = {
            "aligner": method.split(maxsplit=1)[0],
            "task": "medqa",
            "pool": None,
            "model": "small-model",
            "judge": None,
        }
        axes |= {"backend": "hf", "track": "labels", "budget": str(labels), "draw": draw, "seed": draw}
        self.cells.append(IndexedCell(method=method, axes=axes, run=run, needs=(self.base,)))

    def report(self, **more: Any) -> StudyReport:
        study = study_of({"name": "s", "aligners": ["sft"], "tasks": ["medqa"], "store": str(self.folder), **more})
        return build(study, Index(study="s", cells=tuple(self.cells)), Store(self.folder))


def study(folder: Path, draws: int) -> Made:
    made = Made(folder)
    for draw in range(draws):
        made.cell("good", answers(0.9, made.rng), draw)
        made.cell("dpo", answers(0.5, made.rng), draw)
        made.cell("dpo [labels=shuffled]", answers(0.25, made.rng), draw)
    return made


def test_folds_of_a_draw_are_put_together_and_widen_what_is_said(tmp_path: Path) -> None:
    halves = ITEMS[: len(ITEMS) // 2], ITEMS[len(ITEMS) // 2 :]
    rng = np.random.default_rng(3)
    whole = [answers(0.6, rng), answers(0.6, rng)]
    folded, plain = Made(tmp_path / "folded"), Made(tmp_path / "plain")
    for draw, values in enumerate(whole):
        plain.cell("good", values, draw)
        for index, items in enumerate(halves):
            fold = {"index": index, "of": 2}
            folded.cell("good", {item: values[item] for item in items}, draw, data__fold=fold)
    (one,), (other,) = (made.report().panels for made in (folded, plain))
    mine, usual = one.rows[1], other.rows[1]
    assert (mine.score, mine.n_draws, one.n_units) == (usual.score, 2, len(ITEMS))
    assert mine.ci95 is not None
    assert usual.ci95 is not None
    assert mine.ci95[1] - mine.ci95[0] == pytest.approx(np.sqrt(2) * (usual.ci95[1] - usual.ci95[0]))
    assert any("held out by one fold" in sentence for sentence in one.sentences)


def test_figures_of_a_study_whose_folds_are_not_all_there_are_left_out(tmp_path: Path) -> None:
    made = Made(tmp_path)
    values = {"accuracy": answers(0.6, made.rng), "length": answers(0.6, made.rng)}
    made.cell("good", values, 0, data__fold={"index": 0, "of": 5})
    (panel,) = made.report().panels
    assert (panel.rows[1].score, panel.figures) == (None, ())


def test_a_draw_without_all_its_folds_has_no_score(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for draw in (0, 1):
        made.cell("good", answers(0.6, made.rng), draw, data__fold={"index": 0, "of": 2})
    made.cell("good", answers(0.6, made.rng), 1, data__fold={"index": 1, "of": 2})
    (panel,) = made.report().panels
    assert panel.rows[1].n_draws == 1
    assert panel.rows[1].notes == ("fold 2 has no score (draw 0, seed 0): the seed is left out",)


def test_methods_are_compared_with_base_the_reference_and_their_own_control(tmp_path: Path) -> None:
    report = study(tmp_path, 6).report()
    (panel,) = report.panels
    rows = {row.method: row for row in panel.rows}
    assert [row.method for row in panel.rows] == ["base", "good", "dpo", "dpo [labels=shuffled]"]
    assert set(rows["good"].versus) == {"base", "dpo"}
    assert set(rows["dpo"].versus) == {"base", "shuffled"}
    assert rows["good"].versus["dpo"].verdict == "better"
    assert rows["dpo"].versus["shuffled"].verdict == "better"
    control = rows["dpo [labels=shuffled]"]
    assert (control.role, control.versus["base"].p_holm, control.versus["base"].verdict) == ("control", None, None)
    good = rows["good"].versus["base"]
    assert good.p is not None
    assert good.p_holm == min(1.0, max(2 * good.p, good.p))
    assert (rows["good"].among_the_best, rows["dpo"].among_the_best, control.among_the_best) == (True, False, None)
    assert panel.n_units == len(ITEMS)
    assert report.counts == {"ok": 18}


def test_where_draws_ask_other_items_each_has_a_panel_and_their_means_stand_together(tmp_path: Path) -> None:
    """Groups' opinions: a draw decides what is held out. There was a row without a figure for every method."""
    made = Made(tmp_path)
    halves = ITEMS[: len(ITEMS) // 2], ITEMS[len(ITEMS) // 2 :]
    shares: dict[str, list[float]] = {}
    bases = []
    for draw, items in enumerate(halves):
        made.base = add(tmp_path, "base", {item: float(n % 4 == 0) for n, item in enumerate(items)}).name
        bases.append(sum(n % 4 == 0 for n in range(len(items))) / len(items))
        for method, right in ("gpo", 15 + draw), ("gpo [context=swapped]", 12), ("ridge", 9):
            values = {item: float(n < right) for n, item in enumerate(items)}
            config = {"context": "swapped"} if "swapped" in method else {}
            made.cell(method, values, draw, aligner__config=config, aligner__changed=config)
            shares.setdefault(method, []).append(right / len(items))
    report = made.report()
    assert [(panel.asks_anew, panel.draws, panel.n_units) for panel in report.panels] == [
        (True, (draw,), len(items)) for draw, items in enumerate(halves)
    ]
    for draw, panel in enumerate(report.panels):
        rows = {row.method: row for row in panel.rows}
        assert rows["base"].score == pytest.approx(bases[draw])
        for method, each in shares.items():
            assert rows[method].score == pytest.approx(each[draw])
            assert rows[method].versus["base"].difference == pytest.approx(each[draw] - bases[draw])
            assert not rows[method].notes
        swapped = rows["gpo"].versus["swapped"]
        assert swapped.difference == pytest.approx(shares["gpo"][draw] - shares["gpo [context=swapped]"][draw])
    (together,) = report.over_draws
    gpo = next(row for row in together.rows if row.method == "gpo")
    assert gpo.score.mean == pytest.approx(np.mean(shares["gpo"]))
    assert gpo.score.error == pytest.approx(np.std(shares["gpo"], ddof=1) / np.sqrt(2))
    assert gpo.less_base is not None
    assert gpo.less_base.mean == pytest.approx(np.mean(shares["gpo"]) - np.mean(bases))
    assert gpo.verdicts == {"better": 2}
    assert together.rows[0].method == "base"
    text = report.markdown()
    assert text.index(": over the draws") < text.index("small-model, draw 0") < text.index("small-model, draw 1")


def test_over_draws_unfit_rows_are_left_out_of_means_and_stand_last(tmp_path: Path) -> None:
    made = Made(tmp_path)
    falling: dict[str, Any] = {"task__lower_is_better": ("accuracy",)}
    for draw, items in enumerate((ITEMS[: len(ITEMS) // 2], ITEMS[len(ITEMS) // 2 :])):
        made.base = add(tmp_path, "base", {item: float(n % 2) for n, item in enumerate(items)}, **falling).name
        for method, count in ("gpo", 9), ("ridge", 3), ("gem", 0):
            unfit = method == "gem" or (method == "ridge" and draw == 1)
            status = {"status": "degenerate", "reason": "below its floor"} if unfit else {}
            values = {item: float(n < (20 if method == "ridge" and unfit else count)) for n, item in enumerate(items)}
            made.cell(method, values, draw, **falling, **status)
    (together,) = made.report().over_draws
    assert [row.method for row in together.rows] == ["base", "gpo", "ridge", "gem"]
    rows = {row.method: row for row in together.rows}
    assert rows["ridge"].score.mean == pytest.approx(3 / (len(ITEMS) // 2))
    assert (rows["ridge"].n_draws, rows["ridge"].verdicts["degenerate"]) == (1, 1)
    assert rows["gem"].verdicts == {"degenerate": 2}


@pytest.mark.parametrize(("draws", "scope"), [(3, "new questions for these draws"), (6, "new draws and new questions")])
def test_what_p_speaks_of_follows_from_the_number_of_draws(draws: int, scope: str, tmp_path: Path) -> None:
    (panel,) = study(tmp_path, draws).report().panels
    assert {contrast.scope for row in panel.rows for contrast in row.versus.values()} == {scope}
    said = " ".join(panel.sentences)
    assert ("not of new draws" in said) is (draws < 6)
    assert "trained with one seed" in said
    assert "found four times in five" in said
    assert panel.detectable is not None
    assert "| good |" in study(tmp_path / "again", draws).report().markdown()


def test_failed_and_degenerate_runs_are_said_and_not_tested(tmp_path: Path) -> None:
    made = study(tmp_path, 3)
    for draw in range(3):
        made.cell("gem", answers(0.9, made.rng), draw, status="degenerate", reason="below its floor")
    made.cell("sft", None, 0, status="failed", reason="out of memory")
    made.cells.append(made.cells[-1].model_copy(update={"run": "missing-1"}))
    report = made.report()
    rows = {row.method: row for row in report.panels[0].rows}
    assert rows["gem"].degenerate
    assert rows["gem"].versus["base"].p_holm is None
    assert rows["sft"].score is None
    assert "draw 0: failed: out of memory" in rows["sft"].notes
    assert report.counts == {"ok": 9, "degenerate": 3, "failed": 1, "missing": 1}
    assert "1 of 14 cells have no record yet" in report.sentences[0]
    assert rows["good"].versus["base"].p_holm is not None


def right(count: int) -> dict[str, float]:
    """The first `count` items right."""
    return {item: float(place < count) for place, item in enumerate(ITEMS)}


def values_of(folder: Path, run: str) -> dict[str, float]:
    """The values of a run that `add` wrote."""
    columns = pq.read_table(folder / run / "samples.parquet").to_pydict()
    return dict(zip(columns["id"], columns["value.accuracy"], strict=True))


def rows_of(report: StudyReport) -> dict[str, PanelRow]:
    (panel,) = report.panels
    return {row.method: row for row in panel.rows}


def test_unfit_draws_are_left_out_of_a_mean_and_said(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.cell("gem", right(11), 0)
    for draw in (1, 2):
        made.cell("gem", right(40), draw, status="degenerate", reason="below its floor")
    report = made.report()
    row, (table,) = rows_of(report)["gem"], leaderboards.tables(tmp_path)
    told = table.row("gem")
    assert (row.score, row.n_draws, row.degenerate) == (11 / 40, 1, False)
    assert row.versus["base"].verdict == told.verdict == "cannot tell"
    versus = told.metrics["accuracy"].versus_base
    assert versus is not None
    assert row.versus["base"].p == versus.p
    assert "the score is of 1 of 3 seeds: 2 unfit are left out" in row.notes
    assert "2 degenerate" in report.markdown()


def test_a_degenerate_row_has_no_p_in_any_comparison(tmp_path: Path) -> None:
    made = study(tmp_path, 3)
    for draw in range(3):
        made.cell("gem", right(40), draw, status="degenerate", reason="below its floor")
    report = made.report()
    row = rows_of(report)["gem"]
    assert set(row.versus) == {"base", "dpo"}
    assert {(one.p, one.p_holm, one.verdict) for one in row.versus.values()} == {(None, None, None)}
    assert report.panels[0].rows[-1].method == "gem", "it stands last, though its score is the highest"
    (line,) = [line for line in report.markdown().splitlines() if line.startswith("| gem ")]
    assert "(0." not in line


def test_a_degenerate_reference_is_compared_with_nothing(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for draw in range(2):
        made.cell("dpo", right(30), draw, status="degenerate", reason="below its floor")
        made.cell("sft", right(35), draw)
    row = rows_of(made.report())["sft"]
    assert set(row.versus) == {"base"}
    assert "not compared with dpo, which is degenerate" in row.notes


@pytest.mark.parametrize(("shuffled", "verdict"), [(36, "cannot tell"), (10, "better"), (None, None)])
def test_where_a_task_asks_for_it_a_method_must_beat_its_control_too(
    shuffled: int | None, verdict: str | None, tmp_path: Path
) -> None:
    made = Made(tmp_path)
    for draw in range(3):
        made.cell("dpo", right(36), draw, task__null_by="shuffled")
        if shuffled is not None:
            made.cell("dpo [labels=shuffled]", right(shuffled), draw, task__null_by="shuffled")
    report = made.report()
    row = rows_of(report)["dpo"]
    against = row.versus["base"]
    assert against.verdict == verdict
    if shuffled is None:
        assert against.p_holm is None
        assert "no run of it on shuffled labels beside it: it has no verdict" in row.notes
    else:
        assert against.p_holm == max(against.p or 0.0, row.versus["shuffled"].p or 0.0)
        assert "the larger p of the two counts" in " ".join(report.panels[0].sentences)


def test_a_degenerate_run_on_shuffled_labels_is_no_control_that_could_be_beaten(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for draw in range(3):
        made.cell("dpo", right(36), draw, task__null_by="shuffled")
        unfit: dict[str, Any] = {"status": "degenerate", "reason": "below its floor", "task__null_by": "shuffled"}
        made.cell("dpo [labels=shuffled]", right(0), draw, **unfit)
    row = rows_of(made.report())["dpo"]
    assert set(row.versus) == {"base"}
    assert row.versus["base"].verdict is None
    assert "its run on shuffled labels is no result of its method: it has no verdict" in row.notes


def test_of_a_figure_that_should_fall_the_lowest_is_the_best(tmp_path: Path) -> None:
    made = Made(tmp_path)
    falling: dict[str, Any] = {"task__lower_is_better": ("accuracy",)}
    made.base = add(tmp_path, "base", right(30), seed__training=99, **falling).name
    for draw in range(3):
        made.cell("dpo", right(4), draw, **falling)
        made.cell("sft", right(39), draw, **falling)
    report = made.report()
    assert [row.method for row in report.panels[0].rows] == ["base", "dpo", "sft"]
    rows = rows_of(report)
    assert (rows["dpo"].versus["base"].verdict, rows["sft"].versus["base"].verdict) == ("better", "worse")
    assert (rows["dpo"].among_the_best, rows["sft"].among_the_best, rows["base"].among_the_best) == (True, False, False)
    assert "lower is better" in report.markdown()


def test_what_could_have_been_shown_is_what_the_board_says_of_the_same_records(tmp_path: Path) -> None:
    """One answer of 120 differs: the spread that was seen would give 2.4 points, which the test finds hardly ever."""
    made = Made(tmp_path, right(0))
    for draw in range(3):
        made.cell("dpo", right(1 if draw == 0 else 0), draw)
    (panel,), (table,) = made.report().panels, leaderboards.tables(tmp_path)
    assert panel.detectable == table.mdd
    assert panel.detectable is not None
    assert panel.detectable > 0.1
    assert f"a difference to base of {100 * panel.detectable:.1f} points would be found" in " ".join(panel.sentences)


def test_where_a_test_would_find_nothing_no_smallest_difference_is_named(tmp_path: Path) -> None:
    few = ITEMS[:4]
    made = Made(tmp_path, dict.fromkeys(few, 0.0))
    for draw in range(2):
        made.cell("dpo", dict.fromkeys(few, 1.0), draw)
    (panel,) = made.report().panels
    assert panel.detectable is None
    assert any("there are too few units" in sentence for sentence in panel.sentences)


def test_other_figures_stand_below_with_their_difference_to_base(tmp_path: Path) -> None:
    made = Made(tmp_path, {"accuracy": right(10), "length": right(20)})
    for draw in range(2):
        made.cell("dpo", {"accuracy": right(30), "length": right(35)}, draw)
    report = made.report()
    (figure,) = report.panels[0].figures
    base, dpo = figure.rows
    assert (figure.metric, base.method, base.less_base) == ("length", "base", None)
    assert (dpo.score, dpo.less_base) == (35 / 40, 15 / 40)
    assert dpo.p is not None
    assert dpo.p < 0.001
    assert "| dpo | 0.875 (+0.375, 0.000) |" in report.markdown()


def test_the_steps_that_a_method_took_stand_in_its_row(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for draw in range(2):
        made.cell("dpo", right(30), draw, spent__optimizer_steps=32 + 2 * draw)
    report = made.report()
    assert rows_of(report)["dpo"].steps == 33
    assert "| 33 |" in report.markdown()


def curves(folder: Path, **changes: Any) -> Made:
    """`good` with half of the labels is as good as `dpo` with all of them."""
    made = Made(folder)
    for draw in range(3):
        skill = made.rng.random(len(ITEMS))
        for place, labels in enumerate(BUDGETS):
            for method, ahead in (("good", 1), ("dpo", 0)):
                share = FLOOR + SLOPE * (place + ahead)
                values = {item: float(s < share) for item, s in zip(ITEMS, skill, strict=True)}
                made.cell(method, values, draw, labels, **changes)
    return made


def test_learning_curves_say_how_many_labels_reach_the_reference(tmp_path: Path) -> None:
    (panel,) = curves(tmp_path).report().curves
    good, dpo = panel.curves
    assert [point.labels for point in good.points] == list(BUDGETS)
    assert good.efficiency is not None
    assert good.efficiency.target_labels == 128
    assert good.efficiency.labels == pytest.approx(64, rel=0.25)
    assert good.efficiency.ci95[0] <= good.efficiency.labels <= good.efficiency.ci95[1]
    assert dpo.efficiency is None
    assert panel.sentences[0].startswith("good reaches what dpo has at 128 labels with ")


def test_a_target_beyond_the_range_is_said_with_the_censored_share(tmp_path: Path) -> None:
    made = curves(tmp_path)
    swapped = {"good": "dpo", "dpo": "good"}
    made.cells = [c.model_copy(update={"method": swapped[c.method]}) for c in made.cells]
    (panel,) = made.report(report={"reference": "dpo", "target_labels": 128}).curves
    sentence = panel.sentences[0]
    assert "does not reach what dpo has at 128 labels within this range" in sentence
    assert "beyond 128" in sentence
    with pytest.raises(HarnessError, match="target_labels is 100"):
        made.report(report={"target_labels": 100})


def test_a_curve_of_a_figure_that_should_fall_falls(tmp_path: Path) -> None:
    """The same study with wrong answers counted: the same number of labels, and the curve upside down."""
    rising, falling = curves(tmp_path / "rising"), Made(tmp_path / "falling")
    for cell in rising.cells:
        values = {item: 1.0 - value for item, value in values_of(rising.folder, cell.run).items()}
        draw, labels = cell.axes["draw"], int(cell.axes["budget"])
        falling.cell(cell.method, values, draw, labels, task__lower_is_better=("accuracy",))
    (up,), (down,) = rising.report().curves, falling.report().curves
    assert (up.lower_is_better, down.lower_is_better) == (False, True)
    for rises, falls in zip(up.curves, down.curves, strict=True):
        assert [point.mean for point in falls.points] == pytest.approx([1 - point.mean for point in rises.points])
        assert all(one.ci95[0] <= one.mean <= one.ci95[1] for one in falls.points)
    mine, other = up.curves[0].efficiency, down.curves[0].efficiency
    assert mine is not None
    assert other is not None
    assert (other.labels, other.target) == (pytest.approx(mine.labels), pytest.approx(1 - mine.target))


def test_an_unfit_run_is_no_point_of_a_curve_and_no_target(tmp_path: Path) -> None:
    made = curves(tmp_path)
    for cell in [one for one in made.cells if one.method == "dpo" and one.axes["budget"] == "128"]:
        made.cells.remove(cell)
        made.cell("dpo", right(120), cell.axes["draw"], 128, status="over_cap", reason="the cap was reached")
    (panel,) = made.report().curves
    assert [curve.method for curve in panel.curves] == ["good"]
    assert panel.curves[0].efficiency is None
    assert "dpo has no point at 128 labels: it has no sound run there." in panel.sentences
    assert any(sentence.startswith("dpo has no curve") for sentence in panel.sentences)


def test_draws_that_ask_other_items_give_no_curve(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for labels in BUDGETS:
        for draw in (0, 1):
            items = ITEMS[draw::2]
            made.cell("gpo", {item: float(n < 9) for n, item in enumerate(items)}, draw, labels)
    (curves,) = made.report().curves
    assert curves.curves == ()
    assert curves.sentences == (
        "No learning curve: every draw asks other items, and a curve needs the same items on every draw.",
    )


def test_budgets_that_select_differently_give_no_curve(tmp_path: Path) -> None:
    made = curves(tmp_path, budget__selection="holdout25")
    (panel,) = made.report().curves
    assert panel.curves == ()
    assert "use last" in panel.sentences[0]


def test_without_a_record_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="has no record yet"):
        Made(tmp_path).report()


def test_the_forecast_is_compared_with_what_it_took(tmp_path: Path) -> None:
    made = study(tmp_path, 3)
    forecast = {made.cells[0].run: {"seconds": 100.0, "flops": 5e12}, "never-run": {"seconds": 1.0, "flops": 1.0}}
    index = Index(study="s", cells=tuple(made.cells), forecast=forecast)
    file = study_of({"name": "s", "aligners": ["sft"], "tasks": ["medqa"], "store": str(tmp_path)})
    report = build(file, index, Store(tmp_path))
    assert report.forecast is not None
    assert (report.forecast.runs, report.forecast.seconds_expected, report.forecast.seconds_actual) == (1, 100.0, 81.0)
    assert "+23 %" in report.markdown()
    assert report.panels[0].components is not None
