"""What a plug-in's author sees of our types: they ship in the wheel, and the README's plug-in keeps them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("harness", "aligners", "tasks", "leaderboards")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert resources.files(package).joinpath("py.typed").is_file()


def test_the_marks_are_in_the_wheel(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    names = zipfile.ZipFile(built(ROOT, tmp_path)).namelist()
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)


def built(folder: Path, where: Path) -> Path:
    """The wheel of a project, built into `where`."""
    build = "print(*WheelBuilder('.').build(directory=sys.argv[1]))"
    code = f"import sys; from hatchling.builders.wheel import WheelBuilder; {build}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(where)], cwd=folder, capture_output=True, text=True, check=True
    )
    return Path(done.stdout.split()[-1])


def test_the_readmes_plugin_is_found_once_it_is_built_as_its_page_says(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    page = (ROOT / "docs" / "how-to" / "plug-in.md").read_text(encoding="utf-8")
    (project,) = re.findall(r"^```toml\n(.*?)^```$", page, re.M | re.S)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "mine.py").write_text(snippet())
    (folder / "pyproject.toml").write_text(project)
    zipfile.ZipFile(built(folder, tmp_path)).extractall(tmp_path / "site")
    code = (
        "from harness.plugins.registry import load; print(load(allow=frozenset({'mine'})).provenance['aligner:mine'])"
    )
    seen = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=seen)
    assert done.stdout.strip() == "mine 0.1.0"


def snippet() -> str:
    """The plug-in that the README shows: its first block of Python."""
    found = re.search(r"## A plug-in on a page\n.*?```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert found is not None
    return found[1]


def test_the_readmes_plugin_passes_mypy_strict(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(snippet())
    words = [
        "--strict",
        "--python-version",
        "3.11",
        "--follow-imports",
        "silent",
        "--ignore-missing-imports",
        "mine.py",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readmes_plugin_trains(tmp_path: Path) -> None:
    from harness.conformance.aligners import check_no_data_no_harm
    from harness.conformance.lab import Lab

    space: dict[str, object] = {"__name__": "mine"}
    exec(compile(snippet(), "README.md", "exec", dont_inherit=True), space)
    (aligner,) = space["harness_aligners"]()  # type: ignore[operator]
    lab = Lab(aligner)
    assert lab.result().trained
    assert "no examples" in check_no_data_no_harm(lab), "a method that does not look for data is refused by the trainer"
