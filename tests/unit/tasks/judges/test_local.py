"""The language model as judge, on the tiny model and on models that answer by a rule."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import (
    ChooseRequest,
    HarnessError,
    Judge,
    JudgeItem,
    JudgeTools,
    Loglik,
    LoglikRequest,
    Message,
    user,
)
from harness.lm.backends.hf import HfEngine
from harness.lm.language_model import ModelAligned
from tasks.judges import local
from tasks.judges.local import Local
from tasks.judges.prompts import IDENTIFIERS, TEMPLATE, comparison, conversation
from tests.tiny import offering


@cache
def tiny() -> ModelAligned:
    return ModelAligned(HfEngine(tiny_model(), tiny_tokenizer()), 1000, 256)


class Ruled(ModelAligned):
    """The tiny model's tokenizer, and a rule from the prompt's text to P(first letter)."""

    rule: Callable[[str], float]
    asked: list[LoglikRequest]

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        self.asked.extend(requests)
        return [self._one(request) for request in requests]

    def _one(self, request: LoglikRequest) -> Loglik:
        p = self.rule(self.tokenizer.decode(request.context))
        first = self.tokenizer.decode(request.continuation) == IDENTIFIERS[0]
        return Loglik(math.log(p if first else 1 - p) - 2.0, 1, False)


def ruled(rule: Callable[[str], float]) -> Any:
    model = Ruled(tiny().engine, 1000, 256)
    object.__setattr__(model, "rule", rule)
    object.__setattr__(model, "asked", [])
    return model


def judge(model: Any, made: type[Judge] = Local, told: list[tuple[str, int, int]] | None = None) -> Judge:
    names: list[str] = []

    def load(name: str) -> Any:
        names.append(name)
        return model

    opened = made().with_tools(  # type: ignore[attr-defined]
        JudgeTools(load, Path("unused"), lambda *event: told.append(event) if told is not None else None)
    )
    opened.names = names
    return opened  # type: ignore[no-any-return]


def item(a: str = "good", b: str = "bad", asked: str = "Say it.") -> JudgeItem:
    return JudgeItem("i", user(asked), a, b)


# ---------------------------------------------------------------- the rule


def test_both_orders_are_weighted_by_the_letters_and_averaged() -> None:
    model = tiny()
    (found,) = judge(model).compare([item()])
    requests = [
        ChooseRequest(comparison("Say it.", *shown), IDENTIFIERS, IDENTIFIERS)
        for shown in (("good", "bad"), ("bad", "good"))
    ]
    first, second = (list(map(math.exp, row)) for row in model.choose(requests))
    assert found.per_order == pytest.approx((first[0], second[1]), abs=1e-5)
    assert found.p_a == pytest.approx((first[0] + second[1]) / 2, abs=1e-5)
    assert found.tokens == sum(len(model.render(r.prompt)) + 1 for r in requests)
    assert (found.cost, found.status) == (0.0, "ok")
    assert json.loads(found.raw)["cut"] == ""


def test_a_liking_for_a_letter_cancels() -> None:
    (found,) = judge(ruled(lambda prompt: 0.9)).compare([item()])
    assert found.per_order == pytest.approx((0.9, 0.1))
    assert found.p_a == pytest.approx(0.5)


def test_an_opinion_about_the_answers_does_not() -> None:
    model = ruled(lambda prompt: 0.8 if prompt.index("good") < prompt.index("bad") else 0.3)
    (found, swapped) = judge(model).compare([item(), item("bad", "good")])
    assert found.per_order == pytest.approx((0.8, 0.7))
    assert found.p_a == pytest.approx(0.75)
    assert swapped.p_a == pytest.approx(0.25)


def test_a_model_without_a_probability_gives_no_verdict() -> None:
    model = ruled(lambda prompt: 0.5)
    object.__setattr__(model, "_one", lambda request: Loglik(math.nan, 1, False))
    (found,) = judge(model).compare([item()])
    assert (found.p_a, found.per_order, found.status) == (0.5, (), "the model gave no probability")


def test_the_prompt_holds_all_it_should() -> None:
    model = ruled(lambda prompt: 0.5)
    judge(model).compare([item("an {answer}", "another", "What is {this}?")])
    shown = model.tokenizer.decode(model.asked[0].context)
    assert all(text in shown for text in ("an {answer}", "another", "What is {this}?", "<|im_start|>assistant"))
    assert TEMPLATE.count("{") == 3


def test_a_conversation_is_shown_with_its_speakers() -> None:
    turns = (*user("Hello."), Message("assistant", "Hi!"), *user("Name a colour."))
    assert conversation(turns) == "User: Hello.\n\nAssistant: Hi!\n\nUser: Name a colour."
    assert conversation(user("Hello.")) == "Hello."


# ---------------------------------------------------------------- what is kept


def keeping(folder: Path, basis: str | None) -> tuple[Judge, Any]:
    model = ruled(lambda prompt: 0.8 if prompt.index("good") < prompt.index("bad") else 0.3)
    tools = JudgeTools(lambda name: model, folder, basis=lambda name: basis)
    return Local().with_tools(tools), model


def test_what_the_model_said_before_is_not_asked_again(tmp_path: Path) -> None:
    items = [item("good", f"bad {i}") for i in range(local.CHUNK + 1)]
    first, asked = keeping(tmp_path, "basis")
    verdicts = first.compare(items)
    assert len(asked.asked) == 4 * len(items)
    again, idle = keeping(tmp_path, "basis")
    assert again.compare(items) == verdicts
    assert idle.asked == []
    for basis, others in (("another", items), (None, items), ("basis", items[1:])):
        other, model = keeping(tmp_path, basis)
        other.compare(others)
        assert len(model.asked) == 4 * len(others), "another model, no basis, or other items together"


def test_what_was_kept_and_changed_is_asked_again(tmp_path: Path) -> None:
    first, _ = keeping(tmp_path, "basis")
    (verdict,) = first.compare([item()])
    (kept,) = tmp_path.iterdir()
    kept.write_text(kept.read_text().replace("-", "", 1))
    again, model = keeping(tmp_path, "basis")
    assert again.compare([item()]) == [verdict]
    assert len(model.asked) == 4


# ---------------------------------------------------------------- length


def lengths(model: Any) -> list[int]:
    return [len(request.context) for request in model.asked]


def test_long_answers_are_cut_to_the_same_length_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LONGEST", 700)
    model = ruled(lambda prompt: 0.5)
    (found,) = judge(model).compare([item("red " * 200, "blue " * 300)])
    assert max(lengths(model)) <= 699
    assert max(lengths(model)) > 680
    shown = model.tokenizer.decode(model.asked[0].context)
    kept = [len(model.tokenizer(word * shown.count(word))["input_ids"]) for word in ("red ", "blue ")]
    assert abs(kept[0] - kept[1]) <= 4
    assert shown.count(local.CUT) == 2
    assert json.loads(found.raw)["cut"].startswith("answers to ")


def test_a_short_answer_keeps_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LONGEST", 700)
    model = ruled(lambda prompt: 0.5)
    judge(model).compare([item("short and whole", "blue " * 300)])
    shown = model.tokenizer.decode(model.asked[0].context)
    assert "short and whole" in shown
    assert shown.count(local.CUT) == 1
    assert 680 < max(lengths(model)) <= 699


def test_a_long_instruction_loses_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LONGEST", 700)
    model = ruled(lambda prompt: 0.5)
    (found,) = judge(model).compare([item(asked="opening " + "filler " * 300 + "end?")])
    shown = model.tokenizer.decode(model.asked[0].context)
    assert "end?" in shown
    assert "opening" not in shown
    assert "good" in shown
    assert max(lengths(model)) <= 699
    assert "instruction to its last" in json.loads(found.raw)["cut"]


def test_a_model_that_is_too_short_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LONGEST", 150)
    with pytest.raises(HarnessError, match=r"template leaves .* at least 64"):
        judge(ruled(lambda prompt: 0.5)).compare([item()])


@pytest.mark.parametrize(
    ("lengths_", "excess", "kept"),
    [((100, 100), 20, 90), ((100, 30), 20, 80), ((100, 90), 100, 45), ((10, 10), 30, -5)],
)
def test_the_shorter_answer_loses_last(lengths_: tuple[int, int], excess: int, kept: int) -> None:
    assert local._level(lengths_, excess) == local._level(lengths_[::-1], excess) == kept


# ---------------------------------------------------------------- which model


def test_the_model_by_name_or_the_studys_own() -> None:
    for made, name in ((Local, ""), (Local.named("org/model"), "org/model")):
        opened: Any = judge(ruled(lambda prompt: 0.5), made)
        opened.compare([item()])
        opened.compare([item()])
        assert opened.names == [name]
    assert Local.named("org/model").name == "local:org/model"
    assert Local.named("x").named("y").name == "local:y"  # type: ignore[attr-defined]
    with pytest.raises(HarnessError, match="names no model"):
        Local.named(" ")


def test_without_tools_or_likelihood_there_is_no_judge() -> None:
    with pytest.raises(HarnessError, match="needs a model"):
        Local().compare([item()])
    assert Local().compare([]) == []

    with pytest.raises(HarnessError, match=r"judge local asks for loglik; .*choose"):
        judge(offering(ruled(lambda prompt: 0.5), "choose")).compare([item()])


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    items = [replace(item(), id=str(index)) for index in range(10)]
    judge(ruled(lambda prompt: 0.5), told=told).compare(items)
    assert told == [("judge local", 8, 10), ("judge local", 10, 10)]
