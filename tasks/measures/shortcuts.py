"""What can be told from a pool's pairs without reading them: control classifiers for preference accuracy.

Both fit a logistic regression on the difference of two answers' features, phi(a) - phi(b), without intercept and with
every pair in both orders, so P(a better) = 1 - P(b better) and a constant answer scores one half. A score well above
0.5 says that a preference metric on these pairs can be had without understanding them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.contracts import Pair

CHANCE = 0.5
MIN_PAIRS = 2
"""Fewer training pairs than this fit nothing; the controls then say chance."""


def length_only(train: Sequence[Pair], test: Sequence[Pair]) -> float:
    """Held-out accuracy of a classifier that sees only how many characters and words each answer has.

    Returns a value in [0, 1], ties counted 0.5; exactly 0.5 with fewer than two training pairs or no test pair, for
    then nothing was learned or nothing asked.
    """
    if not _enough(train, test):
        return CHANCE
    return _accuracy(_length_differences(train), _length_differences(test))


def bag_of_words(train: Sequence[Pair], test: Sequence[Pair]) -> float:
    """Held-out accuracy of a classifier that sees only which words each answer uses, and how often.

    The vocabulary is that of the training answers. Same range and degenerate cases as `length_only`.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    if not _enough(train, test):
        return CHANCE
    vectorizer = CountVectorizer(token_pattern=r"(?u)\w+")
    try:
        vectorizer.fit([answer for pair in train for answer in (pair.chosen, pair.rejected)])
    except ValueError:  # no training answer holds a word
        return CHANCE

    def differences(pairs: Sequence[Pair]) -> Any:
        chosen, rejected = ([getattr(pair, side) for pair in pairs] for side in ("chosen", "rejected"))
        return vectorizer.transform(chosen) - vectorizer.transform(rejected)

    return _accuracy(differences(train), differences(test))


def _enough(train: Sequence[Pair], test: Sequence[Pair]) -> bool:
    return len(train) >= MIN_PAIRS and len(test) > 0


def _length_differences(pairs: Sequence[Pair]) -> Any:
    """Characters and words of the chosen answer less those of the rejected one, shape (pairs, 2)."""
    import numpy as np

    lengths = [
        (len(pair.chosen) - len(pair.rejected), len(pair.chosen.split()) - len(pair.rejected.split())) for pair in pairs
    ]
    return np.array(lengths, dtype=np.float64)


def _accuracy(train: Any, test: Any) -> float:
    """Fit on chosen-minus-rejected rows in both orders, and say how often the chosen side of `test` scores higher."""
    import numpy as np
    from scipy.sparse import csr_matrix, vstack
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import MaxAbsScaler

    both: Any = vstack([csr_matrix(train), -csr_matrix(train)]).tocsr()
    labels = np.repeat([1, 0], both.shape[0] // 2)
    scaler = MaxAbsScaler().fit(both)  # scales without centring: the two orders stay mirror images
    model = LogisticRegression(fit_intercept=False, max_iter=1000).fit(scaler.transform(both), labels)
    margins = model.decision_function(scaler.transform(csr_matrix(test)))
    return float(np.mean(np.where(margins == 0, CHANCE, margins > 0)))
