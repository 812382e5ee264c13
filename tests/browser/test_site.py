"""The site in a real browser, opened from its folder. Outside CI: it needs Chromium, Playwright, and axe-core for some.

apt-get install chromium && npm install --no-save axe-core && tox -e browser

HARNESS_CHROMIUM names another Chromium, HARNESS_AXE another axe.min.js than that of `node_modules`.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import leaderboards
from tests.unit.leaderboards.site_store import BUDGETS, fill, put
from tests.unit.leaderboards.test_leaderboards import add, answers
from tests.unit.leaderboards.test_odd_stores import of_infinite_values

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
pytest.importorskip("vl_convert", reason="the extra `site` is not installed")

ROOT = Path(__file__).parents[2]
CHROMIUM = os.environ.get("HARNESS_CHROMIUM") or shutil.which("chromium")
AXE = Path(os.environ.get("HARNESS_AXE") or ROOT / "node_modules/axe-core/axe.min.js")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
)
BOARDS = sorted(path.parent.name for path in (ROOT / "leaderboards/records").glob("*/board.yaml"))
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium")]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from leaderboards.html import write_site

    store = tmp_path_factory.mktemp("store")
    fill(store)
    return write_site(leaderboards.ranked(store), tmp_path_factory.mktemp("site"), price=2.5).parent


@pytest.fixture(scope="module", params=BOARDS)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of a published board."""
    from leaderboards.html import write_site

    store = ROOT / "leaderboards/records" / request.param
    return write_site(leaderboards.ranked(store), tmp_path_factory.mktemp(request.param)).parent


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page; whatever the console says, an error that nobody caught, or a request to elsewhere fails the test."""
    context = chromium.new_context()
    one, said = context.new_page(), []
    one.on("console", lambda message: said.append(message.text))
    one.on("pageerror", lambda error: said.append(str(error)))
    one.on("request", lambda request: request.url.startswith("file://") or said.append(request.url))
    yield one
    assert one.evaluate("window.attacked") is None
    context.close()
    assert said == []


def opened(page: Any, site: Path, name: str) -> Any:
    page.goto(f"{site.as_uri()}/{name}")
    return page


def of(site: Path, folder: str, begins: str) -> str:
    return next(path.relative_to(site).as_posix() for path in sorted((site / folder).glob(f"{begins}*")))


PAGES = ("index.html", "t/medqa-128", "curves.html", "samples.html", "r/gem-128-0", "records.html")


def named(site: Path, name: str) -> str:
    return name if name.endswith(".html") else of(site, *name.split("/"))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_scrolls_sideways(chromium: Any, site: Path, name: str, size: dict[str, int]) -> None:
    with looked_at(chromium, site, name, size, dark=False) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: npm install --no-save axe-core, or HARNESS_AXE=axe.min.js")
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_no_serious_fault(chromium: Any, site: Path, name: str, size: dict[str, int], dark: bool) -> None:
    with looked_at(chromium, site, name, size, dark=dark) as page:
        assert serious_faults(page) == []


@contextmanager
def looked_at(chromium: Any, site: Path, name: str, size: dict[str, int], *, dark: bool) -> Iterator[Any]:
    context = chromium.new_context(viewport=size, color_scheme="dark" if dark else "light")
    page = opened(context.new_page(), site, named(site, name))
    page.wait_for_timeout(700)
    yield page
    context.close()


def serious_faults(page: Any) -> list[str]:
    page.evaluate(f"{AXE.read_text()};0")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
    assert found["testEngine"]["name"] == "axe-core"
    return [fault["id"] for fault in found["violations"] if fault["impact"] in ("serious", "critical")]


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: npm install --no-save axe-core, or HARNESS_AXE=axe.min.js")
def test_axe_finds_a_fault_where_there_is_one(chromium: Any, site: Path) -> None:
    with looked_at(chromium, site, "index.html", DESK, dark=False) as page:
        page.evaluate("document.querySelector('main').append(document.createElement('select'))")
        assert serious_faults(page) == ["select-name"]


def test_the_site_of_a_published_board(page: Any, published: Path) -> None:
    opened(page, published, "index.html")
    assert page.locator(".board:visible").count() > 0
    page.locator(".board h2 a").first.click()
    page.wait_for_selector("#scores svg.marks")
    page.wait_for_selector("#pareto-labels svg.marks")
    page.locator("#axis").select_option("pareto-flops")
    page.wait_for_selector("#pareto-flops svg.marks")
    opened(page, published, "samples.html")
    page.wait_for_selector(".item")
    opened(page, published, "records.html")
    page.locator("#records tbody th a").first.click()
    assert "python -m harness run" in page.locator("pre code").first.inner_text()
    if (published / "curves.html").exists():
        opened(page, published, "curves.html")
        page.wait_for_selector("#curve-1 svg.marks")


def test_overview_filters_and_sorts_by_keyboard(page: Any, site: Path) -> None:
    opened(page, site, "index.html")
    assert page.locator(".board:visible").count() == len(BUDGETS)
    page.locator("[data-filter=labels]").select_option("32")
    assert page.locator(".board:visible").count() == 1
    assert page.locator("#shown").inner_text() == "1 table shown"
    page.locator("[data-filter=aligner]").select_option("sft")
    assert page.locator(".board:visible tbody tr:visible").count() == 2, "the method and base"
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function("document.querySelectorAll('.board:not([hidden])').length === 5")
    head = page.locator(".board").last.locator("thead th").nth(1)
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    rows = page.locator(".board").last.locator("tbody tr")
    scores = [rows.nth(i).locator("td").first.get_attribute("data-value") for i in range(rows.count())]
    given = [float(score) for score in scores if score]
    assert given == sorted(given, reverse=True)
    assert scores[-1] == "", "what has no score stands last"


def test_a_table_draws_its_charts_and_changes_the_cost(page: Any, site: Path) -> None:
    opened(page, site, of(site, "t", "medqa-128"))
    page.wait_for_selector("#scores svg.marks")
    page.locator("#axis").select_option("pareto-money")
    page.wait_for_selector("#pareto-money svg.marks")
    assert page.locator("#pareto-labels").is_hidden()
    page.locator("#theme").click()
    page.wait_for_selector("#pareto-money svg.marks")


def test_curves_are_drawn(page: Any, site: Path) -> None:
    opened(page, site, "curves.html")
    page.wait_for_selector("#curve-1 svg.marks")


def test_samples_of_two_runs_with_filters_search_and_a_link(page: Any, site: Path) -> None:
    opened(page, site, "samples.html#a=sft-32-0&b=base-8-0")
    page.wait_for_selector(".item")
    assert page.locator(".item mark").count() > 0
    count = page.locator("#count")
    assert count.inner_text() == "Items 1 to 20 of 40"
    totals = {}
    for show in ("wins", "losses", "differ"):
        before = count.inner_text()
        page.locator("#show").select_option(show)
        changed = "before => ![before, 'Loading …'].includes(document.querySelector('#count').textContent)"
        if show != "differ":
            page.wait_for_function(changed, arg=before)
        page.wait_for_timeout(300)
        totals[show] = int(count.inner_text().split()[-1])
        for side in page.locator(".item .sides").all()[:2]:
            a, b = (float(head.split()[-1]) for head in side.locator("h3:has-text('accuracy')").all_inner_texts())
            assert {"wins": a > b, "losses": a < b, "differ": True}[show]
    assert 0 < totals["wins"] + totals["losses"] <= totals["differ"] == 40
    page.locator("#show").select_option("all")
    page.locator("#words").fill("q007")
    page.wait_for_function("document.querySelectorAll('.item').length === 1")
    page.locator(".item h2 a").click()
    page.wait_for_selector(".item.target")
    opened(page, site, "index.html")
    opened(page, site, "samples.html#a=sft-32-0&b=base-8-0&item=q033")
    page.wait_for_selector(".item.target")
    assert "Items 21 to 40" in page.locator("#count").inner_text()


def test_a_link_without_a_second_run_opens_without_one(page: Any, site: Path) -> None:
    opened(page, site, "samples.html#a=sft-32-0&b=base-8-0")
    page.wait_for_selector(".item")
    page.locator("#b").select_option("")
    page.wait_for_function("document.querySelectorAll('.item .side').length === 20")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(".item")
    assert page.locator("#b").input_value() == ""
    assert page.locator(".item .side").count() == 20


def test_a_run_without_samples_is_not_taken_for_another(page: Any, site: Path) -> None:
    opened(page, site, "samples.html#a=kto-8-0")
    page.wait_for_function(
        "document.querySelector('#count').textContent === 'This run has no samples. Choose another.'"
    )
    assert page.locator(".item").count() == 0
    page.locator("#a").select_option("sft-32-0")
    page.wait_for_selector(".item")
    opened(page, site, "r/kto-8-0.html")
    assert page.get_by_role("link", name="its samples").count() == 0
    opened(page, site, of(site, "t", "medqa-128"))
    page.get_by_role("link", name="samples", exact=True).last.click()
    page.wait_for_selector(".item")
    assert "128 labels" in page.locator("#a option:checked").inner_text()


def test_less_is_better_where_the_task_says_so(page: Any, tmp_path: Path) -> None:
    from leaderboards.html import write_site

    falling = {"task__main_metric": "errors", "task__lower_is_better": ["errors"]}
    add(tmp_path / "store", "base", {"errors": answers(10)}, **falling)
    add(tmp_path / "store", "sft", {"errors": answers(3)}, **falling)
    site = write_site(leaderboards.ranked(tmp_path / "store"), tmp_path / "site").parent
    for show, said in (("wins", "Items 1 to 7 of 7"), ("losses", "No item fits.")):
        page.goto("about:blank")
        opened(page, site, f"samples.html#a=sft-001&b=base-000&show={show}")
        page.locator("#count").filter(has_text=said).wait_for()


def test_values_that_are_not_finite_are_said_to_be_none(page: Any, tmp_path: Path) -> None:
    from leaderboards.html import write_site

    of_infinite_values(tmp_path / "store")
    site = write_site(leaderboards.ranked(tmp_path / "store"), tmp_path / "site").parent
    opened(page, site, "samples.html")
    page.wait_for_selector(".item")
    assert "accuracy not finite" in page.locator(".item h3").first.inner_text()


def test_costs_are_sorted_by_their_figures(page: Any, tmp_path: Path) -> None:
    from leaderboards.html import write_site

    for name, flops in (("dpo", 25.7e12), ("gem", 29.8e9), ("sft", 9.9e12)):
        add(tmp_path / "store", name, answers(10), spent__flops=flops)
    site = write_site(leaderboards.ranked(tmp_path / "store"), tmp_path / "site").parent
    opened(page, site, of(site, "t", "medqa"))
    costs = page.locator("table").filter(has=page.locator("caption", has_text=re.compile("^Costs$")))
    costs.locator("thead button").filter(has_text=re.compile("^flops$")).click()
    assert costs.locator("tbody th").all_inner_texts() == ["dpo", "sft", "gem"]


def test_a_record_page_says_how_to_make_it_again(page: Any, site: Path) -> None:
    opened(page, site, "r/gem-128-0.html")
    command = page.locator("pre code").first.inner_text()
    assert "python -m harness run --aligner gem --task medqa" in command and "--budget 128" in command
    page.get_by_role("link", name="its table").click()
    page.wait_for_selector("#scores svg.marks")


def test_a_thousand_runs_open_in_two_seconds(page: Any, tmp_path: Path) -> None:
    from leaderboards.html import write_site

    for labels in (8, 16, 32, 64, 128):
        changes = {"budget__labels": labels, "budget__preset": str(labels)}
        put(tmp_path / "store", "base", 200, 0.4, 0, changes)
        for number in range(20):
            for draw in range(10):
                put(tmp_path / "store", f"m{number}", 200, 0.4 + number / 50, draw, changes)
    start = time.perf_counter()
    site = write_site(leaderboards.ranked(tmp_path / "store"), tmp_path / "site").parent
    print(f"site of {len(list((site / 'r').iterdir()))} records written in {time.perf_counter() - start:.0f} s")
    page.goto((site / "index.html").as_uri())  # the browser itself starts here
    for name, ready in (("index.html", ".board"), ("samples.html", ".item")):
        page.goto("about:blank")
        start = time.perf_counter()
        page.goto((site / name).as_uri())
        page.wait_for_selector(ready)
        taken = time.perf_counter() - start
        print(f"{name}: {taken:.2f} s")
        assert taken < 2
