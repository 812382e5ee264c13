from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import (
    ChooseRequest,
    Completion,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    Message,
    Pair,
    Preference,
    PreferRequest,
    user,
)
from harness.lm.backends.hf import HfEngine
from harness.lm.language_model import ModelAligned, demonstrations
from harness.lm.resumable import resumable
from harness.meter import FlopModel, Meter


class Counting:
    """An Aligned with made-up answers that counts what it is asked and can break on a given request."""

    tokenizer = None
    max_length = 64

    def __init__(self, meter: Meter, breaks_at: int | None = None) -> None:
        self.meter, self.asked, self.breaks_at = meter, 0, breaks_at

    def _count(self, requests: Sequence[Any]) -> None:
        self.asked += len(requests)
        if self.breaks_at is not None and self.asked >= self.breaks_at:
            raise KeyboardInterrupt
        self.meter.forward(tokens=len(requests), positions=len(requests), keys=1)

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        self._count(requests)
        return [Loglik(-math.pi * r.context[0] / 7, len(r.continuation), r.context[0] % 2 == 0) for r in requests]

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        self._count(requests)
        return [Preference(0.1 + 0.2, (-1 / 3, 2), (-2 / 3, 3)) for _ in requests]

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        self._count(requests)
        return [[Completion("x", (1, 2), "stop")] for _ in requests]

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        self._count(requests)
        return [[-0.1, -0.3] for _ in requests]


def make_meter() -> Meter:
    meter = Meter()
    meter.attach(FlopModel(body=10, head=1, layers=1, attention_width=1))
    return meter


def ask(model: Any) -> tuple[Any, ...]:
    logliks = [LoglikRequest((i,), (1, 2)) for i in range(20)]
    prompts = [PreferRequest(user(str(i)), "a", "b") for i in range(5)]
    generate = model.generate([GenerateRequest("x", 4)])
    choose = model.choose([ChooseRequest(user("q"), ("A", "B"), ("x", "y"))])
    return model.loglik(logliks), model.prefer(prompts), generate, choose


def test_an_interrupted_evaluation_goes_on_and_equals_an_undisturbed_one(tmp_path: Path) -> None:
    calm_meter = make_meter()
    calm = ask(resumable(Counting(calm_meter), tmp_path / "calm.jsonl", calm_meter, batch=4))
    meter = make_meter()
    with pytest.raises(KeyboardInterrupt):
        ask(resumable(Counting(meter, breaks_at=11), tmp_path / "a.jsonl", meter, batch=4))
    meter = make_meter()
    inner = Counting(meter)
    assert ask(resumable(inner, tmp_path / "a.jsonl", meter, batch=4)) == calm
    assert meter.spend == calm_meter.spend
    assert inner.asked < 27


def test_a_line_cut_short_by_a_crash_is_done_again(tmp_path: Path) -> None:
    log, meter = tmp_path / "a.jsonl", make_meter()
    whole = ask(resumable(Counting(meter), log, meter, batch=4))
    log.write_bytes(log.read_bytes()[:-10])
    assert ask(resumable(Counting(meter), log, meter, batch=4)) == whole


def test_what_stands_behind_a_damaged_line_is_done_again(tmp_path: Path) -> None:
    """A machine that lost its power leaves zeros, or a block that was never written."""
    log, meter = tmp_path / "a.jsonl", make_meter()
    whole = ask(resumable(Counting(meter), log, meter, batch=4))
    lines = log.read_bytes().splitlines(keepends=True)
    for damage in (b"\0" * 40 + b"\n", b"7\n", b'["key"]\n'):
        log.write_bytes(b"".join([*lines[:2], damage, *lines[3:]]))
        assert ask(resumable(Counting(meter), log, meter, batch=4)) == whole
        assert len(log.read_bytes().splitlines()) == len(lines)


