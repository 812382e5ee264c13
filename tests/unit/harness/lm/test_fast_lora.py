"""LoRA layers run as one function or folded into a plain layer: the same figures, and the model is as it was."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from peft import LoraConfig

from harness.lm.fast_lora import folded_adapters, fused_adapters
from tests.tiny import tiny_model

IDS = torch.arange(3, 40)[None]


def adapted(dtype: Any = torch.float32, **options: Any) -> Any:
    config = LoraConfig(r=4, lora_alpha=12, target_modules="all-linear", init_lora_weights=False, **options)
    return peft.get_peft_model(tiny_model(dtype=dtype), config, autocast_adapter_dtype=False).eval()


def test_folded_adapters_compute_the_same_without_touching_a_weight() -> None:
    model, ids = adapted(), torch.arange(3, 40)[None]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    layers = [type(module) for module in model.modules()]
    with torch.no_grad():
        own = model(ids).logits
        with model.disable_adapter():
            base = model(ids).logits
        with folded_adapters(model.get_base_model().get_decoder()):
            assert not any(hasattr(module, "lora_A") for module in model.modules())
            folded = model(ids).logits
        with model.disable_adapter(), folded_adapters(model.get_base_model().get_decoder()):
            off = model(ids).logits
    torch.testing.assert_close(folded, own, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(folded, base, atol=1e-2)
    assert torch.equal(off, base)
    assert [type(module) for module in model.modules()] == layers
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_several_active_adapters_are_folded_together_and_errors_put_them_back() -> None:
    model, ids = adapted(), torch.arange(3, 40)[None]
    model.add_adapter("second", LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    model.base_model.set_adapter(["default", "second"])
    with torch.no_grad():
        own = model(ids).logits
        with pytest.raises(RuntimeError, match="stop"), folded_adapters(model.get_base_model().get_decoder()):
            torch.testing.assert_close(model(ids).logits, own, rtol=1e-4, atol=1e-4)
            raise RuntimeError("stop")
        assert torch.equal(model(ids).logits, own)


def test_weights_too_coarse_for_an_update_are_not_folded() -> None:
    model = adapted().to(torch.bfloat16)
    with folded_adapters(model.get_base_model().get_decoder()):
        assert any(hasattr(module, "lora_A") for module in model.modules())


def loss_and_gradients(model: Any) -> tuple[Any, dict[str, Any]]:
    model.zero_grad()
    loss = model(IDS, labels=IDS).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def fused(model: Any) -> int:
    return sum("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("training", [False, True])
def test_fused_layers_give_pefts_figures_and_gradients(training: bool) -> None:
    model = adapted(torch.float64).train(training)
    loss, gradients = loss_and_gradients(model)
    with fused_adapters(model):
        layers = fused(model)
        own, found = loss_and_gradients(model)
    assert layers == 7 * model.config.num_hidden_layers
    assert fused(model) == 0
    torch.testing.assert_close(own, loss)
    assert found.keys() == gradients.keys()
    assert len(found) == 2 * layers
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, gradients[name], msg=name)


def test_an_adapter_that_is_off_is_not_computed() -> None:
    model = adapted()
    with torch.no_grad(), model.disable_adapter():
        base = model(IDS).logits
        with fused_adapters(model):
            assert fused(model) == 0
            assert torch.equal(model(IDS).logits, base)


def test_layers_that_do_more_than_the_formula_are_left_alone() -> None:
    dropping, dora, coarse = adapted(lora_dropout=0.5), adapted(use_dora=True), adapted(torch.bfloat16)
    several, resting = adapted(), adapted(lora_dropout=0.5)
    several.add_adapter("second", LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    several.base_model.set_adapter(["default", "second"])
    whole = adapted()
    whole.get_base_model().requires_grad_(True)
    left = [dropping.train(), dora, coarse, whole]
    for model, expected in [*((one, 0) for one in left), (several, 12), (resting, 14)]:
        with fused_adapters(model):
            assert fused(model) == expected
    with pytest.raises(RuntimeError, match="stop"), fused_adapters(several):
        raise RuntimeError("stop")
    assert fused(several) == 0
