"""The site: every page's policy, strangers' texts inert in all of them, and what its parts say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import leaderboards
from harness.contracts import HarnessError
from leaderboards import curves, pareto
from leaderboards.best import best_of
from leaderboards.html import charts, safety, view, write_site
from leaderboards.html.data import write_samples
from leaderboards.planned import BoardPlan, PlannedRow
from leaderboards.serve import server
from tests.unit.leaderboards.pages import Page, pages_of, values_that_sort_as_text, wrong_links
from tests.unit.leaderboards.site_store import ATTACK, fill
from tests.unit.leaderboards.test_leaderboards import ITEMS, add, answers, calibrate, judged

pytest.importorskip("vl_convert", reason="the extra `site` is not installed")
pytest.importorskip("altair", reason="the extra `site` is not installed")

HANDLER = re.compile("on[a-z]+")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store, folder = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("site")
    fill(store, items=12, budgets=(8, 32))
    return leaderboards.html.write_site(leaderboards.ranked(store), folder, title="Boards", price=2.0).parent


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return pages_of(site)


def test_every_page_has_the_policy_and_nothing_that_it_forbids(pages: dict[str, Page]) -> None:
    assert "'unsafe" not in safety.POLICY
    assert "http" not in safety.POLICY
    for name, page in pages.items():
        values = [value for tag, attribute, value in page.attributes if (tag, attribute) == ("meta", "content")]
        assert safety.POLICY in values, name
        assert not any(HANDLER.fullmatch(attribute) or attribute == "style" for _, attribute, _ in page.attributes), (
            name
        )
        assert not "".join(page.scripts).strip(), f"{name} has a script inside"
        assert "style" not in page.tags


def test_strangers_texts_make_no_element_in_any_page(pages: dict[str, Page]) -> None:
    seen = 0
    for name, page in pages.items():
        assert not {"img", "iframe", "object", "b"} & set(page.tags), name
        text = "".join(page.texts)
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "{{ 7*7 }}" in text or "too few" not in text
        seen += "window.attacked" in text
        for data in page.data:
            json.loads(data)
    assert seen > len(pages) / 2


def test_links_stay_in_the_site_and_lead_somewhere(site: Path, pages: dict[str, Page]) -> None:
    assert wrong_links(site, pages) == []


def runs_with_samples(site: Path) -> list[dict[str, Any]]:
    """What the sample viewer is told of every run."""
    (index,) = re.fullmatch(r"harnessSamples\.index\((.*)\);\n", (site / "data/index.js").read_text()).groups()
    return json.loads(index)


def test_samples_are_data_in_scripts(site: Path) -> None:
    runs = runs_with_samples(site)
    assert len(runs) == 1 + 2 * 2 * 4, "every run with samples once, those of base too"
    for path in (site / "data").glob("*-0.js"):
        text = path.read_text()
        assert not set("<>&\u2028\x1b\u202e") & set(text)
        (rows,) = re.fullmatch(r"harnessSamples\.rows\(\"[\w-]+\", 0, (.*)\);\n", text).groups()
        assert len(json.loads(rows)) == 12
        assert r"\x1b[31mred" in json.loads(rows)[0]["detail"]["reference"]


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
def test_scripts_are_scripts(site: Path) -> None:
    for name in ("site", "charts", "samples"):
        subprocess.run(["node", "--check", site / f"assets/{name}.js"], check=True)
        text = (site / f"assets/{name}.js").read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)


def test_a_table_page_says_costs_controls_and_failures(site: Path, pages: dict[str, Page]) -> None:
    page = next(page for name, page in pages.items() if name.startswith("t/medqa-32"))
    text = " ".join(" ".join(page.texts).split())
    for said in (
        "better",
        "degenerate 2/2",
        "failed 2/2",
        "Runs that are no results",
        "Budget and setting",
        "peak memory",
    ):
        assert said in text
    assert re.search(r"random of|random", text)
    assert "labels bought" in text
    assert "money, at 2 an hour" in text
    assert "lora" in text


def test_costs_are_sorted_as_numbers(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert values_that_sort_as_text(page) == [], name
    page = next(page for name, page in pages.items() if name.startswith("t/medqa-32"))
    costs = next(table for table in page.tables if any(head.text == "peak memory" for head in table.rows[0]))
    heads = [head.text for head in costs.rows[0]]
    for head, text, value in (
        ("total seconds", "81.0 s", 81.0),
        ("flops", "2.5 T", 2.5e12),
        ("peak memory", "2.00 GiB", 2.0**31),
    ):
        cells = {cell.text: float(cell.attributes["data-value"]) for cell in costs.column(heads.index(head))}
        assert cells[text] == value


def test_the_first_page_of_a_board_says_what_is_missing(tmp_path: Path) -> None:
    fill(tmp_path / "store", items=12, budgets=(8,))
    parts = (
        PlannedRow(task="medqa", rows=("sft", "kto"), draws=(0, 7), labels=(8,)),
        PlannedRow(task="gsm8k", rows=(ATTACK,), draws=(0,), why="no time"),
    )
    plan = BoardPlan(title="A board", about="", planned=parts)
    page = Page(write_site(leaderboards.ranked(tmp_path / "store"), tmp_path / "site", plan=plan).read_text())
    text = " ".join(" ".join(page.texts).split())
    assert "4 of 5 planned cells have no score" in text
    assert "medqa, sft, 8 labels: not run in draws 7" in text
    assert "medqa, kto, 8 labels: failed in draw 0:" in text
    assert "not run in draws 0 (no time)" in text
    assert "A board" in text
    assert "img" not in page.tags


def test_a_record_page_has_the_command_that_makes_it_again(tmp_path: Path) -> None:
    words = ["/home/me/.venv/bin/python", "-m", "harness.study.executors.worker", "6"]
    add(tmp_path / "store", "base", answers(10))
    run = add(tmp_path / "store", "gem", answers(12), manifest__command=words, aligner__changed={"note": "a b"})
    write_site(leaderboards.ranked(tmp_path / "store"), tmp_path / "site")
    page = Page((tmp_path / f"site/r/{run.name}.html").read_text())
    (shown,) = [text for text in page.texts if "python -m harness run" in text]
    assert "--aligner gem --task medqa --data sample --budget 32 --draw-seed 0 --seed 0" in shown
    assert shown.endswith("--set 'aligner.note=a b'")


def test_figures_for_papers_keep_strangers_texts_as_text(tmp_path: Path) -> None:
    add(tmp_path / "store", "base", answers(10))
    add(tmp_path / "store", "gem", answers(20), aligner__changed={"note": ATTACK})
    paths = leaderboards.html.write_figures(leaderboards.ranked(tmp_path / "store"), tmp_path / "figures", price=1.0)
    assert len(paths) == 2 * (1 + len(pareto.axes(1.0)))
    for path in (path for path in paths if path.suffix == ".svg"):
        root = ElementTree.fromstring(path.read_text())
        names = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert "script" not in names
        assert "gem [note=" in "".join(root.itertext())
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths if path.suffix == ".png")


@pytest.mark.parametrize("missing", ["altair", "vl_convert", "jinja2"])
def test_without_the_extra_it_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add(tmp_path / "store", "base", answers(10))
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(HarnessError, match=rf"pages and figures need {missing}: pip install 'align-harness\[site\]'"):
        leaderboards.html.write_site(leaderboards.ranked(tmp_path / "store"), tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_the_server_answers_this_machine_only(site: Path) -> None:
    with server(site, 0) as made:
        assert made.server_address[0] == "127.0.0.1"
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        place = f"http://127.0.0.1:{made.server_port}"
        with urllib.request.urlopen(f"{place}/index.html") as answer:
            assert answer.headers["Content-Security-Policy"] == safety.POLICY
        for path, host in (("/data/", None), ("/index.html", "evil.example"), ("/%2e%2e/%2e%2e/etc/passwd", None)):
            request = urllib.request.Request(f"{place}{path}", headers={"Host": host} if host else {})
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request)
            assert refused.value.code in (404, 421)
        made.shutdown()
        thread.join()
    with pytest.raises(HarnessError, match="no site in"):
        server(site / "data", 0)


# ---------------------------------------------------------------- what the pages say


def test_file_names_are_harmless() -> None:
    assert safety.file_name("3199d4fe7a86806e") == "3199d4fe7a86806e"
    for name in ("../x", ATTACK, "", ".hidden", "a/b", "-x"):
        assert re.fullmatch("[0-9a-f]{16}", safety.file_name(name))


def test_the_best_and_what_cannot_be_told_from_it(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(5))
    for name, right in (("dpo", 36), ("sft", 35), ("gem", 8)):
        add(tmp_path, name, answers(right))
    add(tmp_path, "kto", answers(40), status="degenerate", reason="flat")
    found = leaderboards.ranked(tmp_path)
    assert best_of(found.tables[0], found.entries) == {"dpo", "sft"}


def test_of_folds_none_are_called_the_best(tmp_path: Path) -> None:
    """Their units are not independent, as a model confidence set takes them to be; nor has a part of them a score."""
    for folds in ((0, 1), (0,)):
        store = tmp_path / str(len(folds))
        for fold in folds:
            for name, right in (("base", 2), ("dpo", 18)):
                items = ITEMS[20 * fold : 20 * fold + 20]
                add(store, name, answers(right, of=items), data__fold={"index": fold, "of": 2})
        found = leaderboards.ranked(store)
        assert best_of(found.tables[0], found.entries) == frozenset()


def test_the_front_holds_what_nothing_beats() -> None:
    points = {"cheap": (1.0, 0.5), "dear": (9.0, 0.8), "worse": (9.0, 0.7), "same": (1.0, 0.5), "poor": (2.0, 0.4)}
    assert pareto.front(points) == ["cheap", "same", "dear"]


def test_five_budgets_make_a_curve_and_fewer_join_scores(tmp_path: Path) -> None:
    fill(tmp_path / "many", items=30)
    found = leaderboards.ranked(tmp_path / "many")
    (many,) = curves.curves(found.tables, found.entries)
    lines = {line.label: line for line in many.lines}
    assert many.budgets == (8, 16, 32, 64, 128)
    assert lines["sft"].smoothed
    assert lines["sft"].reached is None, "the reference is not asked to reach itself"
    means = [point.mean for point in lines["sft"].points]
    assert means == sorted(means)
    dpo = next(line for label, line in lines.items() if label.startswith("dpo"))
    assert dpo.reached is not None
    assert not lines["gem"].smoothed, "degenerate runs make no curve"
    fill(tmp_path / "few", items=30, budgets=(8, 32))
    found = leaderboards.ranked(tmp_path / "few")
    (few,) = curves.curves(found.tables, found.entries)
    assert all(not line.smoothed and line.why_not and "5 budgets" in line.why_not for line in few.lines)


def test_curves_mark_what_is_degenerate_and_say_which_way_is_up(tmp_path: Path) -> None:
    for labels in (8, 32):
        more: dict[str, Any] = {
            "budget__labels": labels,
            "budget__preset": str(labels),
            "task__lower_is_better": ("accuracy",),
        }
        add(tmp_path / "runs", "dpo", answers(20), **more)
        add(tmp_path / "runs", "gem", answers(20), **more, status="degenerate", reason="flat")
    page = Page(
        (write_site(leaderboards.ranked(tmp_path / "runs"), tmp_path / "site").parent / "curves.html").read_text()
    )
    text = " ".join(" ".join(page.texts).split())
    assert "accuracy, lower is better" in text
    assert re.search(r"gem 0\.500 \[0\.\d+, 0\.\d+\] degenerate", text)
    assert not re.search(r"dpo 0\.500 \[0\.\d+, 0\.\d+\] degenerate", text)
    (spec,) = page.data
    crosses = [part for part in json.loads(spec)["layer"] if part["mark"].get("shape") == "cross"]
    assert [value["method"] for part in crosses for value in part["data"]["values"]] == ["gem", "gem"]


def index_of(site: Path) -> list[dict[str, Any]]:
    """The runs that the sample viewer offers."""
    found = re.fullmatch(r"harnessSamples\.index\((.*)\);\n", (site / "data/index.js").read_text())
    assert found is not None
    runs: list[dict[str, Any]] = json.loads(found[1])
    return runs


def test_a_row_of_folds_has_a_record_for_every_fold(tmp_path: Path) -> None:
    for fold in (0, 1):
        mine: dict[str, Any] = {"data__fold": {"index": fold, "of": 2}}
        items = ITEMS[20 * fold : 20 * fold + 20]
        for name in ("base", "dpo"):
            add(tmp_path / "runs", name, answers(8, of=items), **mine)
        unfit = {"status": "degenerate", "reason": "no marker"} if fold else {}
        add(tmp_path / "runs", "gem", answers(8, of=items), **mine, **unfit)
    site = write_site(leaderboards.ranked(tmp_path / "runs"), tmp_path / "site").parent
    (table,) = (site / "t").glob("*.html")
    text = " ".join(" ".join(Page(table.read_text()).texts).split())
    assert "gem : ok 1/2, degenerate 1/2" in text, "of two records, not of one seed"
    for name, status in (("base", ""), ("dpo", ""), ("gem", ", degenerate")):
        assert f"{name} draw 0, seed 0, fold 1 of 2 {name} draw 0, seed 0, fold 2 of 2{status}" in text
    for page in (site / "r").glob("dpo-*.html"):
        assert re.search(r"run dpo-\d+ · draw 0, seed 0, fold [12] of 2 ·", " ".join(Page(page.read_text()).texts))
    assert (site / "records.html").read_text().count("draw 0, seed 0, fold 2 of 2") == 3
    runs = {run["name"]: run["items"] for run in index_of(site)}
    dpo, other, base = (
        runs[f"{name}, 32 labels, draw 0, seed 0, fold {fold} of 2"]
        for name, fold in (("dpo", 1), ("dpo", 2), ("base", 1))
    )
    assert dpo == base != other, "only the same fold has the same items"


def test_pages_say_of_which_metrics_less_is_better(tmp_path: Path) -> None:
    for name, right in (("base", 20), ("sft", 2)):
        values = {"accuracy": answers(right), "contradiction": answers(right), "closeness": answers(right)}
        add(tmp_path / "runs", name, values, task__lower_is_better=("accuracy", "contradiction"))
    site = write_site(leaderboards.ranked(tmp_path / "runs"), tmp_path / "site").parent
    assert [run["falling"] for run in index_of(site)] == [True, True]
    for name, others in (("index.html", 0), ("t/*.html", 1), ("r/sft-*.html", 1)):
        (page,) = site.glob(name)
        text = " ".join(" ".join(Page(page.read_text()).texts).split())
        assert "accuracy (lower is better)" in text, name
        assert ("contradiction (lower is better)" in text) == bool(others)
        assert "closeness (lower" not in text


def test_a_control_that_is_unfit_is_marked_beside_its_figure(tmp_path: Path) -> None:
    add(tmp_path / "runs", "base", answers(10))
    add(tmp_path / "runs", "random", answers(20), status="degenerate", reason="flat")
    site = write_site(leaderboards.ranked(tmp_path / "runs"), tmp_path / "site").parent
    (table,) = (site / "t").glob("*.html")
    text = " ".join(" ".join(Page(table.read_text()).texts).split())
    assert re.search(r"Controls on the same items control accuracy Δ base random degenerate 0\.500", text)


def test_a_run_that_a_newer_one_replaces_has_a_page_and_is_not_counted(tmp_path: Path) -> None:
    """A study of two commits runs base twice: six of a published board's records had no page."""
    store, site = tmp_path / "store", tmp_path / "site"
    old = add(
        store, "base", answers(10), manifest__created="2025-01-01T00:00:00Z", budget__labels=8, budget__preset="8"
    )
    other = add(store, "gem", answers(11), manifest__created="2025-01-01T00:00:00Z")
    new, newer = add(store, "base", answers(10)), add(store, "gem", answers(12))
    text = " ".join(Page(write_site(leaderboards.ranked(store), site).read_text()).texts)
    assert "1 tables over 2 runs." in text
    listed = Page((site / "records.html").read_text()).texts
    for older, by in ((old, new), (other, newer)):
        name = f"{by.name.split('-')[0]}, replaced by {by.name}"
        assert name in listed
        assert f"{name} on medqa" in Page((site / f"r/{older.name}.html").read_text()).texts
    assert {path.stem for path in (site / "r").iterdir()} == {run.name for run in (old, other, new, newer)}
    assert {name for name in listed if name.endswith("4 records")}


