"""A file or a line that was changed in any way is never taken for what was written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.util.checked import (
    Damaged,
    content_of,
    demanded,
    line_of,
    read_checked,
    read_checked_json,
    write_checked,
    write_checked_json,
)

pytestmark = pytest.mark.core


def test_what_was_written_is_read_and_no_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.pt"
    assert read_checked(path) is None
    write_checked(path, b"\x00\nabc")
    assert read_checked(path) == demanded(path) == b"\x00\nabc"
    write_checked_json(path, {"x": 0.1, "y": float("inf"), "z": "ü"})
    assert read_checked_json(path) == {"x": 0.1, "y": float("inf"), "z": "ü"}
    path.unlink()
    with pytest.raises(Damaged, match=r"a\.pt is gone"):
        demanded(path)


@pytest.mark.parametrize("content", [b"", b"x", b'{"threads": 2}'])
def test_every_changed_byte_and_every_cut_shows(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    write_checked(path, content)
    whole = path.read_bytes()
    changed = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    for damaged in (*changed, *(whole[:i] for i in range(len(whole))), whole + b" ", content, b""):
        path.write_bytes(damaged)
        with pytest.raises(Damaged, match="a is not what was written"):
            read_checked(path)


@given(st.binary(max_size=40), st.data())
def test_a_changed_line_is_no_line(content: bytes, data: st.DataObject) -> None:
    line = line_of(content)
    assert content_of(line) == content
    place = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.integers(1, 255))
    assert content_of(line[:place] + bytes([line[place] ^ other]) + line[place + 1 :]) is None
    assert content_of(line[:place]) is None
