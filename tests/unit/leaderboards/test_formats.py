"""LaTeX that parses, and all samples in one Parquet file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import leaderboards
from harness.contracts import HarnessError
from leaderboards.parquet import RUN, write_parquet
from tests.unit.leaderboards.site_store import ATTACK, fill
from tests.unit.leaderboards.test_leaderboards import add, answers


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> leaderboards.Ranking:
    store = tmp_path_factory.mktemp("store")
    fill(store, items=10, budgets=(8,))
    return leaderboards.ranked(store)


def test_latex_parses_and_keeps_strangers_texts_as_text(found: leaderboards.Ranking) -> None:
    walker = pytest.importorskip("pylatexenc.latexwalker", reason="no parser of LaTeX")
    text = leaderboards.render(found.tables, "latex")
    nodes, _, _ = walker.LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    (table,) = [node for node in nodes if node.isNodeType(walker.LatexEnvironmentNode)]
    assert table.environmentname == "table"
    (tabular,) = [node for node in table.nodelist if node.isNodeType(walker.LatexEnvironmentNode)]
    rows = tabular.latex_verbatim().split(r"\\")
    assert len(rows) == 2 + len(found.tables[0].rows)
    assert {row.replace(r"\&", "").count("&") for row in rows[:-1]} == {9}
    used = {node.macroname for node in _macros(walker, tabular)}
    assert not used & {"input", "write", "def", "href", "url", "script"}
    assert {"toprule", "midrule", "bottomrule"} <= used


def tabulars(text: str) -> list[list[dict[str, str]]]:
    """Every tabular of a LaTeX text, each row by the names of its columns."""
    found = []
    for part in text.split(r"\begin{tabular}{")[1:]:
        spec, body = part.split(r"\end{tabular}")[0].split("}", 1)
        lines = [line.removesuffix(r" \\").split(" & ") for line in body.splitlines() if line.endswith(r" \\")]
        assert {len(line) for line in lines} == {len(spec)}, "a column for every cell"
        found.append([dict(zip(lines[0], line, strict=True)) for line in lines[1:]])
    return found


def test_latex_says_of_unfit_seeds_and_controls_what_markdown_says(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10), spent__optimizer_steps=0)
    add(tmp_path, "gem", answers(38), spent__optimizer_steps=48)
    for seed in (1, 2):
        add(tmp_path, "gem", answers(40), seed__training=seed, status="degenerate", reason="no marker")
    add(tmp_path, "random", answers(10), status="degenerate", reason="flat")
    add(tmp_path, "kto", None, status="failed", failure={"reason": "lost", "traceback": ""})
    (main,) = tabulars(leaderboards.render(leaderboards.tables(tmp_path), "latex"))
    told = {row["method"]: (row["seeds"], row["steps"], row["status"], row["verdict"]) for row in main}
    assert told == {
        "base": ("1", "0", "ok", ""),
        "gem": ("1/3", "48", "degenerate 2/3", "better"),
        "random": ("1", "32", "degenerate", "control"),
        "kto": ("0/1", "32", "failed", ""),
    }


def test_latex_has_the_other_metrics_with_their_differences_and_p(tmp_path: Path) -> None:
    falling: dict[str, Any] = {"task__lower_is_better": ("contradiction",)}
    add(tmp_path, "base", {"accuracy": answers(10), "style": answers(10), "contradiction": answers(30)}, **falling)
    add(tmp_path, "sft", {"accuracy": answers(12), "style": answers(38), "contradiction": answers(28)}, **falling)
    dead: dict[str, Any] = {"status": "degenerate", "reason": "no marker"}
    add(tmp_path, "gem", {"accuracy": answers(12), "style": answers(38)}, **falling, **dead)
    table = leaderboards.tables(tmp_path)[0]
    text = leaderboards.render([table], "latex")
    _, others = tabulars(text)
    assert [(row["metric"], row["method"]) for row in others] == [
        ("contradiction (lower is better)", "base"),
        ("contradiction (lower is better)", "sft"),
        ("style", "base"),
        ("style", "sft"),
        ("style", "gem"),
    ]
    sft, gem = others[3:]
    assert (sft["vs. base"][:8], sft["p (not adjusted)"]) == ("$+0.700$", "$<$0.001")
    assert (gem["vs. base"][:8], gem["p (not adjusted)"]) == ("$+0.700$", ""), "a degenerate row has no p"
    captions = [line for line in text.splitlines() if line.startswith(r"\caption")]
    assert captions[1] == captions[0].removesuffix("}") + "; the other metrics}"
    walker = pytest.importorskip("pylatexenc.latexwalker", reason="no parser of LaTeX")
    nodes, _, _ = walker.LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    assert sum(node.isNodeType(walker.LatexEnvironmentNode) for node in nodes) == 2


def test_latex_escapes_what_commands(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    add(tmp_path, "gem", answers(12), aligner__changed={"path": r"\input{/etc/passwd} 50% a_b #1 $x$ ~^"})
    text = leaderboards.render(leaderboards.tables(tmp_path), "latex")
    assert r"\textbackslash{}input\{/etc/passwd\} 50\% a\_b \#1 \$x\$ \textasciitilde{}\textasciicircum{}" in text
    assert r"\input" not in text


def test_latex_needs_no_encoding_of_its_own(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    add(tmp_path, "gem", answers(12), aligner__changed={"layers": ["q", "v"], "note": "`--x' ''y',,z---"})
    text = leaderboards.render(leaderboards.tables(tmp_path), "latex")
    quote = r"{\ttfamily\char34}"
    assert rf"layers={{[}}{quote}q{quote}, {quote}v{quote}{{]}}" in text
    assert r"note=\`{}-{}-x' '{}'y',{},z-{}-{}-" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
@pytest.mark.parametrize("encoding", ["", r"\usepackage[T1]{fontenc}"])
def test_latex_sets_every_printable_character(tmp_path: Path, encoding: str) -> None:
    every = "".join(map(chr, range(32, 127)))
    add(tmp_path / "store", "gem", answers(12), aligner__changed={"note": f"{every} {every[::-1]}"})
    table = leaderboards.render(leaderboards.tables(tmp_path / "store"), "latex")
    rules = r"\let\toprule\hline\let\midrule\hline\let\bottomrule\hline"  # of booktabs
    lines = (r"\documentclass{article}", encoding, rules, r"\begin{document}", table, r"\end{document}")
    (tmp_path / "a.tex").write_text("\n".join(lines))
    words = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-draftmode", "a.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def _macros(walker, node):
    """Every macro below a node."""
    if node is None:
        return
    if node.isNodeType(walker.LatexMacroNode):
        yield node
    for part in getattr(node, "nodelist", None) or ():
        yield from _macros(walker, part)


def test_parquet_has_every_row_of_every_run(found: leaderboards.Ranking, tmp_path: Path) -> None:
    rows = pq.read_table(write_parquet(found, tmp_path / "all.parquet")).to_pylist()
    scored = [entry for entry in found.entries.values() if entry.samples]
    assert len(rows) == 10 * len(scored)
    assert list(rows[0])[: len(RUN)] == list(RUN)
    mine = [row for row in rows if row["run"] == "sft-8-1"]
    assert [row["value.accuracy"] for row in mine] == list(found.entries["sft-8-1"].samples.values["accuracy"].values())
    assert {(row["task"], row["labels"], row["draw"], row["role"]) for row in mine} == {("medqa", 8, 1, "method")}
    assert ATTACK.split()[0] in mine[0]["detail"]


def test_parquet_of_runs_with_different_metrics_has_nulls(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    add(tmp_path, "gem", {"accuracy": answers(12), "extra": answers(3)})
    rows = pq.read_table(write_parquet(leaderboards.ranked(tmp_path), tmp_path / "x.parquet")).to_pylist()
    assert {row["value.extra"] is None for row in rows if row["aligner"] == "base"} == {True}
    assert sum(row["value.extra"] for row in rows if row["aligner"] == "gem") == 3


def test_without_samples_there_is_nothing_to_write(tmp_path: Path) -> None:
    add(tmp_path, "gem", None, status="failed")
    with pytest.raises(HarnessError, match="samples to write"):
        write_parquet(leaderboards.ranked(tmp_path), tmp_path / "x.parquet")
