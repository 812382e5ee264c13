"""What would the win rate be if both answers were equally long? AlpacaEval's length-controlled win rate.

The fit is the alpaca_eval package's own: its formulas, its design matrices, its choice of the penalty, see
`alpaca_eval.metrics.glm_winrate`. Per instruction x, with y = P(model better), z the two answers' difference in
characters (baseline less model) in units of its standard deviation, and d the instruction's difficulty:

    logit P(y = 1 | x) = a tanh(z) + b d + c            L1-penalised, weighted
    length-controlled win rate = mean over x of sigmoid(b d + c)

The package's `length_controlled_v1` also gives weight 0.2 to two rewritings of the baseline itself, one concise and one
verbose (`df_gamed.csv`), so that `a` is not the model's alone. Without that file there is neither d nor that weight:
`length_controlled_minimal`, logit P = a tanh(z) + c.

This module differs from the package in what surrounds the fit: it downloads nothing, writes nothing into the installed
package, and gives an interval over instructions. The package's `lc_standard_error` is the spread of the predictions
over instructions, which says nothing of how the fit would differ on other instructions.

Dubois et al. 2024, "Length-Controlled AlpacaEval", arXiv:2404.04475.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.contracts import HarnessError, Whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 200
"""Bootstrap resamples: each is a whole fit, 0.06 to 0.1 s on one core (docs/tasks/alpaca_eval.md)."""
SEED = 0
"""Of the bootstrap: the same rows give the same interval."""
LEAST = 10
"""Fewer rows than this leave less than two for each of the package's five folds."""
CERTAIN = 1e-12
"""Verdicts keep this distance from 0 and 1: rows of weight 0 would drop out of the package's fit, and where every
row of one label does, liblinear's probabilities come out the wrong way round."""
_COLUMNS = ("index", "std_delta_len", "instruction_difficulty", "preference")


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Judged instructions; three sequences of one length N."""

    preferences: Sequence[float]
    """P(model better), 0 to 1."""
    deltas: Sequence[float]
    """Characters of the baseline's answer less those of the model's."""
    positions: Sequence[int]
    """Places of the instructions in the data set: what `df_gamed.csv` calls `index`."""


@dataclass(frozen=True, slots=True)
class Gamed:
    """Rows of `df_gamed.csv`: the baseline's rewritings against the baseline itself; columns of one length."""

    index: tuple[int, ...]
    std_delta_len: tuple[float, ...]
    instruction_difficulty: tuple[float, ...]
    preference: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Design:
    """What the package fits and predicts on; M training rows, of which the last N are the model's own."""

    train: Any
    """DataFrame (M, features + preference)."""
    test: Any
    """DataFrame (N, features): the same instructions at equal length."""
    weights: Floats
    owner: NDArray[np.int64]
    """Which of the N instructions each training row belongs to."""
    folds: int


def read_gamed(rows: Sequence[Mapping[str, Any]]) -> Gamed:
    """The columns of `df_gamed.csv` from its rows. Raises HarnessError for a row that lacks one or holds no number."""
    read: list[tuple[float, ...]] = []
    for number, row in enumerate(rows, start=1):
        try:
            read.append(tuple(float(row[name]) for name in _COLUMNS))
        except (KeyError, TypeError, ValueError) as error:
            raise HarnessError(f"df_gamed row {number} is malformed: numbers {', '.join(_COLUMNS)} expected") from error
    index, *others = zip(*read, strict=True)
    return Gamed(tuple(int(place) for place in index), *others)


