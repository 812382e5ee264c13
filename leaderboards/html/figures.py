"""The site's charts as SVG and PNG, for papers and slides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.util.files import write_atomic
from leaderboards import Ranking
from leaderboards.html import charts
from leaderboards.html.charts import Spec
from leaderboards.html.safety import check_extra
from leaderboards.html.view import curves_with_lines, page_of, table_charts

SCALE = 2.0
"""Pixels of the PNG for each of the SVG."""
_LOOK = {
    "background": "white",
    "font": "Helvetica, Arial, sans-serif",
    "legend": {"columns": 4},
    "axisY": {"labelLimit": 260},
}


def write_figures(found: Ranking, folder: Path, *, price: float | None = None) -> tuple[Path, ...]:
    """Write every chart that has something to show twice, `NAME.svg` and `NAME.png`; returns their paths."""
    check_extra()
    import vl_convert

    written: list[Path] = []
    for name, spec in figures(found, price).items():
        looked = {**spec, "config": {**spec.get("config", {}), **_LOOK}}
        svg, png = folder / f"{name}.svg", folder / f"{name}.png"
        write_atomic(svg, vl_convert.vegalite_to_svg(looked).encode())
        write_atomic(png, vl_convert.vegalite_to_png(looked, scale=SCALE))
        written += [svg, png]
    return tuple(written)


def figures(found: Ranking, price: float | None) -> Mapping[str, Spec]:
    """The charts by the names of their files."""
    return dict(_figures(found, price))


def _figures(found: Ranking, price: float | None) -> Iterator[tuple[str, Spec]]:
    for table in found.tables:
        name = page_of(table)
        scores, pareto = table_charts(table, price)
        if scores is not None:
            yield f"{name}-scores", scores
        for axis, spec in pareto:
            yield f"{name}-{axis.name}", spec
    for number, one in enumerate(curves_with_lines(found)):
        yield f"curves-{number}", charts.curve_chart(one)
