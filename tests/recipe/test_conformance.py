"""The conformance kit on the tiny model: honest aligners pass, and each broken promise is caught by the right check."""

from __future__ import annotations

import importlib
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

import harness.conformance as kit
from aligners.base import Base
from aligners.dpo import Dpo
from aligners.gem import Gem
from aligners.icl import Icl
from aligners.random_adapter import RandomAdapter
from aligners.sft import Sft
from harness.conformance import Check, NotConformant, check_aligner, parametrize_with_checks
from harness.contracts import Aligner
from harness.plugins.registry import load
from tests.broken_aligners import BROKEN, LEARNING_AS_HONEST, Backwards, Hoarder, Honest

pytestmark = pytest.mark.recipe

NOT_ON_RANDOM_WEIGHTS = "random weights cannot learn from a prompt; nothing is trained"
ANY = kit.Trial()
NOISE = "a control: its adapter is noise, whatever the labels say"


@parametrize_with_checks([Honest, Base, Sft, Dpo, Gem])
def test_aligners_conform(check: Check) -> None:
    check()


@parametrize_with_checks(
    [Icl], expected_failures=dict.fromkeys(("positive_control", "labels_swapped"), NOT_ON_RANDOM_WEIGHTS)
)
def test_icl_conforms(check: Check) -> None:
    check()


@parametrize_with_checks(
    [RandomAdapter], expected_failures=dict.fromkeys(("positive_control", "labels_swapped"), NOISE)
)
def test_random_conforms_and_learns_nothing(check: Check) -> None:
    check()


@pytest.fixture(scope="module")
def long_lessons() -> Iterator[None]:
    """The long fits of an aligner that learns as `Honest` does are `Honest`'s, and are done once for all of them."""
    honest, result = kit.Lab(Honest), kit.Lab.result

    def shared(self: kit.Lab, trial: kit.Trial = ANY, config: BaseModel | None = None) -> kit.Result:
        alike = self.aligner_class in LEARNING_AS_HONEST and trial.pairs == kit.FULL.pairs
        return result(honest, trial) if alike else result(self, trial, config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kit.Lab, "result", shared)
        yield


@pytest.mark.usefixtures("long_lessons")
@pytest.mark.parametrize(("broken", "check"), BROKEN.items(), ids=lambda item: getattr(item, "name", item))
def test_a_broken_promise_is_caught_by_its_check_alone(broken: type[Aligner], check: str) -> None:
    checks = check.split(" and ")
    said = rf"aligner '{broken.name}' fails {len(checks)} of its checks:\n  {checks[0]}: "
    with pytest.raises(NotConformant, match=said) as caught:
        check_aligner(broken)
    assert {o.check for o in caught.value.outcomes if not o.good} == set(checks)


def test_an_announced_failure_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit.aligners, "CHECKS", (kit.check_parameters_plain, kit.check_takes_what_it_says))
    outcomes = {o.check: o for o in check_aligner(Hoarder, expected_failures={"parameters_plain": "to be fixed"})}
    assert (outcomes["parameters_plain"].status, outcomes["parameters_plain"].note) == ("expected", "to be fixed")
    assert outcomes["takes_what_it_says"].status == "passed"


def test_an_announced_failure_that_passes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit.aligners, "CHECKS", (kit.check_save_load,))
    with pytest.raises(NotConformant, match=r"save_load: passes, although it was expected to fail: disk is full"):
        check_aligner(Honest, expected_failures={"save_load": "disk is full"})


def test_an_instance_is_fitted_with_its_own_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit.aligners, "CHECKS", (kit.check_takes_what_it_says, kit.check_positive_control))
    slow = Honest(Honest.Config.model_validate({"learning_rate": 1e-9}))
    with pytest.raises(NotConformant, match=r"fails 1 of its checks:\n  positive_control"):
        check_aligner(slow)


def test_the_process_is_left_as_it_was() -> None:
    import torch

    before = (random.getstate(), torch.random.get_rng_state().tolist())
    kit.check_takes_what_it_says(kit.Lab(Honest))
    assert (random.getstate(), torch.random.get_rng_state().tolist()) == before


def test_every_built_in_aligner_is_put_through_the_kit_and_has_a_page() -> None:
    checked: set[str] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        if "parametrize_with_checks(" in path.read_text():
            module = importlib.import_module(f"{__package__}.{path.stem}")
            marks = [mark for value in vars(module).values() for mark in getattr(value, "pytestmark", ())]
            cases = [case for mark in marks if mark.name == "parametrize" for case in mark.args[1]]
            checked |= {str(getattr(case, "id", "")).partition("-")[0] for case in cases}
    pages = Path(__file__).parents[2] / "docs" / "methods"
    titles = " ".join(page.read_text().partition("\n")[0] for page in pages.glob("*.md"))
    built_in = set(load(plugins=False).aligners)
    assert built_in <= checked
    assert built_in <= set(re.findall(r"\w+", titles))


def test_swapped_answers_are_called_reversed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit.aligners, "CHECKS", (kit.check_positive_control,))
    with pytest.raises(NotConformant, match="backwards looks reversed: it learns to prefer the rejected answers"):
        check_aligner(Backwards)
