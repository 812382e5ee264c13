"""The harness's own checks, and that it finds this package."""

from nll_margin import NllMargin

from harness.conformance import parametrize_with_checks
from harness.plugins import registry


@parametrize_with_checks([NllMargin])
def test_conformance(check):
    check()


def test_the_harness_finds_it():
    found = registry.load(allow=["align-harness-nll-margin"])
    assert found.aligner("nll_margin") is NllMargin
    assert found.provenance["aligner:nll_margin"].startswith("align-harness-nll-margin ")
