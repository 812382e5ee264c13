"""What keeps strangers' texts inert in the site: policy of its pages, names of its files, data in its scripts.

Texts stand in pages through Jinja's escaping (`site.environment` switches it on for every template) and in the sample
viewer as text nodes. Characters that fool a reader are spelt out before that.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError
from harness.util.hashes import content_hash
from harness.util.safe_text import block, json_text

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'"
)
"""Content-security policy of every page: scripts and styles from the site's own files, no connection anywhere."""
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_MARKUP = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def file_name(name: str) -> str:
    """A name for a file or a link, for whatever stands in `name`: itself where it is harmless, else a hash of it."""
    return name if _PLAIN.fullmatch(name) else content_hash(name)[:16]


def script_json(value: Any) -> str:
    """JSON for inside a script: it ends no element, opens no comment, and parses to the same value."""
    return json_text(value, indent=0).replace("\n", "").translate(_MARKUP)


def shown(value: Any) -> Any:
    """A value as a reader may see it: in all its texts, what fools a reader is spelt out."""
    if isinstance(value, str):
        return block(value)
    if isinstance(value, dict):
        return {block(str(name)): shown(part) for name, part in value.items()}
    return [shown(part) for part in value] if isinstance(value, list | tuple) else value


def check_extra() -> None:
    """Raises HarnessError where a package of the extra `site` is missing, before anything is written."""
    for name in ("jinja2", "altair", "vl_convert"):
        try:
            import_module(name)
        except ImportError as error:
            raise HarnessError(f"pages and figures need {name}: pip install 'align-harness[site]'") from error


def put(path: Path, content: bytes) -> None:
    """Write a file of the site. A site is made again when it was not finished: nothing waits for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
