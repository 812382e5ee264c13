"""The harness's own checks, on each of the plug-ins.

The checks of a kit share what is computed for them, so pytest-xdist is told to keep each kit in one process.
"""

import pytest
from harness_examples.by_command import ByCommand
from harness_examples.nll_margin import NllMargin
from harness_examples.plain import Plain
from harness_examples.shorter import Shorter
from harness_examples.sums_in_words import SumsInWords
from harness_examples.unseen_sums import UnseenSums

from harness.conformance import parametrize_with_checks
from harness.conformance.backends import parametrize_backends_with_checks
from harness.conformance.executors import parametrize_executors_with_checks
from harness.conformance.judges import parametrize_judges_with_checks
from harness.conformance.pools import parametrize_pools_with_checks
from harness.conformance.tasks import parametrize_tasks_with_checks
from harness.data.sources import SampleSource

SOURCE = SampleSource()


@pytest.mark.xdist_group("aligner")
@parametrize_with_checks([NllMargin])
def test_the_aligner(check):
    check()


@pytest.mark.xdist_group("pool")
@parametrize_pools_with_checks([SumsInWords], SOURCE)
def test_the_pool(check):
    check()


@pytest.mark.xdist_group("task")
@parametrize_tasks_with_checks([UnseenSums], SOURCE, pool=SumsInWords())
def test_the_task(check):
    check()


@pytest.mark.xdist_group("judge")
@parametrize_judges_with_checks([Shorter], expected_failures={"positive_control": "length is not what makes it right"})
def test_the_judge(check):
    check()


@pytest.mark.xdist_group("backend")
@parametrize_backends_with_checks([Plain])
def test_the_backend(check):
    check()


@pytest.mark.xdist_group("executor")
@parametrize_executors_with_checks({"by_command": (ByCommand, {"command": "nice -n 1"})})
def test_the_executor(check):
    check()