def length_controlled(
    comparisons: Comparisons,
    gamed: Gamed | None,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Whole | None:
    """The length-controlled win rate, 0 to 1, with a percentile bootstrap interval over instructions.

    A resample draws instructions with everything that belongs to them (the rewritings' rows too) and does the whole
    fit again, the choice of the penalty included; the unit of length stays that of all rows. None below `LEAST` rows,
    and where all answers differ from the baseline's by the same number of characters but not by none: length and
    quality cannot be told apart then. Raises HarnessError naming an instruction that `gamed` lacks.
    """
    import numpy as np

    n, deltas = len(comparisons.deltas), set(comparisons.deltas)
    if n < LEAST or (len(deltas) == 1 and deltas != {0}):
        return None
    if set(comparisons.preferences) == {0.5}:  # as of the baseline against itself, which the package does not fit
        return Whole(0.5, (0.5, 0.5), n)
    with _package() as glm:
        design = _design(glm, comparisons, gamed)
        value = _win_rate(glm, design, np.ones(n))
        rng, found = np.random.default_rng(seed), []
        for done in range(resamples):
            progress("length control", done, resamples)
            found.append(_win_rate(glm, design, rng.multinomial(n, np.full(n, 1 / n)).astype(np.float64)))
    progress("length control", resamples, resamples)
    low, high = np.quantile(found, [0.025, 0.975]) if found else (value, value)
    return Whole(value, (min(float(low), value), max(float(high), value)), n)


def require_package() -> None:
    """Raise HarnessError where alpaca_eval cannot be imported: before hours of answers, not after them."""
    with _package():
        pass


@contextmanager
def _package() -> Iterator[ModuleType]:
    """The package's module of the fit; scikit-learn's settings, which the package changes, are put back afterwards."""
    import sklearn

    with warnings.catch_warnings(), sklearn.config_context():
        warnings.simplefilter("ignore")  # pkg_resources and old names in scikit-learn: nothing that a user could change
        try:
            from alpaca_eval.metrics import glm_winrate
        except ImportError as error:
            raise HarnessError(
                f"the alpaca_eval package cannot be imported ({error}); install alpaca-eval>=0.6.6 and setuptools<81"
            ) from error
        yield glm_winrate


def _design(glm: ModuleType, comparisons: Comparisons, gamed: Gamed | None) -> _Design:
    """The package's featurisation, on rows at hand; the rewritings of instructions that were not judged stay out."""
    import numpy as np
    import pandas as pd

    info = glm.GLM_INFO["length_controlled_minimal" if gamed is None else "length_controlled_v1"]
    own = _own_rows(comparisons, gamed)
    extra = pd.DataFrame() if gamed is None else _gamed_rows(gamed, comparisons.positions)
    rows = pd.concat([extra, own], axis=0)
    test = own.assign(std_delta_len=0.0)
    train, at_equal_length = glm.make_dmatrix_for_model(rows, test, formula=info["formula"])
    share = (info["regularize_to_baseline_lambda"] or 0.0) / 2  # there are two rewritings
    place = {position: number for number, position in enumerate(comparisons.positions)}
    return _Design(
        train=train,
        test=at_equal_length,
        weights=np.repeat([share, 1.0], [len(extra), len(own)]),
        owner=np.array([place[position] for position in rows["index"]]),
        folds=info["kwargs"]["n_splits"],
    )


def _own_rows(comparisons: Comparisons, gamed: Gamed | None) -> Any:
    import numpy as np
    import pandas as pd

    deltas = pd.Series(comparisons.deltas, dtype=np.float64)
    return pd.DataFrame(
        {
            "index": list(comparisons.positions),
            "preference": np.clip(comparisons.preferences, CERTAIN, 1 - CERTAIN),
            "std_delta_len": deltas / (deltas.std() or 1.0),
            "instruction_difficulty": 0.0 if gamed is None else _difficulties(gamed, comparisons.positions),
            "not_gamed_baseline": True,
        }
    )


def _difficulties(gamed: Gamed, positions: Sequence[int]) -> list[float]:
    known = dict(zip(gamed.index, gamed.instruction_difficulty, strict=True))
    missing = [position for position in positions if position not in known]
    if missing:
        raise HarnessError(f"df_gamed has no difficulty of instruction {missing[0]} ({len(missing)} are missing)")
    return [known[position] for position in positions]


def _gamed_rows(gamed: Gamed, positions: Sequence[int]) -> Any:
    import pandas as pd

    columns = {name: list(getattr(gamed, name)) for name in _COLUMNS}
    rows = pd.DataFrame({**columns, "not_gamed_baseline": False})
    return rows[rows["index"].isin(list(positions))]


def _win_rate(glm: ModuleType, design: _Design, counts: Floats) -> float:
    """Fit with every instruction `counts` times, shape (N,), and predict it as often at equal length."""
    import numpy as np

    weights = design.weights * counts[design.owner]
    kept = weights > 0
    model = glm.fit_LogisticRegressionCV(
        design.train[kept], "preference", n_splits=design.folds, sample_weight=weights[kept]
    )
    return float(np.average(model.predict_proba(design.test)[:, 1], weights=counts))
