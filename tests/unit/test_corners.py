"""What is used of other libraries beside their public functions: each place, the versions that were read, and the word.

TRL and lm-eval have a module of ours each, which says at run time what moved (`harness.fit.trl` and
`tasks.lm_eval.corners`) and is tested beside it. The corners here are of transformers, PEFT, torch, alpaca_eval and
gguf. Whoever widens a range in pyproject.toml reads these places in the new release and changes `READ_IN`.
"""

from __future__ import annotations

import functools
import inspect
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

pytest.importorskip("torch")

READ_IN = {
    "torch": ">=2.11,<2.15",
    "transformers": ">=5.16.1,<5.40",
    "peft": ">=0.18,<0.23",
    "alpaca-eval": ">=0.6.6,<0.7",
    "gguf": ">=0.17,<0.20",
}
"""Releases in which the corners below were read; pyproject.toml admits no others."""


@dataclass(frozen=True)
class Corner:
    """A place inside a library, and the module of ours that rests on it."""

    library: str
    what: str
    ours: str
    there: Callable[[], object]

    def check(self) -> None:
        """Fail with one sentence where the place is gone, or is something else."""
        try:
            found, why = bool(self.there()), ""
        except Exception as error:  # whatever a library that moved raises
            found, why = False, f" ({type(error).__name__}: {error})"
        if not found:
            pytest.fail(
                f"{self.library} {version(self.library)} has no {self.what} as {self.ours} uses it{why}; "
                f"it was read in {self.library}{READ_IN[self.library]}",
                pytrace=False,
            )


# ---------------------------------------------------------------- what is looked at


@functools.cache
def adapted() -> Any:
    """A tiny model of one LoRA adapter, which drops nothing."""
    from peft import LoraConfig, get_peft_model

    from harness.conformance.toy import tiny_model

    return get_peft_model(tiny_model(), LoraConfig(r=2, target_modules="all-linear"))


def lora_layer() -> Any:
    return next(layer for layer in adapted().modules() if hasattr(layer, "lora_A"))


def updates_as_written() -> bool:
    """W x + scaling * B (A x), which `fast_lora` computes in its own way."""
    import torch

    layer, x = lora_layer(), torch.randn(3, lora_layer().base_layer.in_features)
    with torch.no_grad():
        layer.lora_B["default"].weight.fill_(0.1)
        update = layer.lora_B["default"](layer.lora_A["default"](x)) * layer.scaling["default"]
        return torch.allclose(layer(x), layer.base_layer(x) + update, atol=1e-5)


def takes(function: Any, *names: str) -> bool:
    """Whether a function has these parameters, in this order."""
    asked = [name for name in inspect.signature(function).parameters if name in names]
    return asked == list(names)


