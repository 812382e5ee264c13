"""Where code came from, and what of it counts."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import HarnessError
from harness.records.provenance import differences, environment, flat, origin
from harness.records.provenance.code import edited, harness_code, python_hash
from harness.records.provenance.libraries import plugin_distributions, version
from harness.records.seals import check_seal, sealed

pytestmark = pytest.mark.core

CODE = "import os\n\n\ndef f(x):\n    return x + 1\n"


def checkout(folder: Path) -> Path:
    """A repository with a file four floors below, where this package has its own; gives the file."""
    file = folder / "harness" / "records" / "provenance" / "origin.py"
    file.parent.mkdir(parents=True)
    file.write_text(CODE)
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=n", "-c", "user.email=e@x", "commit", "-qm", "m"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return file


def head(folder: Path) -> str:
    asked = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def test_a_tracked_file_is_named_by_its_commit(tmp_path: Path) -> None:
    file = checkout(tmp_path)
    found = origin(file)
    assert (found.commit, found.dirty, found.files) == (head(tmp_path), False, None)
    file.write_text(CODE + "x = 1\n")
    assert origin(file).dirty is True


def test_a_file_that_no_commit_holds_is_named_by_content(tmp_path: Path) -> None:
    """An environment inside somebody's repository: the repository says nothing of what is installed there."""
    checkout(tmp_path)
    installed = tmp_path / "venv" / "lib" / "harness" / "records" / "provenance" / "origin.py"
    installed.parent.mkdir(parents=True)
    installed.write_text(CODE)
    found = origin(installed)
    assert found.commit is None
    assert found.files is not None
    installed.write_text(CODE + "x = 1\n")
    assert origin(installed).files != found.files
    subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    assert origin(installed).commit is None, "what is staged is in no commit"


def test_a_hook_of_another_repository_misleads_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = checkout(tmp_path / "ours")
    checkout(tmp_path / "theirs")
    commit = head(tmp_path / "ours")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs" / ".git"))
    assert origin(file).commit == commit


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        (
            {"url": "https://user:hunter2@host/x.git?token=hunter2", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "https://host/x.git@abc",
        ),
        (
            {"url": "file:///somewhere/x.whl", "archive_info": {"hash": "sha256=12"}},
            "file:///somewhere/x.whl@sha256=12",
        ),
        ({"url": "file:///somewhere", "dir_info": {"editable": True}}, "file:///somewhere"),
        ({}, None),
        ([], None),
    ],
)
def test_what_pip_noted_is_named_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: Any, expected: str | None
) -> None:
    file = tmp_path / "harness" / "records" / "provenance" / "origin.py"
    file.parent.mkdir(parents=True)
    file.write_text(CODE)
    (tmp_path / "x-1.dist-info").mkdir()
    (tmp_path / "x-1.dist-info" / "direct_url.json").write_text(json.dumps(noted))
    distribution = metadata.PathDistribution(tmp_path / "x-1.dist-info")
    monkeypatch.setattr(metadata, "distribution", lambda name: distribution)
    assert origin(file).url == expected


@pytest.mark.parametrize(
    "text",
    [
        "# why\nimport os\n\ndef f(x):\n    # because\n    return x + 1",
        '"""What."""\nimport os\ndef f(x):\n    """Adds."""\n    return (x + 1)\n',
    ],
)
def test_words_are_no_code(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.py").write_text(CODE)
    (tmp_path / "b.py").write_text(text)
    assert python_hash(tmp_path / "a.py") == python_hash(tmp_path / "b.py")


@pytest.mark.parametrize("text", [CODE.replace("1", "2"), CODE.replace("os", "re"), "def f(:\n", CODE + "y = 'z'\n"])
def test_code_is_code(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.py").write_text(CODE)
    (tmp_path / "b.py").write_text(text)
    assert python_hash(tmp_path / "a.py") != python_hash(tmp_path / "b.py")


def test_a_plugin_that_is_edited_while_it_is_at_work_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "edited_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("from edited_plugin.inner import Offered\n")
    (package / "inner.py").write_text("class Offered:\n    x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    offered = importlib.import_module("edited_plugin").Offered
    assert not edited(offered)
    (package / "log.txt").write_text("what a plug-in writes beside its code is no code\n")
    (package / "inner.py").write_text("class Offered:\n    x = 1  # why\n")
    assert not edited(offered)
    (package / "inner.py").write_text("class Offered:\n    x = 2\n")
    assert edited(offered)


def test_a_room_that_is_not_there_is_no_empty_hash() -> None:
    with pytest.raises(FileNotFoundError, match="no room 'attic'"):
        harness_code("attic")


def test_settings_of_libraries_and_nothing_else_enter() -> None:
    values = {
        "MKL_CBWR": "AVX2",
        "HOME": "/root",
        "OMP_NUM_THREADS": "3",
        "OPENAI_API_KEY": "k",
        "OMP_PROC_BIND": "true",
    }
    assert environment({**values, "TORCHINDUCTOR_CACHE_DIR": "x"}) == {"MKL_CBWR": "AVX2", "OMP_PROC_BIND": "true"}


def test_what_is_installed_is_read_again_after_every_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions decide ids, so that what was read once must not outlive an upgrade."""
    monkeypatch.syspath_prepend(str(tmp_path))
    assert version("made-up-thing") is None
    for number in ("1.0", "2.0"):
        installed = tmp_path / f"made_up_thing-{number}.dist-info"
        installed.mkdir()
        (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: made-up-thing\nVersion: {number}\n")
        (installed / "entry_points.txt").write_text("[harness]\nmade = made_up:thing\n")
        assert version("made-up-thing") == number
        assert "made-up-thing" in plugin_distributions()
        shutil.rmtree(installed)
        assert version("made-up-thing") is None
        assert "made-up-thing" not in plugin_distributions()


def test_differences_name_the_leaf_and_cut_what_is_long() -> None:
    before, after = {"a": {"b": 1, "c": None}, "e": {}}, {"a": {"b": 2}, "d": "x" * 200, "e": {}}
    lines = differences(before, after)
    assert lines[:2] == ["a.b: 1 -> 2", "a.c: None -> absent"]
    assert lines[2].startswith("d: absent -> xxx")
    assert len(lines[2]) < 110
    assert differences(before, before) == []
    assert flat({"a": {"b": [1, 2]}}) == {"a.b": [1, 2]}
    assert differences({"a": {}}, {"a": {"b": 1}}) == ["a.b: absent -> 1"]
    assert differences({"a": {"b": {}}}, {"a": {"c": 1}}) == ["a.b: {} -> absent", "a.c: absent -> 1"]
    names_of_files = {"config": 1, "config.json": 1}
    assert len(differences(names_of_files, {"config": 2, "config.json": 2})) == 2


def test_a_seal_holds_over_a_round_trip_and_breaks_with_any_change() -> None:
    value = {"b": [1.5, float("inf"), 0.1 + 0.2], "a": {"x": None}}
    written = json.loads(json.dumps(sealed(value)))
    assert check_seal(written, "f") == value
    assert check_seal(dict(reversed(written.items())), "f") == value
    for changed in ({**written, "c": 1}, {**written, "a": {"x": 0}}, {k: v for k, v in written.items() if k != "seal"}):
        with pytest.raises(HarnessError, match=r"f (is not what was written|has no seal)"):
            check_seal(changed, "f")
