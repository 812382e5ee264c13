"""`judge check` without its command line: open a judge, measure it on labelled pairs, keep what came of it."""

from __future__ import annotations

import datetime
import platform
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.config import DEFAULT_MODEL
from harness.contracts import HarnessError, Judge, Source
from harness.contracts.progress import Progress, Silent
from harness.data.sources import open_source
from harness.judging.calibration import NULL_WINS, Calibration, Figures, save
from harness.judging.measure import SUBSET, LabelledPair, measure, revision
from harness.judging.open import Judges
from harness.plugins.registry import Registry
from harness.records.provenance import origin, packages
from harness.records.store import Store
from harness.util.files import storage
from tasks.judges.labelled import DATASET, SAMPLE, labelled_set, read


def check(
    name: str,
    *,
    registry: Registry,
    store: Store,
    pairs: str = SAMPLE,
    data: str = "sample",
    limit: int | None = None,
    repeat: int = SUBSET,
    model: str = DEFAULT_MODEL,
    device: str = "auto",
    progress: Progress | None = None,
) -> Calibration:
    """Measure judge `name` on the first `limit` pairs of the set `pairs`, and store what came of it.

    The first `repeat` pairs are judged again for consistency and against a constant answer. The second run has an
    empty cache of its own, which is deleted. Raises HarnessError for an unknown judge, set or
    place, and for whatever stops the judge (no key, no answer from its endpoint).
    """
    judge = registry.judge(name)
    source = source_of(pairs, data)
    labelled = read(source, pairs, limit)
    judges = Judges(registry, store.judge_caches, model, device, _shown(progress or Silent()))
    with tempfile.TemporaryDirectory() as empty:
        figures = measure(judges.get(name), judges.open(name, Path(empty)), labelled, subset=repeat)
    asked = model if judges.used_own else None
    made = _calibration(judge, figures, labelled, source=source, pairs=pairs, limit=limit, model=asked)
    with storage(store.root):
        save(store.root, made)
    return made


def _shown(progress: Progress) -> Callable[[str, int, int], None]:
    current: list[tuple[str, int]] = []

    def show(stage: str, done: int, total: int) -> None:
        if current != [(stage, total)]:
            current[:] = [(stage, total)]
            progress.stage(stage, total)
        progress.advance(done, total)

    return show


def _calibration(
    judge: type[Judge],
    figures: Figures,
    labelled: Sequence[LabelledPair],
    *,
    source: Source,
    pairs: str,
    limit: int | None,
    model: str | None,
) -> Calibration:
    """The figures with what they were measured on, and by which software."""
    here = origin()
    return Calibration(
        judge=judge.name,
        judge_version=judge.version,
        model=model,
        set=pairs,
        labelled_by=labelled_set(pairs).labelled_by,
        source=source.describe(),
        revision=revision(labelled),
        limit=limit,
        figures=figures,
        fails=faults(figures),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        packages=packages(),
        python=platform.python_version(),
        platform=platform.platform(),
        git_commit=here.commit,
        git_dirty=here.dirty,
    )


def faults(figures: Figures) -> tuple[str, ...]:
    """What makes a judge unfit: a constant answer that wins more than half of its comparisons."""
    null = figures.null_win_rate
    return (NULL_WINS,) if null is not None and null.mean > 0.5 else ()


def source_of(pairs: str, data: str) -> Source:
    """Where a set's rows come from. Raises HarnessError for a set that does not ship when no folder is named."""
    labelled_set(pairs)
    if data in ("auto", "sample"):
        if pairs != SAMPLE:
            raise HarnessError(
                f"the labelled pairs {pairs!r} do not ship with align-harness; name the folder that holds "
                f"{DATASET.folder}: --data PATH"
            )
        return open_source("sample", DATASET)
    if data == "hub":
        raise HarnessError("labelled pairs come from a folder or the sample, not from the hub: --data PATH")
    return open_source("sample" if pairs == SAMPLE else data, DATASET)