def test_a_judges_leanings_stand_beside_its_agreement(tmp_path: Path) -> None:
    calibrate(tmp_path / "runs")
    judged(tmp_path / "runs")
    folder = write_site(leaderboards.ranked(tmp_path / "runs"), tmp_path / "site").parent
    texts = [text.strip() for path in (folder / "t").iterdir() for text in Page(path.read_text()).texts]
    heads = ["a constant answer wins", "the answer shown first wins", "verdict changes with the order"]
    place = texts.index(heads[0])
    assert texts[place : place + 5] == [*heads, "the longer answer wins", "and with people"]
    place = texts.index("0.020")
    assert texts[place : place + 5] == ["0.020", "0.830", "0.350", "0.710", "0.550"]


def test_headings_name_the_judge_and_whose_answers_it_was_given(tmp_path: Path) -> None:
    judged = {"task__name": "alpaca_eval", "task__judge": "mild", "task__judge_version": "1"}
    for against in ("base", "reference"):
        add(tmp_path / "runs", "sft", answers(10), **judged, task__baseline=against)
    index = write_site(leaderboards.ranked([tmp_path / "runs"], None), tmp_path / "site").read_text()
    pages = [page.read_text() for page in (tmp_path / "site" / "t").glob("*.html")]
    for against in ("base", "reference"):
        heading = f"alpaca_eval against {against} by judge mild at 32 labels"
        assert sum(f"<h1>{heading}</h1>" in page for page in pages) == 1
        assert index.count(f">{heading}") == 2, "a heading and its table's caption"


