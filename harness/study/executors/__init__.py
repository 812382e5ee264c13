"""What computes cells: processes of this machine, a Ray cluster, a Slurm cluster."""

from __future__ import annotations

from harness.contracts import Executor
from harness.hookspecs import hookimpl
from harness.study.executors.local import LocalExecutor
from harness.study.executors.ray import RayExecutor
from harness.study.executors.slurm import SlurmExecutor


@hookimpl
def harness_executors() -> list[type[Executor]]:
    """The executors that ship with the harness."""
    return [LocalExecutor, RayExecutor, SlurmExecutor]
