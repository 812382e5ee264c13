"""A method's settings as the command line shows them."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from pydantic import BaseModel, Field

from harness.cli.aligner import settings
from harness.plugins.registry import load
from tests.unit.harness.cli.test_cli import call

pytestmark = pytest.mark.core


class Config(BaseModel):
    lambda_: float = Field(0.5, gt=0, le=1, alias="lambda", description="weight (paper)")
    kind: Literal["a", "b"] = Field("a", description="which")
    steps: int | None = Field(None, description="how many")
    names: str = Field("x", min_length=1, description="what")


def test_a_setting_has_its_name_default_range_and_source() -> None:
    assert [tuple(found.values()) for found in settings(Config)] == [
        ("lambda", 0.5, "float", "> 0, <= 1", "weight (paper)"),
        ("kind", "a", "choice", "a, b", "which"),
        ("steps", None, "int or null", "", "how many"),
        ("names", "x", "str", "length >= 1", "what"),
    ]


def test_every_setting_of_every_method_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "aligners", "--verbose", "--json", "--no-plugins") == 0
    listed = {entry["name"]: entry["settings"] for entry in json.loads(capsys.readouterr().out)["aligners"]}
    for name, aligner in load(plugins=False).aligners.items():
        assert len(listed[name]) == len(aligner.Config.model_fields)
        assert all(setting["description"] for setting in listed[name])
    assert call("aligner", "gem", "--no-plugins") == 0
    assert "gem\tlambda\t1.0\tfloat\t>= 0\t" in capsys.readouterr().out


def test_a_method_that_is_not_there_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("aligner", "dppo", "--no-plugins") == 2
    assert "dpo" in capsys.readouterr().err


def test_a_method_without_a_paper_is_not_called_a_control(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("aligner", "ridge", "--no-plugins") == 0
    assert "paper: none\n" in capsys.readouterr().out
