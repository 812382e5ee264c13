from __future__ import annotations

from typing import Any

import pytest

from harness.config import RunConfig
from harness.contracts import HarnessError
from harness.plugins.registry import load
from harness.run.dividing import divides, refuse_undivided

pytestmark = pytest.mark.core

DIVIDE = {"sft", "dpo", "ipo", "simpo", "kto", "random", "best_of_n"}


def asked(aligner: str = "sft", **changes: Any) -> RunConfig:
    return RunConfig.model_validate({"aligner": aligner, "task": "medqa", "processes": 2, **changes})


def test_which_methods_divide_their_batches() -> None:
    registry = load(plugins=False)
    assert {name for name, aligner in registry.aligners.items() if divides(aligner)} == DIVIDE


@pytest.mark.parametrize(
    ("config", "gpus", "why"),
    [
        (
            asked("gem"),
            None,
            "processes is 2, and aligner gem fits in one process; these divide: best_of_n, dpo, ",
        ),
        (asked("irpo"), None, "aligner irpo fits in one process"),
        (
            asked(budget={"labels": 8, "track": "labels+compute", "cap_flops": 1e12}),
            None,
            "--cap-flops needs a fit",
        ),
        (asked(budget={"labels": 8, "tune": 2}), None, "--tune needs a fit in one process"),
        (asked(), 1, "one for each GPU, and this machine has 1; take 1 or fewer"),
    ],
)
def test_what_several_processes_cannot_fit_is_refused(config: RunConfig, gpus: int | None, why: str) -> None:
    registry = load(plugins=False)
    with pytest.raises(HarnessError, match=why):
        refuse_undivided(config, registry.aligner(config.aligner), registry, gpus=gpus)
    alone = config.model_copy(update={"processes": 1})
    refuse_undivided(alone, registry.aligner(config.aligner), registry, gpus=gpus)


def test_what_they_can_fit_goes_on() -> None:
    registry = load(plugins=False)
    for gpus in (None, 2, 8):
        refuse_undivided(asked(), registry.aligner("sft"), registry, gpus=gpus)
