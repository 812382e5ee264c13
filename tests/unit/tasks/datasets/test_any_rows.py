"""Whatever rows and bytes hold, they give pairs or one sentence, and every row is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.contracts import HarnessError, Reading
from harness.data.files import READERS, read_file
from tasks.datasets.own import read_own

pytestmark = pytest.mark.core

WORDS = st.sampled_from(
    ["", " ", "yes", "no", "\n\nHuman: a\n\nAssistant: b", "[{", "[]", "<|im_end|>", "\ud800", "half", "tie", "1"]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), WORDS, st.text(max_size=8))
TURNS = st.dictionaries(
    st.sampled_from(["role", "from", "content", "value", "tool_calls", "type", "text", "score", "messages"]),
    st.one_of(st.sampled_from(["user", "assistant", "system", "human", "gpt", "tool", "text", "image"]), SCALARS),
    max_size=3,
)
VALUES = st.recursive(st.one_of(SCALARS, TURNS), lambda inner: st.lists(inner, max_size=3), max_leaves=6)
FIELDS = st.sampled_from(
    (
        *("prompt", "question", "system", "chosen", "rejected", "answers", "scores", "ranks", "answer", "score"),
        *("response_a", "response_b", "response_1", "response_2", "winner", "label", "cluster", "split", "id", "(odd)"),
    )
)
ROWS = st.lists(st.dictionaries(FIELDS, VALUES, max_size=8), min_size=1, max_size=4)
GOOD = {"prompt": "How?", "chosen": "So.", "rejected": "No."}


@settings(max_examples=400, deadline=None)
@given(ROWS)
def test_any_rows_give_pairs_or_one_sentence(rows: list[dict[str, Any]]) -> None:
    try:
        whole = read_own(rows, "x.jsonl", Reading())
    except HarnessError as error:
        assert "\n" not in str(error)
        return
    assert {pair.id for pair in whole.found.pairs} == {p.id for p in (*whole.division.train, *whole.division.held_out)}
    for pair in whole.found.pairs:
        assert pair.chosen and pair.rejected and pair.chosen != pair.rejected
        assert pair.prompt[-1].role == "user"
        "".join([*(turn.content for turn in pair.prompt), pair.chosen, pair.rejected]).encode()


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(["prompt", "chosen", "rejected", "system", "cluster", "id", "split"]), VALUES))
def test_one_odd_row_costs_itself_alone(row: dict[str, Any]) -> None:
    found = read_own([GOOD, row], "x.jsonl", Reading(), divided=False).found
    assert (found.pairs[0].chosen, found.rows) == ("So.", 2)
    assert len(found.pairs) + sum(found.dropped.values()) == 2
    assert set(found.examples) == set(found.dropped)
    assert all(len(line) < 300 for line in found.examples.values())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(READERS)),
    st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda t: t.encode("utf-8", "surrogatepass"))),
)
def test_any_bytes_give_rows_or_one_sentence(tmp_path: Path, ending: str, data: bytes) -> None:
    path = tmp_path / f"x{ending}"
    path.write_bytes(data)
    try:
        rows = read_file(path)
    except HarnessError as error:
        assert path.name in str(error)
        return
    assert rows
    assert all(isinstance(row, dict) for row in rows)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 400), max_size=6), st.integers(0, 255))
def test_spoilt_bytes_of_a_good_file_give_rows_or_one_sentence(tmp_path: Path, places: list[int], byte: int) -> None:
    whole = bytearray(
        "\n".join(json.dumps({**GOOD, "prompt": f"Où est {n} ?"}, ensure_ascii=False) for n in range(9)).encode()
    )
    for place in places:
        whole[place % len(whole)] = byte
    (tmp_path / "x.jsonl").write_bytes(whole)
    try:
        found = read_own(read_file(tmp_path / "x.jsonl"), "x.jsonl", Reading(), divided=False).found
    except HarnessError as error:
        assert "x.jsonl" in str(error)
        return
    assert len(found.pairs) + sum(found.dropped.values()) == found.rows
