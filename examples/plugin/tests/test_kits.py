"""The harness's own checks, on each of the plug-ins but the executor (`test_executor_kit.py`)."""

from harness_examples.nll_margin import NllMargin
from harness_examples.plain import Plain
from harness_examples.shorter import Shorter
from harness_examples.sums_in_words import SumsInWords
from harness_examples.unseen_sums import UnseenSums

from harness.conformance import parametrize_with_checks
from harness.conformance.backends import parametrize_backends_with_checks
from harness.conformance.judges import parametrize_judges_with_checks
from harness.conformance.pools import parametrize_pools_with_checks
from harness.conformance.tasks import parametrize_tasks_with_checks
from harness.data.sources import SampleSource

SOURCE = SampleSource()


@parametrize_with_checks([NllMargin])
def test_the_aligner(check):
    check()


@parametrize_pools_with_checks([SumsInWords], SOURCE)
def test_the_pool(check):
    check()


@parametrize_tasks_with_checks([UnseenSums], SOURCE, pool=SumsInWords())
def test_the_task(check):
    check()


@parametrize_judges_with_checks([Shorter], expected_failures={"positive_control": "length is not what makes it right"})
def test_the_judge(check):
    check()


@parametrize_backends_with_checks([Plain])
def test_the_backend(check):
    check()
