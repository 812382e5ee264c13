"""Checks, their outcomes, and pytest parameters made of them."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from harness.contracts import HarnessError
from harness.util.names import nearest

T = TypeVar("T")


class CheckFailed(AssertionError):
    """A promise that the plug-in does not keep, in one sentence."""


class NotConformant(AssertionError):
    """At least one check failed, or one that was expected to fail passed; `outcomes` has them all."""

    def __init__(self, message: str, outcomes: tuple[Outcome, ...]) -> None:
        super().__init__(message)
        self.outcomes = outcomes


@dataclass(frozen=True, slots=True)
class Check:
    """One promise. `run` returns a remark (mostly empty) or raises: CheckFailed, or unittest.SkipTest with a reason."""

    name: str
    run: Callable[[], str]

    def __call__(self) -> str:
        """Run it."""
        return self.run()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a check: `expected` is a failure that was announced, `unexpected` a pass where one was."""

    check: str
    status: Literal["passed", "failed", "skipped", "expected", "unexpected"]
    note: str = ""

    @property
    def good(self) -> bool:
        """False for a failure, and for a pass where a failure was announced."""
        return self.status not in ("failed", "unexpected")


def outcomes(subject: str, checks: Iterable[Check], expected: Mapping[str, str]) -> tuple[Outcome, ...]:
    """Run every check. Raises NotConformant that lists all failures of `subject`."""
    found = tuple(_outcome(check, expected.get(check.name)) for check in checks)
    bad = [f"  {o.check}: {o.note}" for o in found if not o.good]
    if bad:
        raise NotConformant("\n".join([f"{subject} fails {len(bad)} of its checks:", *bad]), found)
    return found


def parametrized(
    checks: Mapping[str, Iterable[Check]], expected: Mapping[str, str]
) -> Callable[[Callable[..., Any]], Any]:
    """The pytest decorator: one case per plug-in (by name) and check, a strict xfail where a failure is announced."""
    import pytest

    def marks(check: Check) -> list[Any]:
        return [pytest.mark.xfail(reason=expected[check.name], strict=True)] if check.name in expected else []

    cases = [
        pytest.param(check, id=f"{name}-{check.name}", marks=marks(check))
        for name, own in checks.items()
        for check in own
    ]
    return pytest.mark.parametrize("check", cases)


def required(promise: bool, failure: str) -> None:
    """Raises CheckFailed with `failure` unless the promise is kept."""
    if not promise:
        raise CheckFailed(failure)


def known(expected: Mapping[str, str], names: Iterable[str]) -> Mapping[str, str]:
    """The announced failures. Raises HarnessError for a name that is no check's, with the nearest."""
    checks = list(names)
    for wrong in sorted(set(expected) - set(checks)):
        raise HarnessError(f"no check is called {wrong!r}; {nearest(wrong, checks)}")
    return expected


def _outcome(check: Check, announced: str | None) -> Outcome:
    try:
        note = check()
    except unittest.SkipTest as skip:
        return Outcome(check.name, "skipped", str(skip))
    except Exception as error:  # a crash of a stranger's code is a finding, not the end of the kit
        reason = str(error) if isinstance(error, CheckFailed) else f"{type(error).__name__}: {error}"
        return Outcome(check.name, "expected" if announced else "failed", announced or reason)
    if announced:
        return Outcome(check.name, "unexpected", f"passes, although it was expected to fail: {announced}")
    return Outcome(check.name, "passed", note)