# ---------------------------------------------------------------- rows that nearly share a name

RATES = (0.0005, 0.005)
ALIKE = [{"epochs": 3.0, "learning_rate": rate, "preset": "ours", "warmup": 0.1} for rate in RATES]


def fill_alike(store: Path, methods: int = 0) -> None:
    """Two rows whose labels differ in their middle alone, at two budgets, and other methods beside them."""
    for labels in (8, 32):
        budget = {"budget__labels": labels, "budget__preset": str(labels)}
        add(store, "base", answers(16), **budget)
        for changed, right in zip(ALIKE, (12, 36), strict=True):
            add(store, "dpo", answers(right), aligner__changed=changed, **budget)
        for number in range(methods):
            add(store, f"m{number}", answers(13 + number), **budget)


def test_methods_that_nearly_share_a_label_are_apart_in_charts(tmp_path: Path) -> None:
    fill_alike(tmp_path)
    found = leaderboards.ranked(tmp_path)
    names = ["dpo [..., learning_rate=0.0005]", "dpo [..., learning_rate=0.005]"]
    expected = {"base": [0.4], names[0]: [0.3], names[1]: [0.9]}
    table = found.tables[0]
    assert scores_by_method(charts.interval_chart(table)["layer"][0]) == expected
    layers = charts.pareto_chart(table, pareto.AXES[2])["layer"]
    assert {name for layer in layers for name in scores_by_method(layer)} == {"base", *names}
    (one,) = view.curves_with_lines(found)
    assert scores_by_method(charts.curve_chart(one)["layer"][1]) == {names[0]: [0.3, 0.3], names[1]: [0.9, 0.9]}
    full = {value["label"] for value in charts.curve_chart(one)["layer"][2]["data"]["values"]}
    assert full == {line.label for line in one.lines}


