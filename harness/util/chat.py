"""Between conversations and token ids: prompts, completions, the end of a turn. Needs no torch."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from harness.contracts import Completion, HarnessError, Message, Messages
from harness.util.safe_text import cut

_MARKER = "qzx"
"""Words of an answer that no template writes by itself."""
_OPENINGS: WeakKeyDictionary[Any, tuple[Any, str | None]] = WeakKeyDictionary()
"""By tokenizer: its chat template, and what `_opening` says of it."""
EMBEDDING_ROWS = "embedding_rows"
"""Attribute of a tokenizer that knows more tokens than its model: how many rows the embedding has."""


def render_prompt(tokenizer: Any, messages: Messages, limit: int) -> list[int]:
    """Token ids of a conversation under the tokenizer's chat template, ready for the assistant's turn.

    Longer than `limit` tokens, it is clipped on the left: the end of the last message and the template's tail stay, and
    so does a leading beginning-of-sequence token. A template that lets a model think first is told not to, and a prompt
    ends where the template would begin the words of an answer: behind an empty block of thoughts, or in the channel
    that the user reads. Raises HarnessError when there is no chat template or no message, and for a prompt that the
    template refuses, that cannot be encoded or that the embedding has no rows for.
    """
    if not messages:
        raise HarnessError("a prompt was expected to hold at least one message, it holds none")
    if getattr(tokenizer, "chat_template", None) is None:
        raise HarnessError(f"tokenizer {_name(tokenizer)} has no chat template; a chat model was expected")
    ids = _with_rows(tokenizer, _template_ids(tokenizer, messages), messages[-1].content)
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:2] == [bos, bos]:
        ids = ids[1:]
    return _clip_left(ids, limit, keep_first=bool(ids) and ids[0] == bos)


def encode_completion(tokenizer: Any, completion: str | Completion, limit: int) -> list[int]:
    """Token ids of an answer: text is closed by the end-of-turn token, a `Completion` gives its own ids.

    Longer than `limit` tokens, it is clipped on the right and left open, without an end-of-turn token.
    """
    if isinstance(completion, Completion):
        return list(completion.ids[:limit])
    try:
        ids = list(tokenizer(completion, add_special_tokens=False)["input_ids"])
    except (UnicodeEncodeError, TypeError) as error:
        raise HarnessError(f"an answer cannot be encoded as text for the tokenizer: {cut(completion)}") from error
    _with_rows(tokenizer, ids, completion)
    return ids[:limit] if len(ids) >= limit else [*ids, end_of_turn(tokenizer)]


def end_of_turn(tokenizer: Any) -> int:
    """The id of the token that closes an assistant's turn in the chat template; the end-of-sequence id where none does.

    Raises HarnessError when the tokenizer has neither.
    """
    closing = _closing_token(tokenizer) if getattr(tokenizer, "chat_template", None) is not None else None
    found = tokenizer.eos_token_id if closing is None else closing
    if found is None:
        raise HarnessError(f"tokenizer {_name(tokenizer)} has no end-of-turn and no end-of-sequence token")
    return int(found)


def _template_ids(tokenizer: Any, messages: Messages) -> list[int]:
    """Template and tokenize; a template that refuses or drops the system role gets it as the start of the next turn."""
    from jinja2 import TemplateError

    refusal: Exception | None = None
    first, ending = messages[0], messages[-1].content
    ways = [messages, _fold_system(messages)] if first.role == "system" and len(messages) > 1 else [messages]
    for way in ways:
        try:
            text = asking(tokenizer, way)
            if way is ways[-1] or first.content.strip() in text:
                return list(tokenizer(text, add_special_tokens=False)["input_ids"])
        except TemplateError as error:
            refusal = error
        except (UnicodeEncodeError, TypeError) as error:
            raise HarnessError(f"a prompt cannot be encoded as text for the tokenizer: {cut(ending)}") from error
    speakers, last = ", ".join(message.role for message in messages), cut(ending)
    raise HarnessError(
        f"the chat template of {_name(tokenizer)} refuses the prompt ({speakers}) that ends {last}: {refusal}"
    ) from refusal


def _with_rows(tokenizer: Any, ids: list[int], text: str) -> list[int]:
    """`ids`, if the embedding has a row for each: a tokenizer may know more tokens than the model."""
    rows = getattr(tokenizer, EMBEDDING_ROWS, None)
    if rows is not None and max(ids, default=0) >= rows:
        token = tokenizer.convert_ids_to_tokens(max(ids))
        raise HarnessError(f"token {token!r} has no row in the model's embedding of {rows}, and stands in {cut(text)}")
    return ids


def asking(tokenizer: Any, messages: Messages) -> str:
    """The text of a conversation, up to where an answer's words begin.

    Raises jinja2.TemplateError for a conversation that the template refuses.
    """
    template, opening = _OPENINGS.get(tokenizer, (None, None))
    if template is None or template != tokenizer.chat_template:
        opening = _opening(tokenizer)
        _OPENINGS[tokenizer] = tokenizer.chat_template, opening
    return _rendered(tokenizer, messages, ask=True) if opening is None else _rendered(tokenizer, messages) + opening


def _opening(tokenizer: Any) -> str | None:
    """What the template writes before an answer, where that is more than white space apart from its request for one.

    Behind the bare request such a model would first write its thoughts, of which the answers in pairs have none.
    """
    question = (Message("user", "a"),)
    before, asked = _rendered(tokenizer, question), _rendered(tokenizer, question, ask=True)
    whole = _rendered(tokenizer, (*question, Message("assistant", _MARKER)))
    if _MARKER not in whole or not (whole.startswith(before) and asked.startswith(before)):
        return None
    opening = whole[len(before) : whole.rfind(_MARKER)]
    return None if opening.strip() == asked[len(before) :].strip() else opening


def _rendered(tokenizer: Any, messages: Messages, *, ask: bool = False) -> str:
    turns = [{"role": m.role, "content": m.content} for m in messages]
    told = {"enable_thinking": False}  # read by the templates of models that can think, and by no others
    return str(tokenizer.apply_chat_template(turns, add_generation_prompt=ask, tokenize=False, **told))


def _fold_system(messages: Messages) -> Messages:
    system, first, *rest = messages
    return (Message(first.role, f"{system.content}\n\n{first.content}"), *rest)


def _clip_left(ids: list[int], limit: int, *, keep_first: bool) -> list[int]:
    if len(ids) <= limit:
        return ids
    return [ids[0], *ids[len(ids) - limit + 1 :]] if keep_first and limit > 1 else ids[-limit:]


def _closing_token(tokenizer: Any) -> int | None:
    """The first special token that the template writes after an assistant's words."""
    rendered = _rendered(tokenizer, (Message("user", "a"), Message("assistant", _MARKER)))
    after = rendered[rendered.rfind(_MARKER) + len(_MARKER) :] if _MARKER in rendered else ""
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    return next((i for i in tokenizer(after, add_special_tokens=False)["input_ids"] if i in special), None)


def _name(tokenizer: Any) -> str:
    return str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
