from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import Completion, HarnessError, Message, user
from harness.util.chat import encode_completion, end_of_turn, render_prompt
from harness.util.hashes import content_hash
from harness.util.words import normalise
from tests.tiny import tiny_tokenizer


@pytest.fixture
def tokenizer() -> Any:
    return tiny_tokenizer()


def test_rendered_prompt_is_the_template_ready_for_the_assistant(tokenizer: Any) -> None:
    ids = render_prompt(tokenizer, user("hello", system="be brief"), 512)
    expected = "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(ids) == expected


def test_long_prompt_is_clipped_on_the_left(tokenizer: Any) -> None:
    whole = render_prompt(tokenizer, user("word " * 200), 4096)
    ids = render_prompt(tokenizer, user("word " * 200), 40)
    assert len(ids) == 40
    assert ids[1:] == whole[-39:]
    assert ids[0] == tokenizer.bos_token_id


def test_double_bos_is_made_single(tokenizer: Any) -> None:
    tokenizer.chat_template = "<|im_start|><|im_start|>{{ messages[0]['content'] }}"
    ids = render_prompt(tokenizer, user("hi"), 512)
    assert ids.count(tokenizer.bos_token_id) == 1


def test_template_without_system_role_gets_it_in_the_user_turn(tokenizer: Any) -> None:
    refuse = "{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template = "{% for m in messages %}" + refuse + "[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
    read = tokenizer.decode(render_prompt(tokenizer, user("hi", system="be kind"), 512))
    assert read == "[user]be kind\n\nhi[assistant]", "and a template that cannot ask for an answer begins it"


@pytest.mark.parametrize("messages", [(), (Message("user", "x"),)])
def test_bad_prompt_is_one_sentence(tokenizer: Any, messages: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(HarnessError, match="expected"):
        render_prompt(tokenizer, messages, 10)


def test_completion_is_closed_unless_too_long(tokenizer: Any) -> None:
    text = "the lazy dog"
    ids = encode_completion(tokenizer, text, 100)
    assert ids[-1] == end_of_turn(tokenizer)
    assert tokenizer.decode(ids[:-1]) == text
    assert encode_completion(tokenizer, text, len(ids)) == ids
    assert encode_completion(tokenizer, text, len(ids) - 1) == ids[:-1]
    assert encode_completion(tokenizer, text, 1) == ids[:1]


def test_sampled_completion_keeps_its_own_ids(tokenizer: Any) -> None:
    assert encode_completion(tokenizer, Completion("any", (5, 6, 7), "length"), 10) == [5, 6, 7]
    assert encode_completion(tokenizer, Completion("any", (5, 6, 7), "length"), 2) == [5, 6]


def test_end_of_turn_comes_from_the_template_not_from_eos(tokenizer: Any) -> None:
    tokenizer.eos_token = "<|endoftext|>"
    assert end_of_turn(tokenizer) == tokenizer.convert_tokens_to_ids("<|im_end|>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    assert end_of_turn(tokenizer) == tokenizer.convert_tokens_to_ids("<|endoftext|>")


@pytest.mark.core
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello,  World!", "hello world"),
        ("STRASSE straße", "strasse strasse"),
        ("ﬁne x²", "fine x2"),
        ("…", ""),
        ("a_b", "a b"),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.core
def test_content_hash_sees_content_not_form() -> None:
    assert content_hash({"b": 1, "a": (1, 2)}) == content_hash({"a": [1, 2], "b": 1})
    assert content_hash({3, 1, 2}) == content_hash([1, 2, 3])
    assert content_hash(Message("user", "x")) == content_hash({"role": "user", "content": "x"})
    assert content_hash("a", "b") != content_hash("ab")
    assert content_hash(1) != content_hash("1")
    assert content_hash(Path("a/b")) == content_hash("a/b")
    with pytest.raises(HarnessError, match="canonical"):
        content_hash(object())


@pytest.mark.core
def test_importing_text_and_the_backend_class_imports_no_torch() -> None:
    code = "import sys, harness.util.chat, harness.lm.backends.hf; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
