"""The command `study`: the file that it writes, the schema, and how mistakes are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import app
from harness.study.file import read_study

pytestmark = pytest.mark.core


def command(*words: str) -> int:
    """Run the command line in this process and give its exit code."""
    with pytest.raises(SystemExit) as ended:
        app(["study", *words], prog_name="harness")
    return int(ended.value.code or 0)


def test_init_writes_a_study_that_plan_is_then_called_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "first.yaml"
    assert command("init", str(path)) == 0
    assert f"python -m harness study plan {path}" in capsys.readouterr().out
    assert read_study(path).name == "first"
    assert command("init", str(path)) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_schema_is_the_only_thing_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("schema") == 0
    assert "aligners" in json.loads(capsys.readouterr().out)["properties"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "absent.yaml"], "cannot read study"),
        (["run", "FILE", "--retry", "everything"], "--retry takes failed"),
        (["plan", "FILE", "--set", "drws=3"], "did you mean 'draws'"),
        (["plan", "FILE", "--set", "foo=3"], "unknown key 'foo'; known: "),
        (["plan", "FILE", "--set", "draws=one"], "draws: expected a whole number from 1 to 1000, or a list of numbers"),
        (["plan", "FILE", "--set", "seeds=[a]"], "expected list of int"),
        (["plan", "FILE", "--executor", "slrum"], "did you mean 'slurm'"),
        (["run", "FILE", "--max-hours", "soon"], "max-hours"),
        (["report", "FILE", "--set", "tasks=medqaa"], "did you mean 'medqa'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"name: s\naligners: [sft]\ntasks: [medqa]\nstore: {tmp_path / 'runs'}\n")
    assert command(*(str(path) if word == "FILE" else word for word in words), "--no-plugins") == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert len(errors.strip().splitlines()) == 1
