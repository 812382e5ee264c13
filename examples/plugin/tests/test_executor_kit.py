"""The harness's own checks on the executor: a file of its own, so that they run beside the other kits."""

from harness_examples.by_command import ByCommand

from harness.conformance.executors import parametrize_executors_with_checks


@parametrize_executors_with_checks({"by_command": (ByCommand, {"command": "nice -n 1"})})
def test_the_executor(check):
    check()
