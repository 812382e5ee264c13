"""Whether a record that somebody hands in is what it says: recomputed as far as its files allow.

A record's own seal, the hash of its samples, the ids that follow from what decided the outcome, everything that it
states twice (`leaderboards.twice`), every score and interval from the rows, who made it with which plug-ins
(`leaderboards.origins`), and the arithmetic of its budget. What only running it again can show is whether the model
gave those answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from harness.contracts import HarnessError
from harness.records.provenance import digest, flat
from harness.records.schema import Record, Score
from harness.records.verify import RECORD, check_files, read_record
from harness.stats import mean_interval
from leaderboards.load import SAMPLES, Samples, read_samples
from leaderboards.origins import Installed, foreign_origins, unlike_installed
from leaderboards.twice import SECTIONS, contradictions

TOLERANCE = 1e-9


def faults(path: Path, *, every_interval: bool = True, installed: Installed | None = None) -> list[str]:
    """What is wrong with the run in a folder (or whose `record.json` is named), a sentence each; empty: nothing.

    Without `every_interval` means are recomputed for all metrics and intervals for the main one, which is quicker.
    With `installed` plug-ins the record's task and method are asked, too, what only they can say, such as the main
    metric. Raises HarnessError where there is no record.
    """
    if path.is_file() and path.name != RECORD:
        raise HarnessError(f"{path} is no {RECORD}; name the folder of a run, or the {RECORD} in it")
    folder = path.parent if path.name == RECORD else path
    try:
        record = read_record(folder)
    except HarnessError as error:
        return [str(error)]
    if record is None:
        raise HarnessError(f"no {RECORD} in {folder}; name the folder of a run, or the {RECORD} in it")
    found = [*_identity(record), *_provenance(record), *_ending(record), *_budget(record), *_spent(record)]
    if installed is not None:
        found += unlike_installed(record, installed)
    return [*found, *_rows(folder, record, every_interval)]


# ---------------------------------------------------------------- what follows from the record alone


def _identity(record: Record) -> Iterator[str]:
    decisive = record.manifest.decisive
    missing = [name for name in SECTIONS if name not in decisive]
    if missing:
        yield f"the manifest does not say what decided the outcome: {', '.join(missing)}"
        return
    if digest(decisive, *SECTIONS) != record.id:
        yield f"the id {record.id} does not follow from what the manifest says decided the outcome"
    if digest(decisive, "fit") != record.aligner.fit_id:
        yield f"the fit's id {record.aligner.fit_id} does not follow from what the manifest says decided the fit"
    yield from contradictions(record)


def _provenance(record: Record) -> Iterator[str]:
    manifest = record.manifest
    yield from foreign_origins(record)
    if manifest.git_dirty:
        yield "it was made from a checkout with changes that no commit holds"
    if manifest.git_commit is None and manifest.code_files is None:
        yield "neither a commit nor a hash of the installed files says what code ran"
    if record.model.trust_remote_code:
        yield "it ran the model repository's own code, which nobody else has"


def _ending(record: Record) -> Iterator[str]:
    if (record.status == "failed") != (record.failure is not None):
        yield f"its status is {record.status}, and it {'says' if record.failure else 'does not say'} how it failed"
    if (record.status == "ok") != (record.reason is None):
        yield f"its status is {record.status}, and its reason {record.reason!r}"


def _budget(record: Record) -> Iterator[str]:
    data, budget = record.data, record.budget
    for name, ids in (("pairs", data.pair_ids), ("prompts", data.prompt_ids)):
        if len(set(ids)) != len(ids):
            yield f"its {name} name one twice"
    if len(data.pair_ids) > budget.labels:
        yield f"it had {len(data.pair_ids)} labelled pairs on a budget of {budget.labels}"
    if len(data.prompt_ids) > budget.prompts:
        yield f"it had {len(data.prompt_ids)} prompts on a budget of {budget.prompts}"
    if len(record.aligner.trials) > budget.tune:
        yield f"it compares {len(record.aligner.trials)} trials on a budget of {budget.tune}"
    if set(data.pair_ids) & set(data.prompt_ids):
        yield "a labelled pair is among its unlabelled prompts too"
    for group, asked in data.rating_ids.items():
        if len(set(asked)) != len(asked) or len(asked) > budget.labels:
            yield f"group {group[:60]!r} gave {len(asked)} ratings on a budget of {budget.labels}"


def _spent(record: Record) -> Iterator[str]:
    spent, budget = record.spent, record.budget
    bought = max(len(record.data.pair_ids), sum(map(len, record.data.rating_ids.values())))
    if spent.labels > bought:
        yield f"it spent {spent.labels} labels and names {bought}"
    shown = min(record.task.num_fewshot, len(record.data.pair_ids))
    if spent.labels < shown:
        yield f"it spent {spent.labels} labels, and its prompts showed {shown}"
    if spent.auxiliary_labels and not record.data.auxiliary_groups:
        yield f"it spent {spent.auxiliary_labels} auxiliary labels and names no auxiliary group"
    if spent.prompts > len(record.data.prompt_ids) + len(record.data.pair_ids):
        yield f"it spent {spent.prompts} prompts and names fewer"
    parts = spent.seconds.load + spent.seconds.fit + spent.seconds.evaluate
    if not math.isclose(parts, spent.seconds.total, rel_tol=1e-6, abs_tol=1e-3):
        yield f"its seconds are {spent.seconds.total:.3f} in all, and the parts make {parts:.3f}"
    cap = budget.cap
    if cap is not None and record.status == "ok" and spent.flops > cap:
        yield f"it computed {spent.flops:.4g} FLOPs over a cap of {cap:.4g} and calls itself ok"
    for name, figure in flat(spent.model_dump()).items():
        if figure < 0 or not math.isfinite(figure):
            yield f"a cost is below nothing or no number: spent.{name} is {figure}"


# ---------------------------------------------------------------- what follows from its rows


def _rows(folder: Path, record: Record, every_interval: bool) -> Iterator[str]:
    if record.status == "failed" and not record.scores and SAMPLES not in record.manifest.files:
        return
    try:
        check_files(folder, record, SAMPLES)
        samples = read_samples(folder / SAMPLES)
    except HarnessError as error:
        yield f"{error}: it is changed, or of another run"
        return
    main = record.task.main_metric
    asked = len(samples.values.get(main, ()))
    if asked != record.task.n_items:
        yield f"task.n_items is {record.task.n_items} in the record, and {asked} rows have {main}"
    if main not in record.scores and (record.scores or record.status != "failed"):
        yield f"it has no {main}, the task's main metric"
    for name in sorted(set(samples.values) - set(record.scores)):
        yield f"its rows have {name}, of which it has no score"
    for name, score in record.scores.items():
        if score.whole and name not in samples.values:
            continue  # of the whole set, which no row has: only running it again can show it
        if score.whole:
            yield f"{name} is said to be of the whole set, and its rows have it"
        yield from _score(name, score, samples, every_interval or name == main)


def _score(name: str, score: Score, samples: Samples, interval: bool) -> Iterator[str]:
    values = samples.values.get(name)
    if not values:
        yield f"{name} has a score and no row"
        return
    units = [samples.units[item] for item in values]
    mean = math.fsum(values.values()) / len(values)
    if not _close(mean, score.mean):
        yield f"{name} is {score.mean:.6f} in the record, and its rows make {mean:.6f}"
    if len(set(units)) != score.n:
        yield f"{name} states {score.n} units, and its rows have {len(set(units))}"
    if not interval:
        return
    made = mean_interval(list(values.values()), units).ci95
    if score.without_width and len(set(values.values())) == 1:
        return  # a value by definition, or what was stated of constants before; tables make their own of the latter
    if (made is None) != (score.ci95 is None) or not all(map(_close, made or (), score.ci95 or ())):
        yield f"the interval of {name} is {score.ci95} in the record, and its rows make {made}"


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
