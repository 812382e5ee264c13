"""Which distributions a record's plug-ins came from, and whether those that are installed here say what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

from harness.contracts import (
    Aligner,
    HarnessError,
    HasFallingMetrics,
    HasNoReferences,
    HasParityMetric,
    HasRelativeMetrics,
    NeedsControl,
    Task,
)
from harness.records.schema import Record
from leaderboards import PARITY
from leaderboards.alike import OUTPUTS, REFERENCE
from leaderboards.twice import ABSENT, facts_of, value_at

OURS = "align-harness"
USED = (
    ("aligner", "aligner.name", "fit.aligner.from"),
    ("task", "task.name", "answers.task.from"),
    ("pool", "data.pool", "answers.pool.from"),
    ("backend", "model.backend", "answers.backend.from"),
    ("judge", "task.judge", "judgement.judge.from"),
    ("judge", "fit.judge.name", "fit.judge.from"),
)
"""Kinds of plug-ins that a run uses, where the record names each, and where what decided the outcome has its origin."""


class Installed(Protocol):
    """What is installed here: a registry, as far as a record can be held against it."""

    @property
    def provenance(self) -> Mapping[str, str]:
        """`kind:name` -> distribution and version."""
        ...

    def task(self, name: str, /) -> type[Task]:
        """The task of a name. Raises HarnessError."""
        ...

    def aligner(self, name: str, /) -> type[Aligner]:
        """The method of a name. Raises HarnessError."""
        ...


def foreign_origins(record: Record) -> Iterator[str]:
    """Plug-ins of which the manifest does not say where they came from, or not what decided the outcome says."""
    facts, plugins = facts_of(record), record.manifest.plugins
    known = {f"model:{record.model.name}"}
    for kind, name, decided in ((kind, value_at(facts, at), value_at(facts, origin)) for kind, at, origin in USED):
        if name is None or name is ABSENT or (kind, name) == ("aligner", OUTPUTS):
            continue
        found = plugins.get(plug_in := f"{kind}:{family(name)}")
        known.add(plug_in)
        if not found:
            yield f"the manifest does not say which distribution {kind} {name} came from"
        elif decided is not ABSENT and release_line(found) != decided:
            yield f"{plug_in} is of {found!r} in the manifest, and of {decided!r} in what decided the outcome"
    for plug_in in sorted(set(plugins) - known):
        yield f"the manifest names {plug_in}, which the run did not use"
    for plug_in, found in plugins.items():
        owner, _, version = found.partition(" ")
        if record.manifest.packages.get(owner, version) != version:
            yield f"{plug_in} is of {found!r}, and the manifest's packages have {record.manifest.packages[owner]}"


def unlike_installed(record: Record, installed: Installed) -> Iterator[str]:
    """What the record says otherwise than its task, method and model do where the same release of them is here."""
    with suppress(HarnessError):  # not installed here
        if _same_release(record, installed, f"task:{family(record.task.name)}"):
            yield from _unlike_task(record, installed.task(record.task.name)())
    with suppress(HarnessError):
        if _same_release(record, installed, f"aligner:{record.aligner.name}"):
            yield from _unlike_aligner(record, installed.aligner(record.aligner.name))
    model = f"model:{record.model.name}"
    if model in installed.provenance and not _same_owner(record, installed, model):
        yield f"{model} is of {record.manifest.plugins.get(model)!r}, and here of {installed.provenance[model]!r}"


def _unlike_task(record: Record, task: object) -> Iterator[str]:
    """What a table rests on and what only the task can say: its main metric, which way is better, what it needs.

    That less of a metric beside the main one is better, or that base has one half by definition, may have been declared
    since.
    """
    assert isinstance(task, Task)
    told = record.task
    main = task.main_metric
    if record.budget.track == PARITY and isinstance(task, HasParityMetric):
        main = task.parity_metric
    says: dict[str, tuple[Any, Any]] = {
        "main_metric": (told.main_metric, main),
        "null_by": (told.null_by, task.null_by if isinstance(task, NeedsControl) else None),
    }
    falling = task.lower_is_better if isinstance(task, HasFallingMetrics) else frozenset[str]()
    if not falling.issuperset(told.lower_is_better) or (main in falling) != (main in told.lower_is_better):
        says["lower_is_better"] = (sorted(told.lower_is_better), sorted(falling))
    relative = task.relative_to_base if isinstance(task, HasRelativeMetrics) else frozenset[str]()
    if not relative.issuperset(told.relative_to_base):
        says["relative_to_base"] = (sorted(told.relative_to_base), sorted(relative))
    if record.manifest.decisive.get("judgement", {}).get("baseline") == REFERENCE:
        expected = task.reference_baseline if isinstance(task, HasNoReferences) else REFERENCE
        says["baseline"] = (told.baseline, expected)
    for name, (stated, expected) in says.items():
        if stated != expected:
            yield f"task.{name} is {stated!r} in the record, and task {told.name} has {expected!r}"


def _unlike_aligner(record: Record, aligner: type[Aligner]) -> Iterator[str]:
    """What names a row: the settings that are not the method's defaults."""
    told = record.aligner
    if told.version != aligner.version:
        return
    if told.paper != aligner.paper:
        yield f"aligner.paper is {told.paper!r} in the record, and aligner {told.name} has {aligner.paper!r}"
    given = value_at(facts_of(record), "fit.aligner.settings")
    usual = aligner.Config().model_dump(mode="json", by_alias=True)
    if isinstance(given, Mapping) and set(given) == set(usual):
        changed = {name: value for name, value in given.items() if usual[name] != value}
        if told.changed != changed:
            yield f"aligner.changed is {told.changed} in the record, and {changed} differs from the method's defaults"


def _same_release(record: Record, installed: Installed, plug_in: str) -> bool:
    here, there = installed.provenance.get(plug_in), record.manifest.plugins.get(plug_in)
    return here is not None and there is not None and release_line(here) == release_line(there)


def _same_owner(record: Record, installed: Installed, plug_in: str) -> bool:
    there = record.manifest.plugins.get(plug_in, "")
    return installed.provenance[plug_in].partition(" ")[0] == there.partition(" ")[0]


def family(name: str) -> str:
    """The name that a plug-in offered: what stands before the colon of `lm_eval:arc_easy`."""
    return name.partition(":")[0]


def release_line(found: str) -> str:
    """Distribution and version of a third party's; of ours the release line, as what decides an outcome has it."""
    owner, _, version = found.partition(" ")
    return f"{owner} {'.'.join(version.split('.')[:2])}" if owner == OURS else found