def test_labels_bought_have_ticks_at_whole_labels(tmp_path: Path) -> None:
    fill_alike(tmp_path)
    table = leaderboards.ranked(tmp_path).tables[0]
    axis = charts.pareto_chart(table, pareto.AXES[0])["layer"][0]["encoding"]["x"]["axis"]
    assert axis["values"] == [0, 32] and axis["format"] == "d"
    assert "values" not in charts.pareto_chart(table, pareto.AXES[1])["layer"][0]["encoding"]["x"]["axis"]


def scores_by_method(layer: dict[str, Any]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for value in layer["data"]["values"]:
        found.setdefault(value["method"], []).append(value["score"])
    return found


def test_methods_that_nearly_share_a_label_are_apart_in_cells(tmp_path: Path) -> None:
    more = {"a_note_of_the_one_who_ran_it": "as the paper has it"}
    for changed, right in zip(ALIKE, (12, 36), strict=True):
        add(tmp_path / "store", "dpo", answers(right), aligner__changed={**changed, **more})
    pages = pages_of(write_site(leaderboards.ranked(tmp_path / "store"), tmp_path / "site").parent)
    for name in ("index.html", next(name for name in pages if name.startswith("t/"))):
        heads = {cell.text for cell in pages[name].tables[0].column(0)}
        assert heads == {f"dpo [..., learning_rate={rate}]" for rate in RATES}


def test_every_line_of_many_looks_like_no_other(tmp_path: Path) -> None:
    fill_alike(tmp_path, methods=20)
    (one,) = view.curves_with_lines(leaderboards.ranked(tmp_path))
    band, lines, dots, base = charts.curve_chart(one)["layer"]
    for layer, channel in ((lines, "strokeDash"), (dots, "shape")):
        scales = [layer["encoding"][name]["scale"] for name in ("color", channel)]
        looks = list(zip(*(map(str, scale["range"]) for scale in scales), strict=True))
        assert scales[0]["domain"] == scales[1]["domain"]
        assert len(set(looks)) == len(looks) == 22
    assert band["encoding"]["color"] == lines["encoding"]["color"]
    assert "strokeDash" in base["mark"]


# ---------------------------------------------------------------- tables of one task and budget


def headings(site: Path, page: str, level: str) -> list[str]:
    found = re.findall(rf"<{level}>(.*?)</{level}>", (site / page).read_text())
    return [re.sub("<.*?>", "", text) for text in found]


def test_curves_of_other_draws_have_other_headings(tmp_path: Path) -> None:
    for labels in (8, 32):
        budget = {"budget__labels": labels, "budget__preset": str(labels)}
        for name, draws in (("sft", (0, 1, 2)), ("dpo", (0,))):
            for draw in draws:
                add(tmp_path / "store", name, answers(10), seed__draw=draw, **budget)
    site = write_site(leaderboards.ranked(tmp_path / "store"), tmp_path / "site").parent
    assert sorted(headings(site, "curves.html", "h2")) == [
        "medqa: 8, 32 labels (draw 0)",
        "medqa: 8, 32 labels (draws 0, 1, 2)",
    ]
    assert "draws 0, 1, 2</p>" in (site / "curves.html").read_text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            [{"model__name": "small", "model__weights_hash": "a"}, {"model__name": "large"}],
            ["model small", "model large"],
        ),
        ([{"data__pool": "gsm8k"}, {}], ["pool gsm8k", "pool medqa"]),
        ([{"task__limit": 20}, {}], ["limit 20", "limit none"]),
        ([{"task__revision": "first"}, {"task__revision": "second"}], ["task revision first", "task revision second"]),
        ([{"model__lora": {"r": 4}}, {"model__lora": {"r": 8}}], ["lora r 4", "lora r 8"]),
        ([{}], [None]),
    ],
)
def test_tables_of_one_task_and_budget_say_what_differs(
    changes: list[dict[str, Any]], said: list[str | None], tmp_path: Path
) -> None:
    for change in changes:
        add(tmp_path / "store", "sft", answers(10), **change)
    site = write_site(leaderboards.ranked(tmp_path / "store"), tmp_path / "site").parent
    expected = sorted("medqa at 32 labels" + (f" ({what})" if what else "") for what in said)
    pages = [path.relative_to(site).as_posix() for path in (site / "t").glob("*.html")]
    assert sorted(heading for page in pages for heading in headings(site, page, "h1")) == expected
    shown = sorted(heading.removesuffix(", draw 0") for heading in headings(site, "index.html", "h2"))
    assert shown == expected


