"""Tokenizers beside their models: control tokens read from files, and more tokens than the embedding has rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import HarnessError
from harness.models.control import control_tokens
from tests.tiny import SPECIAL, tiny_folder, tiny_tokenizer


def grown(folder: Path, **tokens: Any) -> Path:
    """A model folder whose tokenizer knows tokens that the embedding has no rows for."""
    tiny_folder(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens(tokens)
    if "pad_token" in tokens:
        assert tokenizer.pad_token == tokens["pad_token"]
    tokenizer.save_pretrained(folder)
    return folder


def load(folder: Path) -> tuple[Any, Any]:
    from harness.models.load import load as load_model
    from harness.models.wheels import files_in

    return load_model(files_in("tiny", folder, "unknown"), device="cpu", precision="fp32")


def test_control_tokens_stand_in_the_files(tmp_path: Path) -> None:
    plain = control_tokens(tiny_folder(tmp_path / "plain"))
    assert plain.texts >= set(SPECIAL)
    assert plain.without_row == frozenset()
    more = control_tokens(grown(tmp_path / "more", additional_special_tokens=["<|new|>"]))
    assert "<|new|>" in more.texts
    assert more.without_row == {"<|new|>"}
    assert control_tokens(tmp_path).texts == frozenset()
    (tmp_path / "tokenizer.json").write_text("no JSON")
    assert control_tokens(tmp_path).texts == frozenset()


def test_padding_beyond_the_embedding_is_replaced(tmp_path: Path) -> None:
    model, tokenizer = load(grown(tmp_path, pad_token="<|pad|>"))
    assert tokenizer.pad_token == tokenizer.eos_token
    assert tokenizer.pad_token_id < model.get_input_embeddings().weight.shape[0]


def test_a_token_of_every_conversation_needs_a_row(tmp_path: Path) -> None:
    folder = grown(tmp_path, additional_special_tokens=["<|turn|>"])
    (folder / "chat_template.jinja").write_text("{% for m in messages %}<|turn|>{{ m['content'] }}{% endfor %}")
    with pytest.raises(
        HarnessError, match=r"the tokenizer has \d+ tokens and the embedding \d+ rows; token '<\|turn\|>'"
    ):
        load(folder)


def test_another_models_tokenizer_is_refused(tmp_path: Path) -> None:
    tiny_folder(tmp_path)
    tiny_tokenizer(420).save_pretrained(tmp_path)
    rows = json.loads((tmp_path / "config.json").read_text())["vocab_size"]
    with pytest.raises(
        HarnessError, match=rf"the embedding {rows} rows; .* use the tokenizer that came with the weights"
    ):
        load(tmp_path)
