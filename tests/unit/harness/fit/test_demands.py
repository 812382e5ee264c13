"""`requires` and `accepts`: what is refused before anything runs, and in which words."""

from __future__ import annotations

from typing import ClassVar

import pytest

from aligners.base import Base
from aligners.gem import Gem
from aligners.gpo import Gpo
from aligners.grpo import Grpo
from aligners.selfie import Selfie
from aligners.sft import Sft
from aligners.uniform import Uniform
from harness.contracts import EngineCapability, FewShot, HarnessError, Pair, Prompt, Rating, user
from harness.fit.demands import able, asks, can, refuse_unable, refuse_unmet, takes, unmet
from harness.lm.backends.hf import HfBackend
from tasks.gsm8k import GSM8K
from tasks.medqa import MedQA

pytestmark = pytest.mark.core

PAIRS = (Pair("p", user("which?"), "this", "that"),)
PROMPTS = (Prompt("q", user("what?")),)
GROUPS = {"a": (Rating("q", "q?", ("yes", "no"), (0.5, 0.5)),)}


def test_everything_required_must_be_there() -> None:
    refuse_unmet(Grpo, FewShot(pairs=PAIRS, verifier=lambda prompt, answer: 1.0), "pool p")
    with pytest.raises(HarnessError, match=r"^aligner grpo requires pairs and verifier; pool p has pairs and prompts$"):
        refuse_unmet(Grpo, FewShot(PAIRS, PROMPTS), "pool p")
    with pytest.raises(HarnessError, match=r"^aligner sft requires pairs; pool p has nothing$"):
        refuse_unmet(Sft, FewShot(), "pool p")


def test_any_of_what_is_accepted_will_do() -> None:
    for given in (FewShot(pairs=PAIRS), FewShot(groups=GROUPS), FewShot(auxiliary=GROUPS)):
        refuse_unmet(Gpo, given, "pool p")
    with pytest.raises(HarnessError, match=r"^aligner gpo accepts auxiliary, groups or pairs; pool p has prompts$"):
        refuse_unmet(Gpo, FewShot(prompts=PROMPTS), "pool p")
    refuse_unmet(Gem, FewShot(prompts=PROMPTS), "pool p")


def test_beside_a_requirement_what_is_accepted_may_be_missing() -> None:
    refuse_unmet(Selfie, FewShot(pairs=PAIRS), "pool p")
    with pytest.raises(HarnessError, match=r"^aligner selfie requires pairs; pool p has prompts$"):
        refuse_unmet(Selfie, FewShot(prompts=PROMPTS), "pool p")
    assert takes(Selfie) == {"pairs", "prompts"}


def test_who_asks_for_nothing_is_never_refused() -> None:
    assert unmet("aligner base", frozenset(), frozenset(), frozenset(), "pool p has") == ""


def test_a_task_is_refused_where_no_result_could_do_what_it_asks_for() -> None:
    assert can(Sft) == {"generate", "loglik", "choose", "prefer"}
    refuse_unable(MedQA, Uniform, HfBackend)
    refuse_unable(GSM8K, Gpo, HfBackend)
    sentence = r"^task gsm8k requires generate; a result of aligner uniform under backend hf can choose$"
    with pytest.raises(HarnessError, match=sentence):
        refuse_unable(GSM8K, Uniform, HfBackend)


class Scorer(HfBackend):
    """A backend that scores and does nothing else."""

    name = "scorer"
    capabilities: ClassVar[frozenset[EngineCapability]] = frozenset({"loglik"})


def test_what_a_backend_lacks_is_refused() -> None:
    assert (asks(Sft), asks(Uniform), asks(Gpo)) == ({"adapters"}, frozenset(), {"embed"})
    assert able(HfBackend) == can(Sft)
    assert able(Scorer) == {"loglik", "choose", "prefer"}
    refuse_unable(MedQA, Base, Scorer)
    with pytest.raises(HarnessError, match=r"^aligner sft asks its engine for adapters; backend scorer has loglik$"):
        refuse_unable(MedQA, Sft, Scorer)
    with pytest.raises(HarnessError, match=r"^task gsm8k requires generate; a result of aligner base under backend sc"):
        refuse_unable(GSM8K, Base, Scorer)
