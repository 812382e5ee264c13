"""A file or a line that was changed in any way is never taken for what was written."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.util.checked import (
    Damaged,
    demanded,
    demanded_json,
    read_checked,
    read_checked_json,
    write_checked,
    write_checked_json,
)
from harness.util.hashes import content_hash

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
    with pytest.raises(Damaged, match=r"a\.pt is gone"):
        demanded_json(path)


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


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(max_size=3), st.floats() | st.text(max_size=5) | st.none()), st.data())
def test_a_changed_json_value_is_no_value(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, object], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    write_checked_json(path, value)
    assert content_hash(read_checked_json(path)) == content_hash(value)
    whole = path.read_bytes()
    place, other = data.draw(st.integers(0, len(whole) - 2)), data.draw(st.integers(1, 255))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ other]) + whole[place + 1 :])
    with contextlib.suppress(Damaged):  # else it was white space, or another spelling of the same
        assert content_hash(read_checked_json(path)) == content_hash(value)
    path.write_bytes(whole[:place])
    with pytest.raises(Damaged, match=r"a\.json is not what was written"):
        read_checked_json(path)
