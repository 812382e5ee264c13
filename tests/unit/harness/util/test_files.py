from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness.records.store import Store
from harness.util.files import OLD, write_atomic

pytestmark = pytest.mark.core


def halves(root: Path) -> list[Path]:
    """What killed processes left: a run's folder, a file of a fit, a file of the store's own."""
    made = [root / ".new-run-x", root / ".fits" / "f" / ".new-fit.json-x", root / ".locks" / ".new-y"]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half") if path.name != ".new-run-x" else path.mkdir()
    return made


def test_what_was_left_half_written_is_swept_once_it_is_old(tmp_path: Path) -> None:
    whole = tmp_path / ".fits" / "f" / "fit.json"
    made = halves(tmp_path)
    (made[0] / "record.json").write_text("half")
    write_atomic(whole, b"whole")
    for path in (*made, whole):
        os.utime(path, (time.time() - OLD - 60,) * 2)
    young = tmp_path / ".fits" / "f" / ".new-young"
    young.touch()
    with Store(tmp_path).lock("x", lambda: None):
        assert not any(path.exists() for path in made)
        assert young.exists()
        assert whole.read_bytes() == b"whole"


def test_a_file_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_atomic(tmp_path / "taken", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_who_may_read_a_file_is_left_to_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "record.json", b"{}")
    finally:
        os.umask(before)
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == mode
