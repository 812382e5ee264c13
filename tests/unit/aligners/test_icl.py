"""Demonstrations under the lengths that every method shares, in any model's window."""

from __future__ import annotations

from pathlib import Path

import pytest

from aligners.icl import Icl, IclConfig, last_turns
from harness.config import Lora
from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import FewShot, Message, Pair, user
from harness.fit.bench import LocalBench
from harness.fit.fitting import Fitted, fit
from harness.meter import Meter
from tests.tiny import flat_regime

LONG = "The sea is wide and blue. " * 12
PAIRS = tuple(Pair(str(i), user(f"Tell me of the sea, {i}.", system="Be brief."), LONG, "No.") for i in range(6))


def make_bench(folder: Path, *, prompt: int = 48, completion: int = 32, window: int | None = None) -> LocalBench:
    regime = flat_regime(2, 4, "last", prompt, completion, 16, 2, "cpu", "fp32")
    bench = LocalBench.create(
        tiny_model(), tiny_tokenizer(), regime=regime, meter=Meter(), seed=0, workdir=folder, lora=Lora(r=4, alpha=8)
    )
    if window is not None:
        bench.engine._max_length = window
    return bench


def shown(bench: LocalBench, shots: int = 8) -> tuple[Fitted, tuple[Pair, ...]]:
    done = fit(Icl(IclConfig(shots=shots)), bench, FewShot(pairs=PAIRS))
    return done, done.aligned.demonstrations  # type: ignore[attr-defined]


def test_a_demonstration_holds_no_more_of_an_answer_than_training_sees(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    done, demonstrations = shown(bench)
    assert len(demonstrations) == 6 == done.liveness["demonstrations"]
    for one in demonstrations:
        assert len(bench.tokenizer(one.chosen, add_special_tokens=False)["input_ids"]) <= 32
        assert LONG.startswith(one.chosen)
    whole = make_bench(tmp_path / "whole", completion=400)
    assert all(one.chosen == LONG for one in shown(whole)[1])


def test_the_window_holds_what_is_said_to_be_shown(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, window=300)
    done, demonstrations = shown(bench)
    assert 0 < len(demonstrations) < 6
    assert done.liveness["demonstrations"] == len(demonstrations)
    rendered = bench.tokenizer.decode(done.aligned.render(user("And of the hill?", system="Be brief.")))  # type: ignore[attr-defined]
    assert "Be brief." in rendered, "nothing was cut off in front"
    assert [f"sea, {i}." in rendered for i in range(6)] == [i < len(demonstrations) for i in range(6)]


def test_a_window_without_room_for_one_is_said(tmp_path: Path) -> None:
    done, demonstrations = shown(make_bench(tmp_path, window=90))
    assert demonstrations == ()
    assert done.status == "degenerate"
    assert "no demonstration" in str(done.reason)


@pytest.mark.parametrize("room", [4, 12, 48])
def test_a_long_question_keeps_its_end_and_begins_with_the_user(tmp_path: Path, room: int) -> None:
    bench = make_bench(tmp_path, prompt=room)
    turns = (*user("One? " * 8), Message("assistant", "Two. " * 8), *user("And three?"))
    kept = last_turns(bench, turns)
    assert kept[0].role == kept[-1].role == "user"
    assert "And three?".endswith(kept[-1].content.strip())
    assert sum(len(bench.tokenizer(m.content, add_special_tokens=False)["input_ids"]) for m in kept) <= room