def test_a_whole_line_with_another_figure_is_done_again(tmp_path: Path) -> None:
    """One flipped bit leaves JSON of the right form."""
    log, meter = tmp_path / "a.jsonl", make_meter()
    whole = ask(resumable(Counting(meter), log, meter, batch=4))
    before = log.read_bytes()
    lines = before.splitlines(keepends=True)
    place = next(i for i in range(lines[1].index(b"[[") + 2, len(lines[1])) if lines[1][i : i + 1].isdigit())
    lines[1] = lines[1][:place] + bytes([lines[1][place] ^ 1]) + lines[1][place + 1 :]
    log.write_bytes(b"".join(lines))
    inner = Counting(make_meter())
    assert ask(resumable(inner, log, inner.meter, batch=4)) == whole
    assert 0 < inner.asked < 27
    assert len(log.read_bytes().splitlines()) == len(lines)


def test_other_requests_do_not_get_logged_answers(tmp_path: Path) -> None:
    meter = make_meter()
    first = resumable(Counting(meter), tmp_path / "a.jsonl", meter).loglik([LoglikRequest((1,), (2,))])
    second = resumable(Counting(meter), tmp_path / "a.jsonl", meter).loglik([LoglikRequest((3,), (2,))])
    assert first != second


@pytest.fixture(scope="module")
def plain() -> ModelAligned:
    return ModelAligned(HfEngine(tiny_model(), tiny_tokenizer()), 128, 64)


SHOT = Pair("s", (Message("system", "be short"), Message("user", "what is red?")), "a colour", "a dog")


def test_every_sampled_token_is_counted_also_those_of_samples_that_are_thrown_away(
    plain: ModelAligned, tmp_path: Path
) -> None:
    meter = Meter()
    model = replace(plain, meter=meter)

    class Shortest:
        """Gives the shortest of three."""

        def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
            samples = model.generate([replace(request, n=3, temperature=1.0) for request in requests])
            drawn.extend(len(one.ids) for row in samples for one in row)
            return [[min(row, key=lambda one: len(one.ids))] for row in samples]

    drawn: list[int] = []
    given = resumable(Shortest(), tmp_path / "a.jsonl", meter).generate([GenerateRequest("a b", 8)] * 2)
    assert meter.spend.generated_tokens == sum(drawn) > sum(len(one.ids) for row in given for one in row)
    again = Meter()
    resumable(Shortest(), tmp_path / "a.jsonl", again).generate([GenerateRequest("a b", 8)] * 2)
    assert again.spend.generated_tokens == sum(drawn), "also where the answers come from the log"


def test_work_outside_the_model_is_counted_on_the_meter_where_there_is_one(plain: ModelAligned) -> None:
    meter = Meter()
    replace(plain, meter=meter).spend(5.0)
    plain.spend(7.0)
    assert meter.spend.flops == 5.0


def test_prefer_is_the_sigmoid_of_the_summed_margin(plain: ModelAligned) -> None:
    (found,) = plain.prefer([PreferRequest(user("what is blue?"), "a colour", "a long story about dogs")])
    margin = found.a[0] - found.b[0]
    assert found.p_a == pytest.approx(1 / (1 + math.exp(-margin)))
    assert found.a[1] < found.b[1]


def test_choose_is_normalised(plain: ModelAligned) -> None:
    (found,) = plain.choose([ChooseRequest(user("which?"), ("A", "B", "C"), ("x", "y", "z"))])
    assert sum(map(math.exp, found)) == pytest.approx(1.0)


def test_demonstrations_change_every_answer_and_survive_saving(plain: ModelAligned, tmp_path: Path) -> None:
    shown = ModelAligned(plain.engine, 128, 64, (SHOT,))
    request = PreferRequest(user("what is blue?"), "a colour", "a dog")
    assert shown.prefer([request]) != plain.prefer([request])
    ids = tuple(plain.tokenizer.encode("what is blue?"))
    assert shown.loglik([LoglikRequest(ids, (5,))]) != plain.loglik([LoglikRequest(ids, (5,))])
    assert shown.generate([GenerateRequest(user("x"), 3)]) is not None
    shown.save(tmp_path)
    assert demonstrations(tmp_path) == (SHOT,)


def test_demonstrations_come_after_the_system_message(plain: ModelAligned) -> None:
    shown = ModelAligned(plain.engine, 128, 64, (SHOT,))
    turns = shown.with_demonstrations((Message("system", "s"), Message("user", "q")))
    assert [m.role for m in turns] == ["system", "user", "assistant", "user"]
    assert turns[2].content == "a colour"
