"""Here every fit's process is forked from one that has imported torch, unless a test asks for a fresh interpreter."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from harness.run import launch
from tests.forked import Processes


@pytest.fixture(scope="package", autouse=True)
def forked_processes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "subprocess", Processes)
        yield


@pytest.fixture
def fresh_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits run in an interpreter of their own, as a user's do."""
    monkeypatch.setattr(launch, "subprocess", subprocess)
