"""What the base model says of texts is computed once for all fits of a store, and never taken for something else."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from aligners.dpo import Dpo
from aligners.dpo_variants import Ipo
from aligners.kto import Kto
from harness.conformance import Lab, Trial
from harness.contracts import BASE, POLICY, Aligner
from harness.fit.shared import BaseCalls
from harness.lm.rows import Group
from harness.meter import Meter, Spend
from harness.run.identity import base_basis

pytestmark = pytest.mark.recipe

SECTION: Mapping[str, Any] = {
    "model": {"files": {"weights": "w", "tokenizer.json": "t", "chat_template.jinja": "c"}, "remote_code": False},
    "adapter": {"r": 8, "targets": "all-linear"},
    "lengths": {"prompt": 256},
    "machine": {"device": "cpu", "kind": "", "precision": "fp32", "threads": 1, "fast_paths": True, "python": "3.11"},
    "aligner": {"name": "dpo"},
    "backend": {"name": "hf"},
    "seeds": {"draw": 0},
    "code": {"harness": "h", "plug-ins": "p"},
    "libraries": {"torch": "2.13"},
}


def changed(path: str, value: object) -> dict[str, Any]:
    section: dict[str, Any] = copy.deepcopy(dict(SECTION))
    *parents, last = path.split("/")
    place = section
    for name in parents:
        place = place[name]
    place[last] = value
    return section


@pytest.mark.parametrize(
    ("what", "path", "value"),
    [
        ("model", "model/files/weights", "other"),
        ("tokenizer", "model/files/tokenizer.json", "other"),
        ("template", "model/files/chat_template.jinja", "other"),
        ("adapter", "adapter/r", 16),
        ("dtype and precision", "machine/precision", "bf16"),
        ("device", "machine/device", "cuda"),
        ("threads", "machine/threads", 2),
        ("fast paths", "machine/fast_paths", False),
        ("code version", "code/harness", "other"),
        ("libraries", "libraries/torch", "2.14"),
    ],
)
def test_nothing_is_shared_across_what_can_change_a_figure(what: str, path: str, value: object, tmp_path: Path) -> None:
    first, second = asked(tmp_path, SECTION), asked(tmp_path, changed(path, value))
    assert (first.calls, second.calls) == (1, 1), what
    assert second.shared.hits == 0


@pytest.mark.parametrize(("path", "value"), [("aligner/name", "ipo"), ("seeds/draw", 1), ("code/plug-ins", "other")])
def test_methods_and_seeds_share(path: str, value: object, tmp_path: Path) -> None:
    first, second = asked(tmp_path, SECTION), asked(tmp_path, changed(path, value))
    assert (first.calls, second.calls, second.shared.hits) == (1, 0, 1)
    assert second.spend == first.spend
    for one, other in zip(first.found[0], second.found[0], strict=True):
        assert np.array_equal(one.logprobs, other.logprobs)


def test_other_tokens_other_figures_and_other_adapters_are_computed(tmp_path: Path) -> None:
    """Few-shot ids are part of the tokens; a policy is never the base model."""
    asked(tmp_path, SECTION)
    assert asked(tmp_path, SECTION, prompt=(1, 2, 4)).calls == 1
    assert asked(tmp_path, SECTION, entropy=True).calls == 1
    assert asked(tmp_path, SECTION, of=POLICY).calls == 1
    assert asked(tmp_path, SECTION, of=POLICY).calls == 1
    assert asked(tmp_path, SECTION, cap=1e9).calls == 1
    assert asked(tmp_path, SECTION).calls == 0


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    asked(tmp_path, SECTION)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert asked(tmp_path, SECTION).calls == 1
    assert asked(tmp_path, SECTION).calls == 0


class Counting:
    """An engine that counts its calls, and adapters that are always on."""

    def __init__(self, meter: Meter) -> None:
        self.meter, self.calls = meter, 0

    def score(self, groups: list[Group], *, entropy: bool) -> list[list[SimpleNamespace]]:
        self.calls += 1
        self.meter.add(forward_tokens=7)
        self.meter.flops(123.0)
        figures = np.array([-1.5, -0.25], dtype=np.float32)
        return [[SimpleNamespace(logprobs=figures, entropies=figures if entropy else None)] for _ in groups]

    def quiet(self, of: str) -> Any:
        return contextlib.nullcontext()


def asked(
    folder: Path,
    section: Mapping[str, Any],
    *,
    prompt: tuple[int, ...] = (1, 2, 3),
    entropy: bool = False,
    of: str = BASE,
    cap: float | None = None,
) -> SimpleNamespace:
    """One call on this basis."""
    meter = Meter(cap)
    engine = Counting(meter)
    shared = BaseCalls(engine, engine, meter)  # type: ignore[arg-type]
    shared.keep_in(folder, base_basis(section))
    found = shared.score([Group(prompt, [(5, 6)])], of=of, entropy=entropy)
    return SimpleNamespace(calls=engine.calls, shared=shared, found=found, spend=meter.spend)


def fitted(aligner: type[Aligner], folder: Path | None, **trial: Any) -> tuple[str, Spend, int]:
    """Adapter, spend and hits of a fit of the kit's lesson."""
    with Lab(aligner).session(Trial(**trial)) as session:
        if folder is not None:
            session.bench.shared.keep_in(folder, "basis")
        session.fit()
        return session.adapter(), session.meter.spend, session.bench.shared.hits


def test_two_methods_on_the_same_pairs_share_the_reference_and_nothing_else_changes(tmp_path: Path) -> None:
    alone = fitted(Ipo, None)
    assert fitted(Dpo, tmp_path)[2] == 0
    assert fitted(Ipo, tmp_path) == (alone[0], alone[1], 1)


def test_kto_shares_its_reference_with_dpo_and_with_itself_and_nothing_else_changes(tmp_path: Path) -> None:
    """Of its two calls the pairs' is that of DPO; the mismatched answers follow from the training seed."""
    alone = fitted(Kto, None)
    assert fitted(Dpo, tmp_path)[2] == 0
    assert fitted(Kto, tmp_path) == (alone[0], alone[1], 1), "what DPO left"
    assert fitted(Kto, tmp_path) == (alone[0], alone[1], 2), "and what it left itself"
    other = fitted(Kto, None, seed=1)
    assert other[0] != alone[0]
    assert fitted(Kto, tmp_path, seed=1) == (other[0], other[1], 1)
