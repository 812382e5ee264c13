"""The executors that ship with the harness keep their contract."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest

from harness.conformance.executors import Kind, parametrize_executors_with_checks
from harness.study.executors.local import LocalExecutor
from harness.study.executors.ray import RayExecutor
from harness.study.executors.slurm import SlurmExecutor

pytestmark = pytest.mark.recipe

HERE: dict[str, Kind] = {"local": (LocalExecutor, {})}
if importlib.util.find_spec("submitit"):
    HERE |= {"slurm-local": (SlurmExecutor, {"cluster": "local"}), "slurm-debug": (SlurmExecutor, {"cluster": "debug"})}
if importlib.util.find_spec("ray"):
    HERE |= {"ray": (RayExecutor, {}), "ray-no-shared-disk": (RayExecutor, {"shared": False})}


@parametrize_executors_with_checks(HERE)
def test_conformance(check: Callable[[], str]) -> None:
    check()
