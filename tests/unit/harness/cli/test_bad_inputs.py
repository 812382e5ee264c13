"""Mistakes of a user's: whatever is typed, one short line and exit code 2, and nothing runs.

`pytest tests/unit/harness/cli/test_bad_inputs.py --hypothesis-profile thousand` generates 1,000 inputs of each kind.
"""

from __future__ import annotations

import contextlib
import io
import string
import sys
import tempfile
import types
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import harness.run
from harness.cli import app, options
from harness.plugins.registry import Registry, load
from harness.util.safe_text import line

pytestmark = pytest.mark.core

LONGEST = 300
COMMANDS = typer.main.get_command(app)
INSTALLED = load(plugins=False)
NAMES = ("aligner", "task", "judge", "backend", "train-on")
BASE = ("run", "--aligner", "sft", "--task", "medqa", "--quiet")


def generated(test: Any) -> Any:
    """As many examples as the profile says, each as long as it takes on a busy machine."""
    return settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])(
        test
    )


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An engine that must not be reached."""

    def run(*_: object, **__: object) -> object:
        raise AssertionError("the engine was asked to run")

    module = types.ModuleType("harness.run.engine")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "harness.run.engine", module)
    monkeypatch.setattr(harness.run, "engine", module, raising=False)
    monkeypatch.setattr(options, "load", loaded_before)
    yield


def loaded_before(*, plugins: bool, allow: Collection[str] | None) -> Registry:
    """The registry without the time that it takes; with an allow-list it is loaded as ever."""
    return INSTALLED if allow is None else load(plugins=plugins, allow=allow)


def refused(*arguments: str) -> str:
    """What the command line says of a mistake, checked to be one short line that exits with 2."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        COMMANDS.main([*arguments], prog_name="python -m harness")
    said = err.getvalue()
    assert (ended.value.code, out.getvalue()) == (2, ""), said
    assert said.startswith("error: ")
    assert said.endswith("\n")
    assert said.count("\n") == 1
    assert len(said) <= LONGEST
    assert line(said) == said.strip()
    assert "a bug" not in said
    return said


# ---------------------------------------------------------------- values that are never right

SEVERE = (
    "x" * 20_000,
    "9" * 5_000,
    "[" * 3_000,
    "{" * 200,
    "a/" * 3_000,
    "\x1b]0;t\x07\x1b[2J",
    "\u202eabc",
    "[/x]",
    "'" * 99,
)
AWKWARD = st.one_of(st.text(max_size=30), st.sampled_from(SEVERE))
UNKNOWN = AWKWARD.map(lambda text: f"zz{text.replace(',', '')}")
NO_NUMBER = st.one_of(st.sampled_from(("", "inf", "nan", "-inf", "1e400", ".inf", "x", "--1", "0x")), UNKNOWN)
NO_COUNT = st.one_of(NO_NUMBER, st.floats(0.1, 0.9).map(str), st.integers(-(10**40), -1).map(str), st.just("9" * 30))
NO_SEED = st.one_of(NO_COUNT, st.integers(2**32, 10**40).map(str))
OPTIONS: dict[str, st.SearchStrategy[str]] = {
    **dict.fromkeys((f"--{name}" for name in NAMES), UNKNOWN),
    **dict.fromkeys(("--budget", "--track", "--device", "--precision", "--fast-paths"), UNKNOWN),
    **dict.fromkeys(("--limit", "--num-fewshot", "--tune"), NO_COUNT),
    **dict.fromkeys(("--seed", "--draw-seed"), NO_SEED),
    "--cap-flops": st.one_of(NO_NUMBER, st.floats(-1e30, 0).map(str)),
    "--model": st.sampled_from(("x" * 5_000, "\x1b[2J", "a\nb", "\x85")),
    "--store": st.sampled_from(("x" * 300, "a/" * 3_000, "\x1b[2J", f"/tmp/{'é' * 200}")),
    "--data": st.sampled_from(("x" * 5_000, "a\rb", "\x9b1m")),
    "--baseline": st.sampled_from(("x" * 5_000, "\x00")),
    "--config": st.one_of(UNKNOWN, st.sampled_from(("/dev/zero", "/", "/dev/null", "\x00", "x" * 300))),
}
KEYS = ("budget.batch", "budget.labels", "budget.min_steps", "lora.r", "lengths.prompt", "checkpoint_steps", "limit")
SETS = st.one_of(
    UNKNOWN,
    UNKNOWN.map(lambda text: f"{text}=1"),
    UNKNOWN.map(lambda text: f"aligner.{text}=1"),
    UNKNOWN.map(lambda text: f"budget.{text}=1"),
    st.builds("{}={}".format, st.sampled_from(KEYS), NO_COUNT.filter(bool)),
    st.builds("{}={}".format, st.sampled_from(("seed", "draw_seed")), NO_SEED.filter(bool)),
    st.builds("{}={}".format, st.sampled_from(("aligner.learning_rate", "budget.cap_flops")), NO_NUMBER.filter(bool)),
    st.sampled_from(
        ("=", "=1", "budget=8", "lora=", "aligner=", "aligner_config={}", "budget.preset=[]", "seed=&a [*a]")
    ),
)


