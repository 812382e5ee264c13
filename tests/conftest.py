"""What holds for every test: no network, one thread; without torch, only files with core tests are imported.

The profile `thousand` of hypothesis generates 1,000 examples of every generated test."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
THREADS = int(os.environ["OMP_NUM_THREADS"])

settings.register_profile("thousand", max_examples=1_000, deadline=None)

LONGEST = ("test_study.py", "test_executors.py", "test_together.py", "test_tuning.py")
"""Files that begin first. Two processes share the tests; where long ones are left to the end, one of them waits."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, and otherwise the order that there was."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without torch, leave out test files that hold no core test: importing them may need it."""
    if importlib.util.find_spec("torch") is not None or not collection_path.name.startswith("test_"):
        return None
    return None if "mark.core" in collection_path.read_text(encoding="utf-8") else True


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """A run in this process leaves torch with the threads of its plan, and this sets them back.

    Two processes of tests with two threads each wait for one another: small operations took up to forty times as long.
    """
    yield
    if (torch := sys.modules.get("torch")) is not None and torch.get_num_threads() != THREADS:
        torch.set_num_threads(THREADS)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Processes that the test starts take an interrupt, even where a shell started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
