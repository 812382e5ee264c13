"""Ridge regression, and its penalty."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.opinions.ridge import PENALTIES, best_penalty, ridge, ridge_without_each

pytestmark = pytest.mark.core


def regression(rows: int = 24, width: int = 40) -> tuple[Any, Any, list[slice]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, width))
    return x, x[:, 0] * 0.3 + 0.1 * rng.normal(size=rows), [slice(start, start + 3) for start in range(0, rows, 3)]


def test_ridge_solves_its_normal_equations() -> None:
    x, y, _ = regression()
    w = ridge(x, y, 0.1)
    penalty = 0.1 * (x**2).sum(1).mean()
    assert np.allclose(x.T @ (y - x @ w), penalty * w)


def test_leaving_a_question_out_in_closed_form_is_leaving_it_out() -> None:
    x, y, blocks = regression()
    size = (x**2).sum(1).mean()
    found = ridge_without_each(x, y, blocks, 0.1)
    for rows in (blocks[0], blocks[5]):
        # The penalty is in units of the mean squared row: rescale it to that of all rows.
        kept = np.delete(x, rows, axis=0)
        w = ridge(kept, np.delete(y, rows), 0.1 * size / (kept**2).sum(1).mean())
        assert np.allclose(found[rows], x[rows] @ w)


def test_the_penalty_follows_the_signal() -> None:
    x, _, blocks = regression(90, 4)
    rng = np.random.default_rng(1)
    signal, noise = x @ np.array([1.0, -1.0, 0.5, 0.0]), rng.normal(size=90)
    assert best_penalty([(x, signal, blocks)]) == PENALTIES[0]
    assert best_penalty([(x, np.zeros(90), blocks)]) == PENALTIES[-1]
    assert best_penalty([(x, noise, blocks)]) > best_penalty([(x, signal, blocks)])
