"""Ridge regression with a penalty chosen by leaving each question out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.opinions.questions import Floats


PENALTIES = tuple(10.0**power for power in range(-2, 9))
"""Penalties tried, in units of the mean squared length of a row; the largest is as good as no fit."""


LEAST_SHARE = 1e-3
"""Least share of an option in what groups are said to share, so that no logarithm runs away."""


def ridge(x: Floats, y: Floats, penalty: float) -> Floats:
    """argmin_w |y - x w|^2 + penalty s |w|^2, with s the mean squared row of x: (N, D), (N, K) -> (D, K)."""
    import numpy as np

    weights: Floats = x.T @ np.linalg.solve(x @ x.T + penalty * _size(x) * np.eye(len(x)), y)
    return weights


def ridge_without_each(x: Floats, y: Floats, blocks: Sequence[slice], penalty: float) -> Floats:
    """Predictions (N, K) for each block of rows by the fit without it, exact: y_B - (I - H_BB)^-1 (y - H y)_B."""
    import numpy as np

    kernel = x @ x.T
    hat = np.linalg.solve(kernel + penalty * _size(x) * np.eye(len(x)), kernel).T
    residual, found = y - hat @ y, np.empty_like(y)
    for rows in blocks:
        inner = np.eye(rows.stop - rows.start) - hat[rows, rows]
        found[rows] = y[rows] - np.linalg.solve(inner, residual[rows])
    return found


Part = tuple["Floats", "Floats", Sequence[slice]]
"""Rows (N, D), targets (N,) or (N, K), and the rows of each question."""


def best_penalty(parts: Sequence[Part]) -> float:
    """The penalty under which questions that are left out are predicted best; of equals, the largest.

    The squared error is summed over parts that are fitted apart.
    """

    def error(penalty: float) -> float:
        return sum(float(((ridge_without_each(x, y, blocks, penalty) - y) ** 2).sum()) for x, y, blocks in parts)

    return min(reversed(PENALTIES), key=error)


def _size(x: Floats) -> float:
    return max(float((x**2).sum(1).mean()), 1e-12)
