"""What computes cells: processes of this machine, a Ray cluster, a Slurm cluster."""

from __future__ import annotations

from harness.contracts import Executor
from harness.hookspecs import hookimpl
from harness.study.executors.local import Local
from harness.study.executors.ray import Ray
from harness.study.executors.slurm import Slurm


@hookimpl
def harness_executors() -> list[type[Executor]]:
    """The executors that ship with the harness."""
    return [Local, Ray, Slurm]
