"""What strangers' texts may not do: command a terminal, turn what is read, become markup, formulas or other lines."""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.util.safe_text import block, code, csv_cell, cut, json_text, line, markdown, shorten

pytestmark = pytest.mark.core

BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
MARKS = "\u200e\u200f\u061c"
EVERY = [chr(code_point) for code_point in range(0x110000)]
HARMFUL = [
    character
    for character in EVERY
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    or unicodedata.bidirectional(character) in BIDI
    or character in MARKS
]
NASTY = st.text(
    st.one_of(st.characters(), st.sampled_from([*"[]()<>!#*_`~|\\:/.&$=+-@ \t\r\n", *HARMFUL])), max_size=60
)


@pytest.mark.parametrize("way", [line, markdown, code, csv_cell, cut])
def test_no_way_out_for_a_harmful_character(way) -> None:
    assert len(HARMFUL) > 2_000
    for start in range(0, len(HARMFUL), 20):
        out = str(way("a" + "b".join(HARMFUL[start : start + 20]) + "z"))
        assert not set(out) & set(HARMFUL), out


def test_block_keeps_lines_and_tabs_and_nothing_else() -> None:
    out = block("a\r\nb\rc\x0bd\te\x1b[2J" + "".join(HARMFUL))
    assert out.startswith("a\nb\nc\nd\te\\x1b[2J")
    assert set(out) & set(HARMFUL) == {"\n", "\t"}


@given(NASTY)
def test_json_parses_to_the_same_value_and_spells_out(text: str) -> None:
    shown = json_text({text: [text, 1.5]}, indent=1)
    assert json.loads(shown) == {text: [text, 1.5]}
    assert not set(shown) & (set(HARMFUL) - {"\n"})


def test_json_has_no_number_that_is_none() -> None:
    value = {"a": [math.nan, (math.inf, 1.0)], "b": Path("x")}
    assert json.loads(json_text(value, indent=1, ascii_only=True)) == {"a": [None, [None, 1.0]], "b": "x"}


@given(NASTY)
def test_markdown_is_the_text_and_nothing_else(text: str) -> None:
    document = f"## t {markdown(text)}\n\n| a | b |\n| :-- | --: |\n| x {markdown(text)} | {markdown(text)} |\n"
    parsed = MarkdownIt("gfm-like", {"linkify": False}).parse(document)
    kinds = [child.type for token in parsed for child in token.children or ()]
    assert set(kinds) <= {"text", "text_special"}, kinds
    assert [token.type for token in parsed if token.type.endswith("_open")].count("td_open") == 2
    cells = ["".join(child.content for child in t.children or ()) for t in parsed if t.type == "inline"]
    shown = line(text)
    assert cells == [f"t {shown}".strip(), "a", "b", f"x {shown}".strip(), shown]


@given(NASTY)
def test_code_is_code(text: str) -> None:
    (inline,) = (t for t in MarkdownIt().parse(f"a {code(text)} b") if t.type == "inline")
    assert [child.type for child in inline.children or ()] == ["text", "code_inline", "text"]
    assert (inline.children or [])[1].content.strip() == line(text).strip()


@pytest.mark.parametrize("address", ["http://x.y/z", "see https://x.y", "www.x.y", "javascript:alert(1)"])
def test_an_address_is_no_link(address: str) -> None:
    shown = markdown(address)
    assert "p://" not in shown and "s://" not in shown
    assert "www." not in shown


@given(st.lists(NASTY, min_size=3, max_size=3))
def test_csv_reads_back_as_it_was_laid_out(texts: list[str]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[csv_cell(text) for text in texts], ["x", "y", "z"]])
    assert out.getvalue().count("\n") == 2
    assert "\r" not in out.getvalue()
    first, second = csv.reader(io.StringIO(out.getvalue()))
    assert second == ["x", "y", "z"]
    for cell, text in zip(first, texts, strict=True):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
        assert cell.removeprefix("'") == line(text).removeprefix("'")


def test_numbers_stay_numbers_in_csv() -> None:
    assert (csv_cell(-0.5), csv_cell(None), csv_cell(True)) == (-0.5, None, True)


@given(st.one_of(NASTY, st.integers(), st.lists(NASTY), st.just("x" * 20_000), st.just(10**4_900)))
def test_a_cut_value_is_one_short_line(value: object) -> None:
    shown = cut(value)
    assert len(shown) <= 80
    assert "\n" not in shown


def test_cut_keeps_both_ends() -> None:
    shown = cut("a" * 500 + "z" * 500)
    assert shown.startswith("'aaa")
    assert shown.endswith("zzz'")
    assert shorten("short enough", 20) == "short enough"


def test_what_harms_nobody_stays() -> None:
    for text in ("模型 Δ é", "👩‍👩‍👧", "می‌خواهم", "mean_of_groups", "a-b.c"):
        assert line(text) == text
        assert markdown(text) == text
