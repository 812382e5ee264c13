"""Whether what an earlier run left may be used: what does not verify is named, passed over and computed again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import HarnessError
from harness.contracts.progress import Progress
from harness.data.reading import SplitRead, rows_hash
from harness.fit.journal import Journal
from harness.records.provenance import differences, edited
from harness.records.schema import Record
from harness.records.seals import read_sealed
from harness.records.store import Store
from harness.run.job import LOG, REPORT, RESULT, FitReport
from harness.run.plan import Plan
from harness.util.hashes import folder_hashes
from harness.util.own_json import OtherVersion, modelled

if TYPE_CHECKING:
    from harness.plugins.registry import Registry

MOST = 3
"""Differences that a note names; `show --diff` has them all."""

Compared = Mapping[str, Mapping[str, str]]


def finished(plan: Plan, store: Store, compared: Compared, progress: Progress) -> Record | None:
    """The cell's stored record if it verifies and did not fail, else None; a note says why a record is not used."""
    try:
        record = store.verified(plan.run_id)
    except HarnessError as error:
        why = error.what if isinstance(error, OtherVersion) else error
        progress.note(f"{why}; it is computed again")
        return None
    if record is None or record.status == "failed":
        return None
    changed = _changes(record, plan, compared)
    if changed:
        more = f" and {len(changed) - MOST} more" if len(changed) > MOST else ""
        progress.note(
            f"run {record.id} came of something else ({'; '.join(changed[:MOST])}{more}); it is computed again"
        )
        return None
    return record


def refuse_edited(plan: Plan, registry: Registry) -> None:
    """Raise HarnessError where files of a plug-in changed after this process loaded them.

    The cell's id is made from the files as they are, and the evaluation would run what was loaded.
    """
    judges = [registry.judge(name) for name in (plan.config.judge, plan.fit_judge) if name is not None]
    loaded = {
        f"aligner {plan.config.aligner}": plan.aligner_class,
        f"task {plan.config.task}": type(plan.task),
        f"pool {plan.pool.name}": type(plan.pool),
        f"backend {plan.config.backend}": registry.backend(plan.config.backend),
        **{f"judge {judge.name}": judge for judge in judges},
    }
    changed = [name for name, offered in loaded.items() if edited(offered)]
    if changed:
        raise HarnessError(f"the code of {' and '.join(changed)} changed while this process was at work; run again")


def _changes(record: Record, plan: Plan, compared: Compared) -> list[str]:
    """Decisive values of the stored record that differ now."""
    before, now = record.manifest, {name: dict(section) for name, section in plan.decisive.items()}
    runs = {name: dict(run) for name, run in compared.items()}
    return [*differences(before.decisive, now), *differences(before.compared, runs), *_read_anew(record, plan)]


def _read_anew(record: Record, plan: Plan) -> list[str]:
    """Splits that only the evaluation read and whose rows have changed."""
    changed = []
    for name, value in record.manifest.also_read.items():
        noted = SplitRead.from_json(value)
        try:
            now = rows_hash(plan.source.inner.rows(noted.dataset, noted.split))
        except HarnessError:
            now = "absent"
        changed += differences({name: noted.rows}, {name: now})
    return changed


def report(plan: Plan, store: Store, progress: Progress) -> FitReport | None:
    """What a finished fit reported, where it and everything in `result` are what the fit left.

    Otherwise the fit's folder is emptied, a note says why, and None asks for the fit to be done again; None, too, where
    none was finished. To be called under the fit's lock.
    """
    folder = store.fit_dir(plan.fit_id)
    try:
        found = read_sealed(folder / REPORT)
        if found is None:
            return None
        _check_result(found, plan.fit_id, folder_hashes(folder / RESULT))
        _check_log(found, folder / LOG)
        return modelled(FitReport, found, REPORT, "do the fit again")
    except HarnessError as error:
        why = f"cannot be read: {error.what}" if isinstance(error, OtherVersion) else f"cannot be believed ({error})"
        progress.note(f"fit {plan.fit_id} {why}; it is discarded and done again")
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _check_log(found: Mapping[str, Any], log: Path) -> None:
    if found.get("log") != Journal(log).digest():
        raise HarnessError(f"{log.name} is not what was written")


def _check_result(found: Mapping[str, Any], fit_id: str, files: Mapping[str, str]) -> None:
    if found.get("fit_id") != fit_id:
        raise HarnessError(f"{REPORT} is of fit {found.get('fit_id')}")
    expected = found.get("files", {})
    for name in sorted({*files, *expected}):
        if files.get(name) != expected.get(name):
            raise HarnessError(f"{RESULT}/{name} is {'not what was written' if name in files else 'missing'}")
