"""What a fit will cost: the formula that a method's page states, as code, over the lengths of its texts.

No run imports this package, so that a better formula changes no run's identity. A method of this repository has its
formula in `aligners/costs.py`; a third party's has a method `cost(sizes)` (`StatesCost`).
So it is with the work of answers about groups (`aligners/opinion_costs.py`, `StatesAnswerCost`).
"""

from harness.costs.work import (
    AskedOfGroups,
    FitWork,
    PairTokens,
    Passes,
    Sizes,
    StatesAnswerCost,
    StatesCost,
    sampling,
    tree,
)

__all__ = [
    "AskedOfGroups",
    "FitWork",
    "PairTokens",
    "Passes",
    "Sizes",
    "StatesAnswerCost",
    "StatesCost",
    "sampling",
    "tree",
]
