"""Tables as LaTeX for papers: `tabular` with rules of the package booktabs, inside `table`.

A document needs `\\usepackage{booktabs}` and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.stats import Estimate
from harness.util.safe_text import line
from leaderboards.settings import apart_from_namesakes
from leaderboards.table import Cost, MethodRow, Table, Versus

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"{\ttfamily\char34}", "`": r"\`{}", "[": "{[}", "]": "{]}",
}  # fmt: skip
"""Commands that LaTeX has whatever the encoding of its fonts; it has `textquotedbl` only in some."""
_FOUND = re.compile("|".join([*map(re.escape, _SPECIAL), "([-',])(?=\\1)"]))
"""Those, and characters that are drawn as one with the next of their kind, as `--` is."""


def latex(tables: Sequence[Table]) -> str:
    """One `table` environment for each table."""
    head = "% Needs \\usepackage{booktabs}. Scores with 95 % intervals; p adjusted by Holm's method over the table."
    return "\n\n".join([head, *(_table(t, c) for t, c in zip(tables, _captions(tables), strict=True))]) + "\n"


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


def _table(table: Table, caption: str) -> str:
    s = table.setting
    metric = f"{s.main_metric} (lower is better)" if s.main_metric in table.lower_is_better else s.main_metric
    control = ["vs. labels shuffled"] if s.null_by else []
    head = ("method", metric, "vs. base", *control, "p", *table.headline, "labels", "TFLOPs", "verdict")
    rows = [" & ".join(_cells(table, row)) + r" \\" for row in table.rows]
    split = 1 if table.rows and table.rows[0].role == "base" else 0
    body = [*rows[:split], *([r"\midrule"] if split and rows[split:] else []), *rows[split:]]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 2)}l}}",
            r"\toprule",
            " & ".join(map(escaped, head)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _cells(table: Table, row: MethodRow) -> list[str]:
    metric = row.metrics.get(table.setting.main_metric)
    named = row.role if row.role in ("control", "outputs") else ""
    verdict = row.verdict or named or ("" if row.status == "ok" else row.status)
    return [
        escaped(row.label),
        _score(metric.score) if metric else "--",
        _difference(metric.versus_base) if metric and metric.versus_base else "",
        *([_difference(row.versus_control) if row.versus_control else ""] if table.setting.null_by else []),
        "" if row.p_holm is None else "$<$0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}",
        *(_score(row.metrics[name].score) if name in row.metrics else "" for name in table.headline),
        *_cost(row.cost),
        escaped(verdict),
    ]


def _cost(cost: Cost | None) -> tuple[str, str]:
    """Labels, those of other groups behind a plus, and TFLOPs; of what is not known nothing."""
    if cost is None:
        return "", ""
    labels = f"{cost.labels:g}" + (f" + {cost.auxiliary_labels:g}" if cost.auxiliary_labels else "")
    return labels, f"{cost.flops / 1e12:.1f}"


def _score(score: Estimate) -> str:
    limits = rf" {{[}}{score.ci95[0]:.3f}, {score.ci95[1]:.3f}{{]}}" if score.ci95 else ""
    return f"{score.mean:.3f}{limits}"


def _difference(versus: Versus) -> str:
    limits = rf" {{[}}${versus.ci95[0]:+.3f}$, ${versus.ci95[1]:+.3f}${{]}}" if versus.ci95 else ""
    return f"${versus.difference:+.3f}${limits}"
