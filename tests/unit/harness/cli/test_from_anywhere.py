"""The command line as a process of its own: from any folder, in any locale, whatever plug-ins do, on odd streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from harness.cli.output import prepare_streams

pytestmark = pytest.mark.core

WORKER = "harness.run.worker"


def spawn(*arguments: str, module: str = "harness", **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **options.pop("env", {})}
    command = [sys.executable, "-m", module, *arguments]
    fixed = {"capture_output": True, "text": True, "timeout": 120, "env": environment}
    return subprocess.run(command, check=False, **(fixed | options))


def install(site: Path, name: str, source: str) -> dict[str, str]:
    """A distribution with one entry point; returns the environment that sees it."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[harness]\n{name} = {name}\n")
    if source:
        (site / f"{name}.py").write_text(source)
    return {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}


# ---------------------------------------------------------------- any folder

SHADOWS = ("tasks.py", "aligners.py", "leaderboards.py", "yaml.py", "torch.py", "pluggy.py", "config.py")


@pytest.fixture
def shadowed(tmp_path: Path) -> Path:
    """A working folder whose files have the names of packages that we import."""
    for name in SHADOWS:
        (tmp_path / name).write_text("raise RuntimeError('the wrong file was imported')\n")
    (tmp_path / "rich").mkdir()
    return tmp_path


def test_files_of_the_working_folder_shadow_nothing(shadowed: Path) -> None:
    done = spawn("list", "tasks", cwd=shadowed)
    assert (done.returncode, done.stderr) == (0, "")
    assert "medqa" in done.stdout


def test_nor_do_they_in_the_fitting_process(shadowed: Path) -> None:
    job = shadowed / "job"
    job.mkdir()
    code = f"import sys, runpy\nsys.argv[1:] = [{str(job)!r}]\nrunpy.run_module({WORKER!r}, run_name='probe')\n"
    assert subprocess.run([sys.executable, "-P", "-c", code], cwd=shadowed, check=False).returncode == 0
    done = spawn(str(job), module=WORKER, cwd=shadowed, stdin=subprocess.DEVNULL)
    assert "wrong file" not in done.stderr + done.stdout


def test_a_checkout_that_is_not_installed_runs_from_its_own_folder(tmp_path: Path) -> None:
    """The working folder stays on the path where the package itself lies in it."""
    (tmp_path / "harness").mkdir()
    root = Path(__file__).parents[4]
    (tmp_path / "harness" / "__init__.py").write_text((root / "harness" / "__init__.py").read_text(encoding="utf-8"))
    (tmp_path / "harness" / "__main__.py").write_text("import beside\nprint(beside.word)\n")
    (tmp_path / "beside.py").write_text("word = 'found'\n")
    done = spawn(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "found\n"), done.stderr


def test_importing_the_package_leaves_the_path_alone(tmp_path: Path) -> None:
    code = "import sys; before = list(sys.path); import harness; assert sys.path == before and sys.path[0] == ''"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


EDITABLE = """
import importlib.util, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return importlib.util.spec_from_file_location(name, {place!r}) if name == "lndpo" else None

sys.meta_path.append(Finder)
"""


def test_the_folder_of_a_plugin_under_development_hides_nothing(tmp_path: Path) -> None:
    """An editable installation is found last; to Python, a folder of its name is a package without content."""
    folder = tmp_path / "here" / "lndpo"
    folder.mkdir(parents=True)
    source = "from harness.hookspecs import hookimpl\n@hookimpl\ndef harness_judges():\n    return []\n"
    (folder / "lndpo.py").write_text(source)
    env = install(tmp_path / "site", "lndpo", "")
    (tmp_path / "site" / "sitecustomize.py").write_text(EDITABLE.format(place=str(folder / "lndpo.py")))
    done = spawn("list", "--json", cwd=folder.parent, env=env)
    assert (done.returncode, json.loads(done.stdout)["skipped"]) == (0, {}), done.stderr


def test_a_plugin_without_hooks_is_named_and_the_rest_works(tmp_path: Path) -> None:
    env = install(tmp_path, "hollow", "x = 1\n")
    done = spawn("list", env=env)
    assert done.returncode == 0
    assert "implements no hook" in done.stdout
    assert "medqa" in done.stdout
    done = spawn("run", "--aligner", "no-such", "--task", "medqa", env=env)
    assert done.returncode == 2
    assert "plug-in hollow is left out" in done.stderr


# ---------------------------------------------------------------- whatever plug-ins do