def attention_by_name() -> bool:
    """A registered function is what a model calls whose config names it, and the config's name can be set."""
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    from harness.conformance.toy import tiny_model

    called: list[int] = []

    def spied(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        called.append(query.dim())
        return sdpa_attention_forward(module, query, key, value, mask, **options)

    AttentionInterface.register("spied", spied)
    AttentionMaskInterface.register("spied", sdpa_mask)
    model = tiny_model()
    assert model.config._attn_implementation == "sdpa"
    model.config._attn_implementation = "spied"
    model(torch.tensor([[5, 6, 7]]))
    return called == [4, 4]


def flash_with_sums() -> bool:
    """Torch's operator gives outputs and log-sum-exps; its backward gives three gradients."""
    import torch

    from harness.lm import blockwise

    q = torch.randn(1, 2, 3, 8)
    out, sums = getattr(torch.ops.aten, blockwise._FLASH)(q, q, q, 0.0, True, scale=0.5)
    back = getattr(torch.ops.aten, blockwise._FLASH_BACKWARD)(q, q, q, q, out, sums, 0.0, True, scale=0.5)
    return out.shape == q.shape and sums.shape == q.shape[:3] and len(back) == 3


def cached_layers() -> bool:
    """A cache is layers with keys and values, and can be made of layers."""
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import Cache, DynamicLayer

    from harness.conformance.toy import tiny_model

    cache = DynamicCache(config=tiny_model().config)
    tiny_model()(torch.tensor([[5, 6, 7]]), past_key_values=cache)
    keys = [layer.keys.shape[2] for layer in Cache(layers=cache.layers).layers]
    return keys == [3, 3] and all(isinstance(layer, DynamicLayer) for layer in cache.layers)


def head_of(kind: str, **settings: Any) -> Callable[[], bool]:
    """Whether our head, over the decoder's hidden states, gives the logits that a model of this kind gives."""

    def same() -> bool:
        import torch
        import transformers

        from harness.lm.peft_internals import decoder_of, head_logits

        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        small = {"vocab_size": 50, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
        config = getattr(transformers, f"{kind}Config")(**sizes, **small, **settings)
        model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
        ids = torch.tensor([[5, 6, 7]])
        with torch.no_grad():
            hidden = decoder_of(model)(ids).last_hidden_state
            return torch.allclose(head_logits(model, hidden[0]), model(ids).logits[0], atol=1e-5)

    return same


def has(place: Callable[[], Any], *names: str) -> Callable[[], bool]:
    return lambda: all(hasattr(place(), name) for name in names)


def of(module: str, *names: str) -> Callable[[], bool]:
    """Whether a module has these names."""

    def there() -> bool:
        from importlib import import_module

        return all(hasattr(import_module(module), name) for name in names)

    return there


def annotators() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import alpaca_eval.annotators

    return alpaca_eval.annotators


def single_annotators_are_a_property() -> bool:
    return isinstance(inspect.getattr_static(annotators().PairwiseAnnotator, "SingleAnnotator"), property)


def single_annotator_takes() -> bool:
    from alpaca_eval.annotators.base import SingleAnnotator

    names = ("fn_completion_parser", "fn_completions", "completions_kwargs", "batch_size", "annotation_column")
    return takes(SingleAnnotator.__init__, *names, "completion_column") and takes(
        SingleAnnotator.__call__, "df_to_annotate"
    )


def pairs_are_annotated_without_a_cache() -> bool:
    names = ("caching_path", "is_avoid_reannotations", "other_output_keys_to_keep")
    bases = [inspect.signature(base.__init__).parameters for base in annotators().PairwiseAnnotator.__mro__[:-1]]
    return all(any(name in base for base in bases) for name in ("annotators_config", *names))


def a_gguf_reader_sets_its_data() -> bool:
    """`wheels` makes it a plain array as it is set, and transformers looks the reader up when it loads."""
    import gguf
    from transformers import modeling_gguf_pytorch_utils as loader

    asks = "from gguf import" in inspect.getsource(loader) and hasattr(loader, "tqdm")
    return asks and "self.data" in inspect.getsource(gguf.GGUFReader.__init__)


def fields_have_contents() -> bool:
    from gguf.gguf_reader import ReaderField

    return callable(ReaderField.contents)


LORA = ("base_layer", "lora_A", "lora_B", "lora_dropout", "scaling", "merged", "disable_adapters", "active_adapters")
FAST, INNER, BLOCKS, CACHES, GUARDED, WHEELS = (
    *(
        "harness/lm/fast_lora.py",
        "harness/lm/peft_internals.py",
        "harness/lm/blockwise.py",
        "harness/lm/padded_prompts.py",
    ),
    *("tasks/judges/guarded.py", "harness/models/wheels.py"),
)
CORNERS = (
    Corner("peft", f"LoRA layer with {', '.join(LORA)}", FAST, has(lora_layer, *LORA)),
    Corner("peft", "LoRA layer with lora_variant and lora_bias", FAST, has(lora_layer, "lora_variant", "lora_bias")),
    Corner("peft", "LoRA layer that adds scaling * B (A x)", FAST, updates_as_written),
    Corner("peft", "get_base_model", INNER, lambda: adapted().get_base_model() is adapted().base_model.model),
    Corner("peft", "peft_config", "harness/fit/adapters.py", lambda: set(adapted().peft_config) == {"default"}),
    Corner(
        "peft", "peft_config on the model below", "harness/lm/backends/hf.py",
        lambda: "peft_config" in vars(adapted().get_base_model()),
    ),
    Corner("transformers", "decoder and head of a Llama", INNER, head_of("Llama")),
    Corner("transformers", "final_logit_softcapping", INNER, head_of("Gemma2", final_logit_softcapping=0.1)),
    Corner("transformers", "logit_scale", INNER, head_of("Cohere", logit_scale=0.3)),
    Corner("transformers", "logits_scaling", INNER, head_of("Granite", logits_scaling=3.0)),
    Corner("transformers", "attention by name", BLOCKS, attention_by_name),
    Corner("transformers", "layers of a cache", CACHES, cached_layers),
    Corner("torch", "_scaled_dot_product_flash_attention_for_cpu", BLOCKS, flash_with_sums),
    Corner("alpaca-eval", "SingleAnnotator as a property", GUARDED, single_annotators_are_a_property),
    Corner("alpaca-eval", "SingleAnnotator's settings", GUARDED, single_annotator_takes),
    Corner("alpaca-eval", "PairwiseAnnotator's settings", GUARDED, pairs_are_annotated_without_a_cache),
    Corner(
        "alpaca-eval", "OPENAI_MAX_CONCURRENCY", GUARDED, of("alpaca_eval.constants", "OPENAI_MAX_CONCURRENCY")
    ),
    Corner("alpaca-eval", "openai_completions", GUARDED, of("alpaca_eval.decoders.openai", "openai_completions")),
    Corner(
        "alpaca-eval", "GLM_INFO and make_dmatrix_for_model", "tasks/measures/length_control.py",
        of("alpaca_eval.metrics.glm_winrate", "GLM_INFO", "make_dmatrix_for_model"),
    ),
    Corner("gguf", "GGUFReader with data, asked for by transformers", WHEELS, a_gguf_reader_sets_its_data),
    Corner("gguf", "get_tensor_name_map", WHEELS, of("gguf", "get_tensor_name_map")),
    Corner("gguf", "fields with contents", WHEELS, fields_have_contents),
)  # fmt: skip


@pytest.mark.parametrize("library", READ_IN)
def test_pyproject_admits_the_releases_that_were_read_and_no_others(library: str) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (admitted,) = [need.specifier for need in map(Requirement, project["dependencies"]) if need.name == library]
    assert admitted == SpecifierSet(READ_IN[library]), "read the corners of this file again, and change both"
    assert version(library) in admitted


@pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: f"{corner.library}: {corner.what}")
def test_every_corner_is_where_it_was(corner: Corner) -> None:
    corner.check()


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("alpaca_eval.constants.OPENAI_MAX_CONCURRENCY", "OPENAI_MAX_CONCURRENCY"),
        ("gguf.get_tensor_name_map", "get_tensor_name_map"),
        ("peft.PeftModel.get_base_model", "get_base_model"),
        ("transformers.integrations.sdpa_attention.sdpa_attention_forward", "attention by name"),
    ],
)
def test_a_corner_that_moved_is_named_with_the_releases(place: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (corner,) = [corner for corner in CORNERS if corner.what == what]
    adapted()
    corner.check()
    monkeypatch.delattr(place)
    with pytest.raises(
        pytest.fail.Exception, match=rf"^{corner.library} [\d.+\w]+ has no {what} as .*; it was read in"
    ):
        corner.check()
