"""What a fit will cost: the formula that a method's page states, as code, over the lengths of its texts.

No run imports this package, so that a better formula changes no run's identity. A method of this repository has its
formula in `aligners/costs.py`; a third party's has a method `cost(sizes)` (`StatesCost`).
"""

from harness.costs.work import FitWork, PairTokens, Passes, Sizes, StatesCost, sampling, tree

__all__ = ["FitWork", "PairTokens", "Passes", "Sizes", "StatesCost", "sampling", "tree"]