LOUD = """
import atexit, os, sys, threading, time
print("import")
os.write(1, b"descriptor")
sys.__stdout__.write("the original stream")
os.system("echo child")
atexit.register(print, "at exit")
atexit.register(os.write, 1, b"at exit, descriptor")
threading.Thread(target=lambda: [(print("thread"), time.sleep(0.01)) for _ in range(40)], daemon=True).start()
from harness.hookspecs import hookimpl

@hookimpl
def harness_judges():
    print("hook")
    return []
"""


@pytest.mark.parametrize("command", [("list",), ("models",), ("doctor",)])
def test_json_is_json_whatever_plugins_print(command: tuple[str, ...], tmp_path: Path) -> None:
    # An empty PYTHONUNBUFFERED is none: what is written to a stream then waits in its buffer.
    env = {**install(tmp_path, "loud", LOUD), "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONUNBUFFERED": ""}
    done = spawn(*command, "--json", env=env)
    assert json.loads(done.stdout)
    for said in ("import", "descriptor", "the original stream", "child", "at exit", "hook"):
        assert said in done.stderr


@pytest.mark.parametrize("way", ["sys.exit(0)", "raise SystemExit", "raise BaseException"])
def test_a_plugin_that_exits_ends_nothing(way: str, tmp_path: Path) -> None:
    done = spawn("list", "aligners", env=install(tmp_path, "quitter", f"import sys\n{way}\n"))
    assert done.returncode == 0
    assert "sft" in done.stdout
    assert "quitter" in done.stdout


# ---------------------------------------------------------------- any locale, any stream

C_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_an_encoding_that_lacks_a_sign_spells_it_out(encoding: str, tmp_path: Path) -> None:
    done = spawn("show", "x", "--store", str(tmp_path / "模型"), env={"PYTHONIOENCODING": encoding}, encoding=encoding)
    assert done.returncode == 2
    assert "no run 'x'" in done.stderr
    assert ("模型" if encoding == "utf-8" else r"\u6a21\u578b") in done.stderr


def test_the_c_locale_names_every_file(tmp_path: Path) -> None:
    store = "spåce 模型"
    done = spawn("doctor", "--json", "--store", store, env=C_LOCALE, encoding="utf-8", cwd=tmp_path)
    (found,) = [check for check in json.loads(done.stdout) if check["name"] == "store"]
    assert store in found["detail"]


@pytest.mark.parametrize("words", ["list", "doctor", "run --aligner base --task medqa --data sample"])
def test_a_working_folder_that_is_gone_is_one_line(words: str, tmp_path: Path) -> None:
    script = f'mkdir gone && cd gone && rmdir ../gone && "$0" -m harness {words}'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the working folder was deleted; change to another folder\n"


def test_a_warning_is_one_harmless_line(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        prepare_streams()
        warnings.warn("no \x1b[2Jlocks\nhere", stacklevel=1)
    assert capfd.readouterr().err == "warning: no \\x1b[2Jlocks here\n"


@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(stream: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m harness list {stream}', sys.executable], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this platform")
def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = spawn("list", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr


def test_without_a_home_folder_the_cache_is_named(tmp_path: Path) -> None:
    code = (
        "import os, sys, pwd\n"
        "def nobody(*_): raise KeyError('no such user')\n"
        "pwd.getpwuid = nobody\n"
        "os.environ.pop('HOME', None); os.environ.pop('HARNESS_CACHE', None)\n"
        "sys.argv = ['harness', *sys.argv[1:]]\n"
        "from harness.cli import main\nmain()\n"
    )
    for command in ("models", "doctor"):
        done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, check=False)
        assert "HARNESS_CACHE" in done.stderr + done.stdout, command
        assert "bug" not in done.stderr


@pytest.mark.parametrize(("entry", "found"), [("", False), (".", False), ("absolute", True)])
def test_the_working_folder_is_searched_where_it_is_named_in_full(entry: str, found: bool, tmp_path: Path) -> None:
    install(
        tmp_path, "nearby", "from harness.hookspecs import hookimpl\n@hookimpl\ndef harness_judges():\n    return []\n"
    )
    named = str(tmp_path) if entry == "absolute" else entry
    kept = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([*([kept] if kept else []), "/nowhere", named])
    done = spawn("list", "--json", "--plugins", "nearby", cwd=tmp_path, env={"PYTHONPATH": path})
    assert (done.returncode == 0) == found, done.stderr
