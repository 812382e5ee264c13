"""What pools say of their answers' final part is what the answers hold."""

from __future__ import annotations

from statistics import fmean

import pytest

from harness.contracts import DatasetAbsent, DeclaresSpans, Pair
from harness.data.sources import open_source
from harness.methods.spans import marker_pattern
from harness.plugins.registry import load

pytestmark = pytest.mark.core
REGISTRY = load(plugins=False)


def shipped(name: str) -> tuple[list[Pair], str]:
    """The pool's pairs in the shipped sample, and what it declares. Skips where the sample has none."""
    pool = REGISTRY.pool(name)()
    try:
        pairs = list(pool.pairs(open_source("sample", pool.dataset)))
    except DatasetAbsent:
        pairs = []
    if not pairs:
        pytest.skip(f"the sample holds no pairs of {name}")
    return pairs, pool.spans if isinstance(pool, DeclaresSpans) else "marker"


@pytest.mark.parametrize("name", sorted(REGISTRY.pools))
def test_a_pool_whose_answers_carry_no_marker_says_so(name: str) -> None:
    pairs, declared = shipped(name)
    pattern = marker_pattern("Final Answer")
    carrying = fmean(pattern.search(pair.chosen) is not None for pair in pairs)
    assert declared == ("marker" if carrying > 0.8 else "positional")
    assert carrying in (0, 1), "a pool is one or the other"