# ---------------------------------------------------------------- what the sample viewer is told


def test_folds_are_named_and_stand_beside_themselves_alone(tmp_path: Path) -> None:
    for name in ("base", "dpo"):
        for fold in range(3):
            own = answers(10, of=ITEMS[fold::3])
            add(tmp_path / "store", name, own, data__fold={"index": fold, "of": 3}, seed__draw=0)
    found = leaderboards.ranked(tmp_path / "store")
    write_samples(found.tables, found.entries, tmp_path / "site" / "data")
    runs = runs_with_samples(tmp_path / "site")
    names = [f"{name}, 32 labels, draw 0, seed 0, fold {fold} of 3" for name in ("base", "dpo") for fold in (1, 2, 3)]
    assert [run["name"] for run in runs] == names
    by_items: dict[str, list[str]] = {}
    for run in runs:
        by_items.setdefault(run["items"], []).append(run["name"][:4])
    assert list(by_items.values()) == [["base", "dpo,"]] * 3


def test_runs_of_several_models_are_told_apart(tmp_path: Path) -> None:
    for model in ("small", "large"):
        add(tmp_path / "store", "sft", answers(10), model__name=model, model__weights_hash=model)
    add(tmp_path / "store", "sft", answers(10), model__name="large", model__weights_hash="large", seed__draw=1)
    site = write_site(leaderboards.ranked(tmp_path / "store"), tmp_path / "site").parent
    assert sorted(run["name"] for run in runs_with_samples(site)) == [
        "sft, 32 labels, draw 0, seed 0, model large",
        "sft, 32 labels, draw 0, seed 0, model small",
        "sft, 32 labels, draw 1, seed 0",
    ]


