"""What a tokenizer's files say of its control tokens, read without loading it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ControlTokens:
    """Texts that a tokenizer reads as one control token each."""

    texts: frozenset[str]
    without_row: frozenset[str]
    """Those for which the model's embedding has no row: a text that holds one cannot be computed."""


def control_tokens(folder: Path) -> ControlTokens:
    """The control tokens of the tokenizer in a model's folder; none where its files do not say."""
    config = _json(folder / "config.json")
    inner = config.get("text_config")
    rows = config.get("vocab_size", inner.get("vocab_size") if isinstance(inner, Mapping) else None)
    found = dict(_listed(folder))
    over = {text for text, identity in found.items() if isinstance(rows, int) and identity >= rows}
    return ControlTokens(frozenset(found), frozenset(over))


def _listed(folder: Path) -> Iterator[tuple[str, int]]:
    """(text, id) of every control token, id -1 where the file names the text alone."""
    settings, names = _json(folder / "tokenizer_config.json"), _json(folder / "special_tokens_map.json")
    for values in (names, settings):
        for key, value in values.items():
            text = value.get("content") if isinstance(value, Mapping) else value
            if key.endswith("_token") and isinstance(text, str) and text:
                yield text, -1
    decoder = settings.get("added_tokens_decoder")
    for key, token in (decoder if isinstance(decoder, Mapping) else {}).items():
        if isinstance(token, Mapping) and token.get("special") and str(key).isdigit():
            yield str(token.get("content")), int(key)
    added = _json(folder / "tokenizer.json").get("added_tokens")
    for token in added if isinstance(added, list) else []:
        if isinstance(token, Mapping) and token.get("special"):
            yield str(token.get("content")), int(token.get("id", -1))


def _json(path: Path) -> Mapping[str, Any]:
    """The object in a file; empty where there is none, or it is no JSON: loading the model will say so."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
