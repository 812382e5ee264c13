"""Rows as other tools write them."""

from __future__ import annotations

import json

import pytest

from harness.contracts import HarnessError, SampleRow
from harness.records.exports import logged_samples, model_outputs
from tests.unit.harness.cli.test_cli import make_record

pytestmark = pytest.mark.core


def test_written_answers_are_alpaca_evals_model_outputs() -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "?"}, {"role": "user", "content": "B"}]
    rows = [
        SampleRow("a", "a", {}, {"instruction": "Say A", "output": "A", "baseline": "no"}),
        SampleRow("b", "b", {}, {"prompt": turns, "output": ""}),
        SampleRow("pair:c", "c", {}, {"prompt": turns, "chosen": "x", "rejected": "y"}),
    ]
    made = model_outputs(make_record(), rows)
    assert [(one["instruction"], one["output"]) for one in made] == [("Say A", "A"), ("B", "")]
    assert {one["generator"] for one in made} == {"gem-8-seed0"}


def test_a_run_without_written_answers_says_which_tasks_have_some() -> None:
    with pytest.raises(HarnessError, match="holds no written answers"):
        model_outputs(make_record(), [SampleRow("a", "a", {"x": 1.0}, {"prompt": "p"})])


def test_options_are_logged_with_their_likelihoods() -> None:
    options = [{"text": "A", "logprob": -1.5, "tokens": 1, "greedy": True}, {"text": "B", "logprob": -2.0, "tokens": 1}]
    [line] = logged_samples(
        make_record(),
        [SampleRow("q", "q", {"acc": 1.0}, {"prompt": "p", "options": options, "choice": "A", "gold": "B"})],
    )
    made = json.loads(line)
    assert made["resps"] == [[[-1.5, True]], [[-2.0, None]]]
    assert (made["filtered_resps"], made["target"], made["acc"], made["metrics"]) == (["A"], "B", 1.0, ["acc"])
