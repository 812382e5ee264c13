"""The models that people align, at toy width: every family is loaded, asked, fitted and evaluated, or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from aligners.dpo import Dpo, DpoConfig
from aligners.gem import Gem, GemConfig
from harness.config import Lora
from harness.conformance.lesson import lesson
from harness.contracts import Dataset, EvalContext, HarnessError, LoglikRequest, Message, user
from harness.fit.bench import LocalBench
from harness.fit.fitting import fit
from harness.lm.backends.hf import HfEngine
from harness.lm.probes import tree_attention
from harness.meter import Meter
from harness.models import find, load
from harness.models.adapters import add_lora
from harness.util.chat import encode_completion, end_of_turn, render_prompt
from tasks.pools.pairs import UltraFeedbackPool
from tasks.preference import PreferenceTask
from tests.families import COMMON, FAMILIES, MIXED, Family
from tests.tiny import flat_regime

pytestmark = pytest.mark.recipe

LONG, SHORT = [5 + i * 7 % 300 for i in range(40)], [9, 11, 30]
"""Prompts beyond and within the sliding windows of 16 tokens."""
ANSWER = (30, 31, 32, 40)


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@pytest.fixture(scope="module")
def folder(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family.save(tmp_path_factory.mktemp(family.name) / "model")


def opened(folder: Path) -> tuple[Any, Any]:
    files = find.resolve(str(folder), registry_models={})
    return load.load(files, device="cpu", precision="fp32")


class Rows:
    """Two pairs to be evaluated on."""

    kind = "folder"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        return [{"prompt": f"{split} {n}?", "chosen": f"It is {n}.", "rejected": "No."} for n in range(2)]


def test_a_prompt_reads_as_the_family_wants_it_and_an_answer_is_closed(family: Family, folder: Path) -> None:
    _, tokenizer = opened(folder)
    assert tokenizer.pad_token_id is not None
    assert tokenizer.decode(render_prompt(tokenizer, user("U", system="S"), 500)) == family.asked
    answer = encode_completion(tokenizer, "It is so.", 100)
    assert answer[-1] == end_of_turn(tokenizer)
    turns = (*user("U"), Message("assistant", "A"), *user("V"))
    assert "A" in tokenizer.decode(render_prompt(tokenizer, turns, 500))


def test_the_engine_answers_as_the_plain_model_does(folder: Path) -> None:
    """Greedy samples and likelihoods, within sliding windows and beyond them, from weights in several files."""
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    model, tokenizer = opened(folder)
    assert tree_attention(model, 10)
    assert tree_attention(model, 60)
    engine = HfEngine(model, tokenizer)
    sampled = engine.generate([LONG, SHORT], temperature=0.0, max_new_tokens=8)
    scored = engine.loglik([LoglikRequest(tuple(prompt), ANSWER) for prompt in (LONG, SHORT)])
    for prompt, (sample,), likelihood in zip((LONG, SHORT), sampled, scored, strict=True):
        assert list(sample.ids) == greedy(model, prompt, len(sample.ids))
        with torch.no_grad():
            rows = model(torch.tensor([[*prompt, *ANSWER]])).logits[0].log_softmax(-1)
        plain = sum(float(rows[len(prompt) - 1 + i, token]) for i, token in enumerate(ANSWER))
        assert likelihood.total == pytest.approx(plain, abs=1e-4)


def greedy(model: Any, prompt: Sequence[int], length: int) -> list[int]:
    ids = list(prompt)
    for _ in range(length):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize(
    "aligner",
    [Dpo(DpoConfig()), Gem(GemConfig(k=2, min_tokens=2, sft_steps=1, sega_steps=1))],
    ids=["dpo", "gem"],
)
def test_one_fit_and_one_evaluation(family: Family, folder: Path, aligner: Any, tmp_path: Path) -> None:
    model, tokenizer = opened(folder)
    regime = flat_regime(batch=2, min_steps=1, prompt_tokens=96)
    bench = LocalBench.create(
        model, tokenizer, regime=regime, meter=Meter(), seed=0, workdir=tmp_path, lora=Lora(r=2, alpha=4)
    )
    adapted = {name.split(".lora_")[0] for name, _ in bench.policy.named_parameters() if ".lora_" in name}
    assert len(adapted) >= 2 * model.config.num_hidden_layers
    assert any("mlp" in name for name in adapted) != family.experts
    fitted = fit(aligner, bench, lesson(4))
    ctx: Any = EvalContext(source=Rows(), limit=2, num_fewshot=0, seed=0, pool=UltraFeedbackPool())  # type: ignore[arg-type]
    scores = PreferenceTask().evaluate(fitted.aligned, ctx)
    assert len(scores.rows) == 2
    assert all(torch.isfinite(p).all() for p in bench.policy.parameters())


def test_a_speaker_who_speaks_twice_is_refused_in_words() -> None:
    for name in ("gemma-3", "mistral"):
        tokenizer = next(f for f in FAMILIES if f.name == name).tokenizer()
        with pytest.raises(HarnessError, match=r"refuses the prompt \(user, user\) that ends 'b': .*must alternate"):
            render_prompt(tokenizer, (*user("a"), *user("b")), 100)


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    folder = FAMILIES[-1].save(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "mxfp4"}}))
    with pytest.raises(HarnessError, match=r"is stored quantized \(mxfp4\); plain weights .* were expected"):
        opened(folder)


def test_of_a_model_that_sees_only_the_part_that_writes_is_adapted() -> None:
    from transformers import AutoModelForCausalLM, Gemma3Config

    text = {**COMMON, **MIXED, "head_dim": 8}
    sight = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**sight, "image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_id=399)
    policy = add_lora(AutoModelForCausalLM.from_config(config).eval(), Lora(r=2, alpha=4), 0)
    adapted = [name for name, _ in policy.named_parameters() if ".lora_" in name]
    assert adapted
    assert all("language_model" in name for name in adapted)
    assert tree_attention(policy, 60)
