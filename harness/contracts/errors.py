"""What goes wrong in ways that the harness knows."""

from __future__ import annotations


class HarnessError(Exception):
    """A mistake of the user's that one sentence can explain; the command line prints it and exits with 2."""


class NotHere(HarnessError):
    """What was asked for is no mistake, but this machine does not have it: a model, data of the hub, a key, a GPU."""


class SplitAbsent(HarnessError):
    """A source holds the data set, but not this split of it."""


class DatasetAbsent(HarnessError):
    """A source does not hold a data set at all; one that it holds in part or broken is a plain `HarnessError`."""


class BudgetExceeded(Exception):
    """The track's cap on compute was reached; the best adapter so far survives."""
