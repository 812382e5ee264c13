"""What stores know of the judges of its tables: their measured agreement, beside every win rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.contracts import HarnessError
from harness.judging.calibration import Calibration, load
from harness.records.schema import Score
from harness.stats import Estimate
from leaderboards.table import JudgeFigure, Table


def with_judges(tables: Sequence[Table], stores: Sequence[Path]) -> list[Table]:
    """The tables, each with what `judge check` measured of its judge, and warnings where that judge is unfit.

    A calibration that cannot be read is named in the warnings of the tables that a judge scored.
    """
    if not any(table.setting.judge for table in tables):
        return list(tables)
    known: list[Calibration] = []
    problem = None
    for store in stores:
        try:
            known += [one for one in load(store) if one not in known]
        except HarnessError as error:
            problem = str(error)
    return [_with_judge(table, known, problem) if table.setting.judge else table for table in tables]


def _with_judge(table: Table, known: Sequence[Calibration], problem: str | None) -> Table:
    setting = table.setting
    found = [c for c in known if c.applies(str(setting.judge), setting.model)]
    current = [c for c in found if c.judge_version == setting.judge_version]
    warnings = [] if problem is None else [problem]
    warnings += [
        f"judge {c.judge} fails on {c.set}: {fault}; its win rates mean nothing" for c in current for fault in c.fails
    ]
    older = sorted({c.judge_version for c in found} - {setting.judge_version or ""})
    if older and not current:
        warnings.append(
            f"judge {setting.judge} was measured in version {', '.join(older)}, not in {setting.judge_version}"
        )
    return replace(table, judge=tuple(map(_figure, current)), warnings=(*table.warnings, *warnings))


def _figure(calibration: Calibration) -> JudgeFigure:
    figures = calibration.figures
    agreement = figures.agreement
    return JudgeFigure(
        set=calibration.set,
        labelled_by=calibration.labelled_by,
        pairs=figures.pairs,
        answered=figures.answered,
        agreement=None if agreement is None else Estimate(agreement.mean, agreement.ci95, agreement.n),
        null_win_rate=_mean(figures.null_win_rate),
        fails=calibration.fails,
        first_position=_mean(figures.first_position),
        flips=_mean(figures.flips),
        longer=_mean(figures.longer),
        longer_people=_mean(figures.longer_people),
    )


def _mean(score: Score | None) -> float | None:
    return None if score is None else score.mean
