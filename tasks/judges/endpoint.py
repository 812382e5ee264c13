"""An OpenAI-compatible endpoint: what stops a run, what costs one item alone, and which words may be shown.

A refused or malformed reply costs the item that it answers. What stops a run is what every further item would meet as
well: a key that is refused, an address that is wrong or silent, a quota that is spent. No message ever holds a key, or
the user information or the query of an address.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from harness.util.addresses import shown_address

LONGEST = 200
"""Characters of an endpoint's own words that a message quotes."""
HIDDEN = "***"
LEAST_SECRET = 6
"""Shorter values are not masked: `any`, which local servers take, stands in every other sentence."""
_NAMED_SECRET = re.compile(r"(?i)((?:api[-_]?key|token|secret|password|authorization|bearer|sig)\W{1,3})[^\s\"'&,;]+")
_KEY_LIKE = re.compile(r"\b(?:sk|pk|key|gsk|hf|xai)[-_][\w-]{8,}")
_ADDRESS = re.compile(r"\bhttps?://[^\s\"'<>]+")
_SECRET_FIELD = re.compile(r"(?i)key|token|secret|password")
_FILTERED = re.compile(r"(?i)content[ _-]?(?:filter|policy|management)|moderation|flagged")
_QUOTA = re.compile(r"(?i)insufficient_quota|exceeded your current quota|billing|credit")


# ---------------------------------------------------------------- what may be shown


def secrets_of(told: Mapping[str, Any]) -> tuple[str, ...]:
    """Every key and password of the settings that the package's decoder is given, long ones first."""
    found = {str(key) for key in told.get("openai_api_keys") or ()}
    found |= _of_address(str(told.get("openai_api_base") or ""))
    client = told.get("client_config_path")
    if client and Path(str(client)).is_file():
        found |= set(_in_file(Path(str(client))))
    return tuple(sorted((secret for secret in found if len(secret) >= LEAST_SECRET), key=len, reverse=True))


def masked(text: str, secrets: Iterable[str]) -> str:
    """A text on one line, at most `LONGEST` characters, without secrets and with addresses shortened."""
    line = " ".join(text.split())
    for secret in secrets:
        line = line.replace(secret, HIDDEN)
    line = _ADDRESS.sub(lambda found: shown_address(found[0]), line)
    line = _KEY_LIKE.sub(HIDDEN, _NAMED_SECRET.sub(rf"\1{HIDDEN}", line))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def _of_address(address: str) -> set[str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        return {address}
    values = [value.partition("=")[2] for value in parts.query.split("&")]
    found = {value for value in (parts.username, parts.password, *values) if value}
    return found | {unquote(value) for value in found}


def _in_file(path: Path) -> Iterable[str]:
    """The secrets of a client file, wherever they stand in it."""
    try:
        waiting: list[tuple[str, Any]] = [("", yaml.safe_load(path.read_text("utf-8")))]
    except (OSError, ValueError, yaml.YAMLError):
        return
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(str(key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(name, inner) for inner in value]
        elif isinstance(value, str):
            yield from _of_address(value) if "://" in value else (value,) if _SECRET_FIELD.search(name) else ()


# ---------------------------------------------------------------- replies


def mended(status: int, body: bytes) -> tuple[int, bytes] | None:
    """What replaces a reply that the package would stumble over: (status, JSON); None where the reply is well formed.

    A page instead of JSON is an address without its end (404); a reply cut short, without a choice or without content
    is a refusal of this item (422); a reply that counts no tokens counts 0.
    """
    if status != 200:
        return None
    try:
        reply = json.loads(body)
    except ValueError:
        cut = body.lstrip()[:1] in (b"{", b"[")
        return _refusal(422, "the reply is JSON cut short") if cut else _refusal(404, "the address answers no JSON")
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        return _refusal(422, "the reply holds no choice")
    if choices[0].get("finish_reason") == "content_filter":
        return _refusal(422, "the endpoint's content filter stopped the answer")
    if not (isinstance(reply.get("usage"), dict) and reply["usage"].get("total_tokens")):
        counts = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        return 200, json.dumps({**reply, "usage": counts}).encode()
    return None


def _refusal(status: int, reason: str) -> tuple[int, bytes]:
    return status, json.dumps({"error": {"message": reason}}).encode()


def watching_client() -> Any:
    """The HTTP client of the openai library, with `mended` between the endpoint and the library."""
    import openai

    class Watching(openai.DefaultHttpxClient):
        def send(self, request: Any, **options: Any) -> Any:
            response = super().send(request, **options)
            if (found := mended(response.status_code, response.read())) is None:
                return response
            headers = {"content-type": "application/json"}
            return type(response)(found[0], headers=headers, content=found[1], request=request)

    return Watching()


# ---------------------------------------------------------------- failures


def stops(error: Exception) -> str | None:
    """Why a run cannot go on after this error, as what the endpoint did; None where it is about one item alone."""
    import openai

    if isinstance(error, openai.APIConnectionError):
        return "does not answer; check the address and the server"
    if not isinstance(error, openai.APIStatusError):
        return None
    text = f"{error.code} {error.message}"
    if error.status_code == 402 or (error.status_code == 429 and _QUOTA.search(text)):
        return f"has no quota left: {error.message}"
    if error.status_code == 401 or (error.status_code == 403 and not _FILTERED.search(text)):
        return f"refuses the key: {error.message}"
    if error.status_code == 404:
        return f"knows no such address or model; is /v1 missing from the address? {error.message}"
    return None


def reason(error: Exception) -> str:
    """Why one item has no verdict."""
    import openai

    if isinstance(error, openai.APIStatusError):
        if _FILTERED.search(f"{error.code} {error.message}"):
            return f"content_filter: {error.message}"
        return f"the endpoint refused this item ({error.status_code}): {error.message}"
    return f"the endpoint's reply could not be used ({type(error).__name__}: {error})"


def about_item(error: Exception) -> bool:
    """Whether the endpoint says that it is this item which it does not take; else it is overloaded or broken."""
    return getattr(error, "status_code", 0) in (400, 403, 413, 422)
