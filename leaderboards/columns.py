"""What the columns of a table say in every form, before a form escapes it."""

from __future__ import annotations

from collections.abc import Collection

from leaderboards.table import Cost, MethodRow, Table


def directed(metric: str, falling: Collection[str]) -> str:
    """A metric's name, with its direction where less of it is better."""
    return f"{metric} (lower is better)" if metric in falling else metric


def of_all(counted: int, there: int) -> str:
    """`3`, or `2/3` where the figure is of two of three."""
    return str(counted) if counted == there else f"{counted}/{there}"


def seeds(row: MethodRow) -> str:
    """How many seeds the score is of."""
    return of_all(row.n_scored, len(row.seeds))


def status(row: MethodRow) -> str:
    """The row's status; where its records differ, how many of them did not end well."""
    if len(row.statuses) == 1:
        return row.status
    return ", ".join(
        f"{name} {count}/{sum(row.statuses.values())}" for name, count in row.statuses.items() if name != "ok"
    )


def verdict(table: Table, row: MethodRow) -> str:
    """The verdict, or why there is none where the status does not say it."""
    if row.verdict is not None:
        return row.verdict
    if row.role in ("control", "outputs"):
        return row.role
    lacks = table.setting.null_by and row.role == "method" and not row.degenerate and row.versus_control is None
    return "no control" if lacks else ""


def labels(cost: Cost) -> str:
    """The labels that were bought, those of other groups behind a plus."""
    return f"{cost.labels:g}" + (f" + {cost.auxiliary_labels:g}" if cost.auxiliary_labels else "")


def other_metrics(table: Table) -> list[str]:
    """The metrics beside the main one."""
    return sorted({name for row in table.rows for name in row.metrics} - {table.setting.main_metric})
