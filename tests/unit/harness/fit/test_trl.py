"""The door to TRL: which release its corners are of, and what is said where one has moved."""

from __future__ import annotations

from importlib.metadata import requires, version
from typing import Any

import pytest
from packaging.requirements import Requirement

from harness.contracts import HarnessError
from harness.fit import trl as door


def test_the_corners_are_those_of_the_releases_that_are_allowed() -> None:
    """Raise the range in pyproject.toml and this module together, after reading what TRL changed."""
    (range_,) = {str(one.specifier) for one in map(Requirement, requires("align-harness") or []) if one.name == "trl"}
    major, minor = map(int, door.WRITTEN_FOR.split("."))
    assert range_ == f"<{major}.{minor + 1},>={major}.{minor}", "the range of trl in pyproject.toml"
    assert version("trl").startswith(f"{door.WRITTEN_FOR}."), "the corners were read in another release of TRL"


@pytest.mark.parametrize("name", door.CORNERS)
def test_every_trainer_has_the_methods_that_are_replaced(name: str) -> None:
    known = door.found(name)
    assert all(callable(getattr(known, corner)) for corner in door.CORNERS[name])


@pytest.mark.parametrize(("name", "corner"), [(n, c) for n, corners in door.CORNERS.items() for c in corners])
def test_a_corner_that_moved_is_named_with_the_releases(
    name: str, corner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Moved:
        def __getattr__(self, asked: str) -> Any:
            if asked == corner:
                raise AttributeError(asked)
            return lambda: None

    monkeypatch.setattr(door, "_attribute", lambda place, asked: Moved())
    monkeypatch.setattr(door, "version", lambda package: "9.9")
    wanted = rf"TRL 9\.9 has no {name}\.{corner}, where TRL 1\.16 has it; install trl==1\.16\.\*"
    with pytest.raises(HarnessError, match=wanted):
        door.found(name)


def test_a_moved_output_class_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import trl.trainer.utils

    monkeypatch.delattr(trl.trainer.utils, "FusedCausalLMOutput")
    with pytest.raises(HarnessError, match=r"no FusedCausalLMOutput in trl\.trainer\.utils, where TRL 1\.16 has it"):
        door._fused_output()
