"""The conformance kit without a fit: its lesson, its bookkeeping, its hyper-parameter checks."""

from __future__ import annotations

import ast
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

import harness.conformance as kit
from harness.conformance import Check, CheckFailed, Lab, aligner_checks, check_aligner, parametrize_with_checks
from harness.contracts import FewShot, HarnessError
from tests.broken_aligners import BROKEN, Honest

pytestmark = pytest.mark.core
STATIC = ("parameters_plain", "parameters_documented")


def with_config(config: type[BaseModel]) -> Lab:
    return Lab(type("Variant", (Honest,), {"name": "variant", "Config": config}))


def config(**parameters: Any) -> type[BaseModel]:
    """A frozen config of hyper-parameters given as (type, field)."""
    body: dict[str, Any] = {"model_config": ConfigDict(frozen=True, extra="forbid")}
    body["__annotations__"] = {name: kind for name, (kind, _) in parameters.items()}
    body.update({name: info for name, (_, info) in parameters.items()})
    return type("Config", (BaseModel,), body)


# ---------------------------------------------------------------- the kit


def test_every_check_is_listed_and_says_what_it_finds() -> None:
    defined = [value for name, value in vars(kit).items() if name.startswith("check_") and name != "check_aligner"]
    assert set(defined) == set(kit.CHECKS)
    assert all(check.__doc__ for check in kit.CHECKS)


def test_every_check_has_a_broken_aligner() -> None:
    assert {name for names in BROKEN.values() for name in names.split(" and ")} == {
        check.name for check in aligner_checks(Honest)
    }


def test_listing_checks_runs_none() -> None:
    class Explosive(Honest):
        def __init__(self, config: Any) -> None:
            raise AssertionError("a check ran")

    assert len(list(aligner_checks(Explosive))) == len(kit.CHECKS)


@pytest.mark.parametrize("moved", [0.0, 1e-7, 1e-4])
def test_base_answers_the_same_up_to_rounding(moved: float) -> None:
    session = SimpleNamespace(base=lambda: "weights", base_answers=lambda: [[-1.0, -2.0 + moved], [-3.0]])
    fitted = SimpleNamespace(session=session, base="weights", base_answers=[[-1.0, -2.0], [-3.0]])
    lab: Any = SimpleNamespace(aligner_class=Honest, plain=fitted)
    if moved < 1e-5:
        assert kit.check_base_untouched(lab) == ""
        return
    with pytest.raises(CheckFailed, match=r"no longer answers as base does; .* moved by 0\.0001 nats"):
        kit.check_base_untouched(lab)


def test_pytest_sees_one_case_a_check() -> None:
    def test(check: Check) -> None:
        check()

    mark = parametrize_with_checks([Honest], expected_failures={"save_load": "why"})(test).pytestmark[0]
    ids = [case.id for case in mark.args[1]]
    assert ids == [f"honest-{check.name}" for check in aligner_checks(Honest)]
    (announced,) = [case for case in mark.args[1] if case.marks]
    assert announced.id == "honest-save_load"
    assert announced.marks[0].kwargs == {"reason": "why", "strict": True}


@pytest.mark.parametrize("run", [check_aligner, lambda a, **k: parametrize_with_checks([a], **k)])
def test_an_unknown_expected_failure_is_an_error(run: Any) -> None:
    with pytest.raises(HarnessError, match="no check is called 'positiv_control'; did you mean 'positive_control'"):
        run(Honest, expected_failures={"positiv_control": "why"})


def test_pytest_is_not_needed_to_use_the_kit() -> None:
    top = ast.parse(inspect.getsource(kit)).body
    imported = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    assert not {"pytest", "torch", "transformers", "peft"} & imported


# ---------------------------------------------------------------- the lesson


def test_the_lesson_is_balanced_and_held_out_things_are_new() -> None:
    train, held_out = kit.lesson_pairs(kit.TRAIN), kit.lesson_pairs(kit.HELD_OUT)
    assert len(train) == 32
    assert not {p.prompt for p in train} & {p.prompt for p in held_out}
    for closing in kit.CLOSINGS.values():
        assert sum(p.chosen.endswith(closing) for p in train) == 16
        assert sum(p.rejected.endswith(closing) for p in train) == 16


def test_always_the_same_closing_is_right_half_of_the_time() -> None:
    closing = next(iter(kit.CLOSINGS.values()))
    assert sum(p.chosen.endswith(closing) for p in kit.lesson_pairs(kit.HELD_OUT)) == len(kit.HELD_OUT)


