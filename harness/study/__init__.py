"""Studies: several cells that belong together, what they will cost and what they could show.

from harness.study import Study

study = Study.load("study.yaml")
outcome = study.run()
study.frame()                 # one row for each record, as a pandas.DataFrame
print(study.report().markdown())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.study.api import Study

__all__ = ["Study"]


def __getattr__(name: str) -> Any:
    """`Study`, imported when it is asked for: plug-ins of this package are loaded without it."""
    if name == "Study":
        from harness.study.api import Study

        return Study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
