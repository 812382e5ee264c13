"""A report as data, from which Markdown, JSON and pages are made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from leaderboards.draws import Average
from leaderboards.table import Role

Interval = tuple[float, float] | None
Verdict = Literal["better", "worse", "cannot tell"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Contrast(_Frozen):
    """The difference of two methods on the same draws and items."""

    against: str
    difference: float
    ci95: Interval
    """95 % interval for new draws and new questions; None with fewer than two draws or two units."""
    p: float | None
    """None for a degenerate row, which is not tested."""
    p_holm: float | None
    """Adjusted over the methods; None for rows outside the family of tests. Where the task asks for a control on
    shuffled labels, that of the difference to base is the larger of both."""
    verdict: Verdict | None
    scope: str
    """To what p refers: new draws and questions, or new questions only."""
    n_draws: int


class PanelRow(_Frozen):
    """A method at one budget over its draws."""

    method: str
    role: Role
    degenerate: bool
    score: float | None
    ci95: Interval
    draw_sd: float | None
    """Standard deviation of draws and training seeds, from the variance components; None below two draws."""
    unit_sd: float | None
    n_draws: int
    statuses: dict[str, int]
    versus: dict[str, Contrast]
    """Against `base`, the reference method, and the method's own controls `shuffled` and `swapped`."""
    among_the_best: bool | None
    """Whether it cannot be told from the best; None for what is not compared."""
    steps: float
    """Optimizer steps, a mean over its runs."""
    flops: float
    seconds: float
    runs: tuple[str, ...]
    notes: tuple[str, ...] = ()


class FigureRow(_Frozen):
    """A method's figure beside the main one."""

    method: str
    score: float
    ci95: Interval
    less_base: float | None
    less_base_ci95: Interval
    p: float | None
    """Of the difference to base, not adjusted; None for base, for a degenerate row, and where nothing is compared."""


class Figure(_Frozen):
    """A figure beside the main one, for all methods that have it."""

    metric: str
    lower_is_better: bool
    rows: tuple[FigureRow, ...]


class Panel(_Frozen):
    """Rows that may be compared: one task, pool, model, judge, backend, track and budget."""

    task: str
    pool: str
    model: str
    judge: str | None
    backend: str
    track: str
    labels: int
    selection: str
    metric: str
    lower_is_better: bool
    draws: tuple[int, ...]
    n_units: int
    rows: tuple[PanelRow, ...]
    figures: tuple[Figure, ...]
    """The figures beside the main one."""
    detectable: float | None
    """The smallest difference that every test behind a verdict finds four times in five, at Holm's first step; None
    where one of them would find none."""
    components: tuple[float, float, float] | None = None
    """The largest variances of such a difference, of draws, of units, of the rest, so large that `detectable` follows
    from them; None below two draws."""
    sentences: tuple[str, ...]
    asks_anew: bool = False
    """Whether every draw asks other items: then each has a panel of its own, and this is one of them."""


class DrawsRow(_Frozen):
    """A method over draws that ask different items."""

    method: str
    role: Role
    n_draws: int
    score: Average
    less_base: Average | None
    verdicts: dict[str, int]
    """Verdicts against base, and the role where there is none, with the number of draws."""


class OverDraws(_Frozen):
    """Panels that differ in their draw alone, taken together. No test stands behind it."""

    task: str
    pool: str
    model: str
    labels: int
    metric: str
    lower_is_better: bool
    rows: tuple[DrawsRow, ...]


class Point(_Frozen):
    """A learning curve at one budget."""

    labels: int
    mean: float
    ci95: tuple[float, float]


class Efficiency(_Frozen):
    """The number of labels with which a method reaches the score of the reference at `target_labels`."""

    reference: str
    target_labels: int
    target: float
    labels: float | None
    """The number of labels, or None if it lies outside the range of the budgets."""
    ci95: tuple[float, float]
    """0 stands for fewer than the smallest budget, infinity for more than the largest."""
    below_range: float
    beyond_range: float
    sentence: str


class MethodCurve(_Frozen):
    """A method's isotonic curve over its budgets."""

    method: str
    points: tuple[Point, ...]
    efficiency: Efficiency | None


class CurvePanel(_Frozen):
    """The curves of one task, pool and model."""

    task: str
    pool: str
    model: str
    metric: str
    lower_is_better: bool
    curves: tuple[MethodCurve, ...]
    sentences: tuple[str, ...]


class ForecastError(_Frozen):
    """Forecast and actual cost of the runs that were forecast and are finished."""

    runs: int
    seconds_expected: float
    seconds_actual: float
    flops_expected: float
    flops_actual: float


class StudyReport(_Frozen):
    """The whole report of a study."""

    study: str
    counts: dict[str, int]
    """The number of cells with each status of a record, and with `missing`."""
    panels: tuple[Panel, ...]
    curves: tuple[CurvePanel, ...]
    over_draws: tuple[OverDraws, ...]
    """For tasks of which every draw asks other items."""
    forecast: ForecastError | None
    sentences: tuple[str, ...]

    def json_value(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return self.model_dump(mode="json")

    def markdown(self) -> str:
        """The report as a page."""
        from harness.study.report.markdown import page

        return page(self)
