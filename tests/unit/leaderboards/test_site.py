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
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import leaderboards
from harness.contracts import HarnessError
from leaderboards import curves, pareto
from leaderboards.best import best_of
from leaderboards.html import safety, write_site
from leaderboards.planned import BoardPlan, PlannedRow
from leaderboards.serve import server
from tests.unit.leaderboards.site_store import ATTACK, fill
from tests.unit.leaderboards.test_leaderboards import add, answers, calibrate, judged

pytest.importorskip("vl_convert", reason="the extra `site` is not installed")
pytest.importorskip("altair", reason="the extra `site` is not installed")

HANDLER = re.compile("on[a-z]+")


class Page(HTMLParser):
    """Collects what could run, what could be fetched, and the texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self.data: list[str] = []
        self.inside: tuple[str, str | None] = ("", None)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.inside = (tag, dict(attrs).get("type"))

    def handle_endtag(self, tag: str) -> None:
        self.inside = ("", None)

    def handle_data(self, data: str) -> None:
        kept = self.texts
        if self.inside[0] == "script":
            kept = self.data if self.inside[1] == "application/json" else self.scripts
        kept.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store, folder = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("site")
    fill(store, items=12, budgets=(8, 32))
    return leaderboards.html.write_site(leaderboards.ranked(store), folder, title="Boards", price=2.0).parent


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


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
    for name, page in pages.items():
        links = [value for _, attribute, value in page.attributes if attribute in ("href", "src")]
        for link in (link for link in links if not link.startswith(("#", "data:,"))):
            target = (site / name).parent / link.partition("#")[0]
            assert target.resolve().is_relative_to(site.resolve()), link
            assert target.exists(), f"{name} leads to {link}"


def test_samples_are_data_in_scripts(site: Path) -> None:
    (index,) = re.fullmatch(r"harnessSamples\.index\((.*)\);\n", (site / "data/index.js").read_text()).groups()
    runs = json.loads(index)
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
