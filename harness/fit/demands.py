"""What plug-ins demand before they work: `requires` (all must be there) and `accepts` (any of these may be there)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast, get_args

from harness.contracts import (
    Aligner,
    AsksEngine,
    Backend,
    Capability,
    DeclaresCapabilities,
    EngineCapability,
    FewShot,
    HarnessError,
    Need,
    Task,
)


def takes(aligner: Aligner | type[Aligner]) -> frozenset[Need]:
    """Everything of the few-shot data that an aligner is given where it is there."""
    return aligner.requires | aligner.accepts


def can(aligner: type[Aligner]) -> frozenset[Capability]:
    """What the result of an aligner can do at most; all that a language model can, where the class does not say."""
    said: object = aligner
    return said.capabilities if isinstance(said, DeclaresCapabilities) else frozenset(get_args(Capability))


def asks(aligner: type[Aligner]) -> frozenset[EngineCapability]:
    """What the result of an aligner needs of its engine beside what a task asks for."""
    asking: object = aligner
    return asking.asks if isinstance(asking, AsksEngine) else frozenset({"adapters"})


def able(backend: type[Backend]) -> frozenset[Capability]:
    """What a language model can do under a backend: choices and preferences rest on likelihoods."""
    found: set[Capability] = {"generate"} if "generate" in backend.capabilities else set()
    if "loglik" in backend.capabilities:
        found |= {"loglik", "choose", "prefer"}
    return frozenset(found)


def refuse_unmet(aligner: Aligner | type[Aligner], few_shot: FewShot, holder: str) -> None:
    """Raises HarnessError where `few_shot`, which is what `holder` has, is not what the aligner asks for."""
    _refuse(f"aligner {aligner.name}", aligner, few_shot.there, f"{holder} has")


def refuse_unable(task: Task | type[Task], aligner: type[Aligner], backend: type[Backend]) -> None:
    """Raises HarnessError where no result of the aligner under the backend can do what the task asks for."""
    lacking = asks(aligner) - backend.capabilities
    if lacking:
        offered = _listed(sorted(backend.capabilities), "and") or "nothing"
        asked = _listed(sorted(lacking), "and")
        raise HarnessError(f"aligner {aligner.name} asks its engine for {asked}; backend {backend.name} has {offered}")
    limited = isinstance(cast(object, aligner), DeclaresCapabilities)  # whose own rule, not the model's, answers
    there = can(aligner) if limited else able(backend)
    _refuse(f"task {task.name}", task, there, f"a result of aligner {aligner.name} under backend {backend.name} can")


def _refuse(who: str, demands: Any, there: Collection[str], holder: str) -> None:
    sentence = unmet(who, demands.requires, demands.accepts, there, holder)
    if sentence:
        raise HarnessError(sentence)


def unmet(who: str, requires: Collection[str], accepts: Collection[str], there: Collection[str], holder: str) -> str:
    """The sentence that refuses `who`; empty where its demands are met by what is `there`.

    Everything in `requires` must be there. Where that is empty, at least one thing of `accepts` must be; beside a
    requirement, what is accepted may be missing. `holder` begins the clause that says what is there: "pool medqa has".
    """
    has = f"{holder} {_listed(sorted(there), 'and') or 'nothing'}"
    if not set(requires) <= set(there):
        return f"{who} requires {_listed(sorted(requires), 'and')}; {has}"
    if accepts and not requires and not set(accepts) & set(there):
        return f"{who} accepts {_listed(sorted(accepts), 'or')}; {has}"
    return ""


def _listed(words: Sequence[str], last: str) -> str:
    """`a, b or c`, with `last` before the last word."""
    return f" {last} ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