def test_the_viewer_knows_of_which_metric_less_is_better(tmp_path: Path) -> None:
    add(
        tmp_path / "store", "sft", {"errors": answers(10)}, task__main_metric="errors", task__lower_is_better=["errors"]
    )
    add(tmp_path / "store", "sft", answers(10), task__lower_is_better=["errors"], task__name="gsm8k")
    site = write_site(leaderboards.ranked(tmp_path / "store"), tmp_path / "site").parent
    assert {run["metric"]: run["falling"] for run in runs_with_samples(site)} == {"errors": True, "accuracy": False}


def test_only_runs_with_samples_have_a_link_to_them(site: Path, pages: dict[str, Page]) -> None:
    runs = {run["run"] for run in runs_with_samples(site)}
    linked = {
        name: link.partition("#a=")[2]
        for name, page in pages.items()
        for _, attribute, link in page.attributes
        if attribute == "href" and "samples.html#" in link
    }
    records = {name.removeprefix("r/").removesuffix(".html") for name in pages if name.startswith("r/")}
    assert {name for name in records if f"r/{name}.html" in linked} == runs < records
    assert all(run in runs for run in linked.values())
    assert all(linked[f"r/{run}.html"] == run for run in runs)
    tables = {name: linked[name] for name in pages if name.startswith("t/")}
    assert {run.split("-")[0] for run in tables.values()} <= {"sft", "dpo"}, "the first row that is not base"