def test_swapping_exchanges_the_labels_and_nothing_else() -> None:
    for right, wrong in zip(kit.lesson_pairs(kit.TRAIN), kit.lesson_pairs(kit.TRAIN, swapped=True), strict=True):
        assert (right.id, right.prompt, right.chosen, right.rejected) == (
            wrong.id,
            wrong.prompt,
            wrong.rejected,
            wrong.chosen,
        )


def test_the_verifier_knows_the_lesson() -> None:
    few_shot = kit.lesson(8)
    assert few_shot.verifier is not None
    for pair in kit.lesson_pairs(kit.UNLABELLED):
        assert few_shot.verifier(pair.id, pair.chosen) == 1.0
        assert few_shot.verifier(pair.id, pair.rejected) == 0.0


def test_the_lesson_holds_every_kind_of_data() -> None:
    labelled, few_shot = kit.lesson(8), kit.lesson(8, opinions=True)
    assert all(getattr(labelled, name) or getattr(few_shot, name) for name in kit.FEW_SHOT)
    assert not labelled.groups
    assert not few_shot.pairs
    ratings = [r for group in (few_shot.groups, few_shot.auxiliary) for rs in group.values() for r in rs]
    assert all(sum(r.probabilities) == pytest.approx(1.0) for r in ratings)


def test_guarded_data_refuses_what_is_not_declared() -> None:
    guarded = kit.guard(kit.lesson(8), frozenset({"pairs"}))
    assert isinstance(guarded, FewShot)
    assert len(guarded.pairs) == 8
    assert not guarded.taken
    with pytest.raises(CheckFailed, match="reads 'prompts'"):
        _ = guarded.prompts
    assert guarded.taken == {"prompts"}


# ---------------------------------------------------------------- hyper-parameter checks


@pytest.mark.parametrize("check", [kit.check_parameters_plain, kit.check_parameters_documented])
def test_an_honest_config_passes(check: Any) -> None:
    assert check(Lab(Honest)) == ""


@pytest.mark.parametrize("broken", [b for b, c in BROKEN.items() if c in STATIC], ids=lambda b: b.name)
def test_a_broken_config_is_caught_without_a_fit(broken: Any) -> None:
    check = getattr(kit, f"check_{BROKEN[broken]}")
    with pytest.raises(CheckFailed, match=broken.name):
        check(Lab(broken))


def test_a_parameter_without_default_is_caught() -> None:
    lab = with_config(config(rate=(float, Field(description="x", json_schema_extra={"probe": 1.0}))))
    with pytest.raises(CheckFailed, match=r"needs a default \(1 have none\)"):
        kit.check_parameters_plain(lab)


def test_a_mutable_parameter_is_caught() -> None:
    lab = with_config(config(rates=(list[float], Field([1.0], description="x", json_schema_extra={"probe": [2.0]}))))
    with pytest.raises(CheckFailed, match="rates holds a mutable list"):
        kit.check_parameters_plain(lab)


def test_a_parameter_that_json_does_not_keep_is_caught() -> None:
    kept = config(rate=(float, Field(float("nan"), description="x", json_schema_extra={"probe": 1.0})))
    with pytest.raises(CheckFailed, match="does not survive JSON"):
        kit.check_parameters_plain(with_config(kept))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (None, "needs either 'probe' or 'no_effect'"),
        ({}, "needs either 'probe' or 'no_effect'"),
        ({"probe": 2.0, "no_effect": "why"}, "needs either 'probe' or 'no_effect'"),
        ({"probe": -1.0}, r"its probe -1.0 is not valid"),
        ({"probe": 1.0}, r"its probe 1.0 is the default"),
        ({"probe": 2.0, "probe_with": {"other": 1}}, r"probe_with names 'other'"),
    ],
)
def test_probes_are_checked(extra: Any, message: str) -> None:
    lab = with_config(config(rate=(float, Field(1.0, gt=0, description="x", json_schema_extra=extra))))
    with pytest.raises(CheckFailed, match=message):
        kit.check_parameters_documented(lab)


def test_probes_of_aliased_parameters_are_set_by_alias() -> None:
    extra = {"probe": 0.0}
    lab = with_config(config(lambda_=(float, Field(1.0, alias="lambda", description="x", json_schema_extra=extra))))
    assert kit.check_parameters_plain(lab) == ""
    assert kit.check_parameters_documented(lab) == ""


def test_companions_of_a_probe_are_set_on_both_sides() -> None:
    tau = Field(1.0, description="x", json_schema_extra={"probe": 2.0, "probe_with": {"f_": "b"}})
    f = Field("a", alias="f", description="x", json_schema_extra={"probe": "b"})
    base, probed = kit.probed(with_config(config(tau=(float, tau), f_=(str, f))), "tau")
    assert (base.model_dump(), probed.model_dump()) == ({"tau": 1.0, "f_": "b"}, {"tau": 2.0, "f_": "b"})
