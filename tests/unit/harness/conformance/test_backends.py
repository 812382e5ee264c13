"""The backends' conformance kit: two engines that share nothing pass, and every broken one is caught."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import harness.conformance.backends as kit
from harness.conformance import Check, CheckFailed
from harness.conformance.backends import backend_checks, check_backend, parametrize_backends_with_checks
from harness.contracts import Backend, Completion, EngineCapability, Loglik, LoglikRequest, TokenScores
from harness.lm.backends.hf import HfBackend, HfEngine
from tests.table_backend import TableBackend, TableEngine


@parametrize_backends_with_checks([HfBackend, TableBackend])
def test_ours_keep_their_promises(check: Check) -> None:
    check()


def table(name: str, **methods: Any) -> type[Backend]:
    """A table backend with methods of its engine replaced."""
    engine = type(name, (TableEngine,), methods)
    return type(name, (TableBackend,), {"name": name, "engine": engine})


def hf(name: str, **methods: Any) -> type[Backend]:
    engine = type(name, (HfEngine,), methods)

    class Wrong(HfBackend):
        def open(self, files: Any, *, device: str, precision: str) -> Any:
            opened = super().open(files, device=device, precision=precision)
            return engine(opened.model, opened.tokenizer)

    return type(name, (Wrong,), {"name": name})


class Miscounted(TableBackend):
    name: ClassVar[str] = "miscounted"

    def open(self, files: Any, *, device: str, precision: str) -> Any:
        opened = super().open(files, device=device, precision=precision)
        opened.parameters += 1
        return opened


class Moody(TableBackend):
    """Other answers whenever it is opened."""

    name: ClassVar[str] = "moody"
    times: ClassVar[list[int]] = []

    def open(self, files: Any, *, device: str, precision: str) -> Any:
        opened = super().open(files, device=device, precision=precision)
        self.times.append(1)
        opened.table = np.roll(opened.table, len(self.times), axis=1)
        return opened


def unnormalised(self: Any, context: Sequence[int]) -> Any:
    return self.table[context[-1]] + 0.1


def averaged(self: Any, request: LoglikRequest) -> Loglik:
    found = TableEngine.one(self, request)
    return replace(found, total=found.total / found.tokens)


def ever_greedy(self: Any, request: LoglikRequest) -> Loglik:
    return replace(TableEngine.one(self, request), is_greedy=True)


def from_the_right(self: Any, request: LoglikRequest) -> tuple[int, ...]:
    TableEngine.clipped(self, request)
    return request.context[: self.max_length + 1 - len(request.continuation)]


def doubled(self: Any, prompt: Sequence[int], completion: Sequence[int], entropy: bool) -> TokenScores:
    found = TableEngine.scores(self, prompt, completion, entropy)
    return TokenScores(found.logprobs * 2, found.entropies)


def in_bits(self: Any, prompt: Sequence[int], completion: Sequence[int], entropy: bool) -> TokenScores:
    found = TableEngine.scores(self, prompt, completion, entropy)
    return TokenScores(found.logprobs, None if found.entropies is None else found.entropies / np.float32(np.log(2)))


def never_ends(self: Any, *arguments: Any) -> Completion:
    return replace(TableEngine.sample(self, *arguments), text="always this")


def global_state(self: Any, prompt: Any, temperature: float, most: int, stop: Any, seed: str) -> Completion:
    return TableEngine.sample(self, prompt, temperature, most, stop, f"{seed} {random.random()}")


def deaf_to_stops(self: Any, prompt: Any, temperature: float, most: int, stop: Any, seed: str) -> Completion:
    return TableEngine.sample(self, prompt, temperature, most, (), seed)


def crowded(self: Any, requests: Sequence[LoglikRequest]) -> list[Loglik]:
    found = TableEngine.loglik(self, requests)
    return [replace(one, total=one.total - 0.01 * (len(requests) == len(kit.CONTEXTS))) for one in found]


def stays(self: Any) -> None:
    """Drops nothing."""


def constant(self: Any, texts: Sequence[str], **how: Any) -> Any:
    return np.ones((len(texts), 4), dtype=np.float32)


def uncounted(self: Any, meter: Any) -> Any:
    return nullcontext()


BROKEN: dict[type[Backend], str] = {
    Miscounted: "opens",
    table("unnormalised", row=unnormalised): "likelihoods_sum_to_one",
    table("averaged", one=averaged): "likelihoods_add_up",
    table("ever_greedy", one=ever_greedy): "greedy_is_most_likely",
    table("from_the_right", clipped=from_the_right): "long_contexts_are_clipped",
    table("doubled", scores=doubled): "scores_agree",
    table("in_bits", scores=in_bits): "entropies_agree",
    table("one_text", sample=never_ends): "samples_are_whole",
    table("global_state", sample=global_state): "seed_decides",
    table("deaf", sample=deaf_to_stops): "stops_at_a_string",
    table("crowded", loglik=crowded): "alone_as_in_company",
    hf("clinging", drop=stays): "adapter",
    hf("constant", embed=constant): "embeddings",
    table("uncounted", metered=uncounted): "counts_what_it_reads",
    Moody: "opens_again",
}


@pytest.mark.parametrize(("backend", "check"), BROKEN.items(), ids=lambda value: getattr(value, "name", value))
def test_a_broken_backend_is_caught(backend: type[Backend], check: str) -> None:
    named = {one.name: one for one in backend_checks(backend)}
    with pytest.raises(CheckFailed, match=backend.name):
        named[check]()


def test_every_check_is_listed_says_what_it_finds_and_has_a_broken_backend() -> None:
    defined = [value for name, value in vars(kit).items() if name.startswith("check_") and name != "check_backend"]
    assert set(defined) == set(kit.CHECKS)
    assert all(check.__doc__ for check in kit.CHECKS)
    assert set(BROKEN.values()) == {check.name for check in backend_checks(TableBackend)}


def test_what_a_backend_does_not_declare_is_not_asked_for() -> None:
    class Silent(TableBackend):
        name: ClassVar[str] = "silent"
        capabilities: ClassVar[frozenset[EngineCapability]] = frozenset()

    assert {outcome.status for outcome in check_backend(Silent)} == {"passed", "skipped"}


def test_an_adapter_is_loaded_from_what_a_fit_saved(tmp_path: Path) -> None:
    assert kit._adapted(tmp_path, None) < 0
    assert (tmp_path / "adapter_model.safetensors").exists()