@generated
@given(st.data())
def test_an_option_with_a_wrong_value_is_one_line(data: st.DataObject) -> None:
    option = data.draw(st.sampled_from(sorted(OPTIONS)))
    refused(*BASE, f"{option}={data.draw(OPTIONS[option])}")


@generated
@given(SETS)
def test_a_wrong_setting_is_one_line(setting: str) -> None:
    refused(*BASE, f"--set={setting}")


@generated
@given(st.sampled_from(("run", "list", "show", "leaderboard", "doctor", "models", "judge", "")), UNKNOWN)
def test_an_unknown_command_option_or_argument_is_one_line(command: str, text: str) -> None:
    name = "".join(c for c in text if c in string.ascii_letters)[:40]
    refused(*([command] if command else []), f"--{name}")
    refused(*([command] if command in ("list", "show", "judge") else []), text)


@generated
@given(UNKNOWN)
def test_other_commands_names_are_one_line(text: str) -> None:
    refused("show", text, "--store", "/nowhere")
    refused("leaderboard", "--store", "/nowhere", "--task", text)
    refused("leaderboard", f"--store={text}")
    refused("models", "fetch", text)
    refused("judge", "check", text)
    refused("list", f"--plugins={text}")


# ---------------------------------------------------------------- config files

SCALARS = st.sampled_from((".inf", ".nan", "1e400", "9" * 30, "9" * 5_000, "-1", "null", "[]", "{}", "''", "[[1]]"))
KEYED = st.sampled_from(("seed", "limit", "draw_seed", "num_fewshot", "checkpoint_steps"))
NEVER_NULL = st.sampled_from(("seed", "draw_seed", "num_fewshot", "checkpoint_steps"))
WRONG = (
    *("!!int x", "seed: !!int x", "seed: !!float y", "seed: !!timestamp z", "seed: 2001-99-99", "seed: !!binary '%'"),
    *("seed: !!python/object:os.system x", "a: b: c", "\t", "seed: [1", "- a", "3", "seed: &a [*a]", "? [1]\n: 2"),
    *("a: 1\na: 2", "seed: 1\nseed: 2", "budget: {labels: 8, labels: 9}", "seed: 1\n---\nseed: 2", "<<: 3"),
    *("budget: {cap_flops: .inf}", "budget: {preset: 32, track: labels+compute, cap_flops: .inf}", "budget: null"),
    *(f"aligner_config: {{learning_rate: {value}}}" for value in (".inf", "1e400", "9" * 5_000, "{a: 1}")),
    *("aligner_config: 3", "lora: []", "store: 3", 'store: "a\\0b"', "model: 1", 'model: "\\e[2J"', "aligner: null"),
    *("task: [[medqa]]", "data: 2001-01-01", "device: gpu"),
)
BAD_YAML = st.one_of(
    st.sampled_from(WRONG),
    st.integers(70, 4_000).map(lambda n: f"aligner_config: {'[' * n}{']' * n}"),
    st.integers(70, 4_000).map(lambda n: f"aligner_config: {'{a: ' * n}1{'}' * n}"),
    st.integers(5, 40).map(lambda n: "\n".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9 if i else 1}]" for i in range(n))),
    AWKWARD.map(lambda text: f"zz{text}: 1"),
    st.builds("{}: {}".format, NEVER_NULL, SCALARS),
    st.builds("budget: {{{}: {}}}".format, st.sampled_from(("labels", "batch", "min_steps")), SCALARS),
    st.builds("{}: {}".format, KEYED, UNKNOWN),
)


@generated
@given(BAD_YAML)
def test_a_wrong_config_file_is_one_line(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_text(text, encoding="utf-8")
        refused(*BASE, "--config", str(path))


@generated
@given(st.binary(min_size=1, max_size=40))
def test_bytes_that_are_no_text_are_one_line(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_bytes(b"\xff" + content)
        refused(*BASE, "--config", str(path))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "aligner.learning_rate=inf"), "aligner.learning_rate: expected float, got 'inf'"),
        (("--set", "aligner.learning_rate=1e400"), "aligner.learning_rate: expected float, got '1e400'"),
        (("--seed", "9" * 30), "--seed: expected int"),
        (("--cap-flops", "inf", "--track", "labels+compute"), "cap_flops: expected float"),
        (("--config", "/dev/zero"), "config file '/dev/zero' is longer than 1048576 bytes"),
        (("--aligner", "x" * 20_000), "aligner 'xxx"),
        (("--store", "x" * 300), "no part of a path may be longer than 255 bytes"),
    ],
)
def test_what_the_line_says(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(*BASE, *arguments)
