"""Tables as LaTeX for papers: `tabular` with rules of the package booktabs, inside `table`.

A document needs `\\usepackage{booktabs}` and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.stats import Estimate
from harness.util.safe_text import line
from leaderboards import columns
from leaderboards.settings import apart_from_namesakes
from leaderboards.table import Cost, MethodRow, Metric, Table, Versus

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"{\ttfamily\char34}", "`": r"\`{}", "[": "{[}", "]": "{]}",
}  # fmt: skip
"""Commands that LaTeX has whatever the encoding of its fonts; it has `textquotedbl` only in some."""
_FOUND = re.compile("|".join([*map(re.escape, _SPECIAL), "([-',])(?=\\1)"]))
"""Those, and characters that are drawn as one with the next of their kind, as `--` is."""


def latex(tables: Sequence[Table]) -> str:
    """Two `table` environments for each table: its main metric, and where it has others, those."""
    head = "% Needs \\usepackage{booktabs}. Scores with 95 % intervals; p adjusted by Holm's method over the table."
    made = (text for t, c in zip(tables, _captions(tables), strict=True) for text in _tables(t, c))
    return "\n\n".join([head, *made]) + "\n"


def escaped(text: str) -> str:
    """`text` in LaTeX, where it shows as it is and commands nothing."""
    return _FOUND.sub(lambda found: _SPECIAL.get(found.group(), f"{found.group()}{{}}"), line(text))


def _captions(tables: Sequence[Table]) -> list[str]:
    """What each table shows; where that is several tables', what tells them apart behind it."""
    plain = [_caption(table) for table in tables]
    return [
        f"{caption} ({', '.join(f'{name} {getattr(table.setting, name)}' for name in apart)})" if apart else caption
        for table, caption, apart in zip(tables, plain, apart_from_namesakes(tables, plain), strict=True)
    ]


def _caption(table: Table) -> str:
    s = table.setting
    return f"{s.asked}, {s.labels} labels, {s.model}, track {s.track}: {s.main_metric} on {table.n_units} units"


def _tables(table: Table, caption: str) -> Iterator[str]:
    """The main table, and behind it the metrics beside the main one, where there are any."""
    yield _main_table(table, caption)
    if columns.other_metrics(table):
        yield _other_table(table, f"{caption}; the other metrics")


def _main_table(table: Table, caption: str) -> str:
    s = table.setting
    metric = columns.directed(s.main_metric, table.lower_is_better)
    control = ["vs. labels shuffled"] if s.null_by else []
    beside = [columns.directed(name, table.lower_is_better) for name in table.headline]
    numbers = ("seeds", metric, "vs. base", *control, "p", *beside, "labels", "steps", "TFLOPs")
    rows = [_main_cells(table, row) for row in table.rows]
    split = 1 if table.rows and table.rows[0].role == "base" else 0
    spec = f"l{'r' * len(numbers)}ll"
    return _environment(caption, spec, ("method", *numbers, "status", "verdict"), [rows[:split], rows[split:]])


def _other_table(table: Table, caption: str) -> str:
    """A block of rows for every metric; their p is not adjusted, and no verdict follows from it."""
    head = ("metric", "method", "value", "vs. base", "p (not adjusted)")
    blocks = [
        [
            _other_cells(columns.directed(name, table.lower_is_better), row, row.metrics[name])
            for row in table.rows
            if name in row.metrics
        ]
        for name in columns.other_metrics(table)
    ]
    return _environment(caption, "llrrr", head, blocks)


def _environment(caption: str, spec: str, head: Sequence[str], blocks: Sequence[Sequence[Sequence[str]]]) -> str:
    """A table whose blocks of rows have a rule between them; cells are LaTeX, the head is not yet."""
    ruled = (
        line for block in blocks if block for line in (r"\midrule", *(" & ".join(cells) + r" \\" for cells in block))
    )
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(caption)}}}",
            rf"\begin{{tabular}}{{{spec}}}",
            r"\toprule",
            " & ".join(map(escaped, head)) + r" \\",
            *ruled,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _main_cells(table: Table, row: MethodRow) -> list[str]:
    metric = row.metrics.get(table.setting.main_metric)
    return [
        escaped(row.label),
        columns.seeds(row),
        _score(metric.score) if metric else "--",
        _difference(metric.versus_base if metric else None),
        *([_difference(row.versus_control)] if table.setting.null_by else []),
        _p(row.p_holm),
        *(_score(row.metrics[name].score) if name in row.metrics else "" for name in table.headline),
        *_cost(row.cost),
        escaped(columns.status(row)),
        escaped(columns.verdict(table, row)),
    ]


def _other_cells(name: str, row: MethodRow, metric: Metric) -> list[str]:
    versus = metric.versus_base
    p = _p(versus.p if versus else None)
    return [escaped(name), escaped(row.label), _score(metric.score), _difference(versus), p]


def _cost(cost: Cost | None) -> tuple[str, str, str]:
    """Labels, optimizer steps and TFLOPs; of what is not known nothing."""
    if cost is None:
        return "", "", ""
    return columns.labels(cost), f"{cost.optimizer_steps:g}", f"{cost.flops / 1e12:.1f}"


def _score(score: Estimate) -> str:
    limits = rf" {{[}}{score.ci95[0]:.3f}, {score.ci95[1]:.3f}{{]}}" if score.ci95 else ""
    return f"{score.mean:.3f}{limits}"


def _difference(versus: Versus | None) -> str:
    if versus is None:
        return ""
    limits = rf" {{[}}${versus.ci95[0]:+.3f}$, ${versus.ci95[1]:+.3f}${{]}}" if versus.ci95 else ""
    return f"${versus.difference:+.3f}${limits}"


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return "$<$0.001" if p < 0.001 else f"{p:.3f}"
