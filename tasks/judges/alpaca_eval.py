"""Annotators of the alpaca_eval package as judges: `alpaca_eval:NAME`, or `alpaca_eval:PATH` for your own.

The package does the annotation: its prompts, its decoders, its parsers, its seeded choice of which answer is shown
first. What is ours is where its cache lies, what the endpoint and the key are, that no failure looks like a tie, and
that the failure of one item is not that of others (`tasks.judges.guarded`, `tasks.judges.endpoint`).

Dubois et al. 2024, "Length-Controlled AlpacaEval", arXiv:2404.04475; package alpaca_eval, Apache-2.0.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from harness.contracts import HarnessError, Judge, JudgeBasis, JudgeItem, JudgeTools, Verdict
from harness.hookspecs import hookimpl
from harness.util.addresses import shown_address
from harness.util.files import write_json
from harness.util.hashes import content_hash
from tasks.judges.annotators import PACKAGE, addresses, configuration, endpoint, fingerprint, package
from tasks.judges.endpoint import secrets_of, watching_client
from tasks.judges.guarded import COLUMNS, UNPARSABLE, Failures, Key, annotator
from tasks.judges.prompts import conversation

EXAMPLE = "weighted_alpaca_eval_gpt4_turbo"
CHUNK = 32
"""Items between two reports of progress, and at most lost when the endpoint goes away."""

Annotation = dict[str, Any]
"""What is remembered of an annotation: the preference, tokens, cost, and what the annotator said."""


class AlpacaEvalAnnotator:
    """An annotator of the alpaca_eval package, by name or path (`alpaca_eval:weighted_alpaca_eval_gpt4_turbo`)."""

    name: ClassVar[str] = "alpaca_eval"
    version: ClassVar[str] = "2"
    configuration: ClassVar[Path | None] = None
    """The annotator's `configs.yaml`."""

    def __init__(self, tools: JudgeTools | None = None) -> None:
        self.tools = tools

    @classmethod
    def named(cls, argument: str) -> type[Judge]:
        """The judge that annotates with configuration `argument`. Raises HarnessError with the nearest name."""
        package()
        path = configuration(argument)
        version = f"2+{PACKAGE}-{metadata.version(PACKAGE)}+{fingerprint(path)[:8]}"
        facts = {"name": f"alpaca_eval:{argument}", "version": version, "configuration": path, "__doc__": cls.__doc__}
        return type("AlpacaEvalAnnotator", (AlpacaEvalAnnotator,), facts)

    def with_tools(self, tools: JudgeTools) -> Judge:
        """The judge with a folder for its annotations."""
        return type(self)(tools)

    def basis(self) -> JudgeBasis:
        """The annotator with its prompts, and where its endpoint is."""
        if self.configuration is None:
            return JudgeBasis()
        return JudgeBasis(facts={"annotator": fingerprint(self.configuration), "endpoint": addresses(os.environ)})

    def ready(self) -> None:
        """Raise HarnessError for what is missing before anything is generated: annotator, package, key."""
        endpoint(self._configured, os.environ)

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """One verdict per item; what the cache holds is not asked for again, failures are.

        A refused or malformed reply is the status of its item. Raises HarnessError for a missing key or package and for
        an endpoint that refuses the key, has no quota, is unknown or does not answer; verdicts given before are kept.
        """
        told = endpoint(self._configured, os.environ)
        file = self._cache_file(self._configured)
        known = {} if file is None else _read(file)
        failures = Failures(secrets_of(told))
        for start in range(0, len(items), CHUNK):
            part = items[start : start + CHUNK]
            missing = [key for key in dict.fromkeys(map(_key, part)) if _name(key) not in known]
            if missing:
                known |= self._asked(missing, told, failures)
                if file is not None:
                    _write(file, known)
            if failures.stop:
                place = shown_address(told["openai_api_base"]) if told.get("openai_api_base") else "the endpoint"
                raise HarnessError(f"judge {self.name}: {place} {failures.stop}")
            if self.tools is not None:
                self.tools.progress(f"judge {self.name}", start + len(part), len(items))
        return [_verdict(known.get(_name(key)), failures.reasons.get(key, UNPARSABLE)) for key in map(_key, items)]

    @property
    def _configured(self) -> Path:
        if self.configuration is None:
            raise HarnessError(f"judge {self.name} needs the name or path of an annotator: {self.name}:{EXAMPLE}")
        return self.configuration

    def _asked(self, keys: Sequence[Key], told: Mapping[str, Any], failures: Failures) -> dict[str, Annotation]:
        """The package's annotations of these pairs by the name of their key, without those that failed."""
        rows = [dict(zip(COLUMNS, key, strict=True)) for key in keys]
        settings = {**told, "client_kwargs": {"http_client": watching_client()}} if told else {}
        with _quiet():
            annotated = annotator(self._configured, failures)(rows, **settings)
        found = {_name(tuple(row[name] for name in COLUMNS)): _kept(row) for row in annotated}
        return {name: row for name, row in found.items() if row is not None}

    def _cache_file(self, path: Path) -> Path | None:
        """The annotations' file: another one for another configuration, package or endpoint."""
        if self.tools is None:
            return None
        digest = content_hash(fingerprint(path), metadata.version(PACKAGE), addresses(os.environ))
        return self.tools.cache / f"annotations-{digest[:16]}.json"


# ---------------------------------------------------------------- one item


def _key(item: JudgeItem) -> Key:
    return conversation(item.prompt), item.a, item.b


def _name(key: Sequence[str]) -> str:
    return content_hash(list(key))


def _kept(row: Mapping[str, Any]) -> Annotation | None:
    """What is remembered of an annotation; None where the package could not read the answer as one."""
    preference = _number(row.get("preference"))
    if preference is None or not (preference == 0 or 1 <= preference <= 2):
        return None
    raw = row.get("preference_raw_completion")
    raw = None if isinstance(raw, float) else raw  # identical outputs are a tie without a question: NaN
    return {
        "preference": preference,
        "tokens": _tokens(row),
        "cost": _number(row.get("preference_price_per_example")) or 0.0,
        "raw": json.dumps(raw, default=str) if isinstance(raw, dict | list) else str(raw or ""),
    }


def _verdict(row: Annotation | None, reason: str) -> Verdict:
    """From the package's preference: 1 the first output, 2 the second, between them a probability, 0 or 1.5 a tie."""
    if row is None:
        return Verdict(0.5, (), "", 0, 0.0, reason)
    p_a = 0.5 if row["preference"] == 0 else 2 - row["preference"]
    return Verdict(p_a, (p_a,), row["raw"], row["tokens"], row["cost"])


def _tokens(row: Mapping[str, Any]) -> int:
    """Tokens of prompt and answer as the endpoint counted them; 0 where it did not."""
    for name in ("preference_completions_all", "preference_raw_completion"):
        counted = row.get(name)
        if isinstance(counted, Mapping) and counted.get("total_tokens"):
            return int(counted["total_tokens"])
    return 0


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


# ---------------------------------------------------------------- the cache


SEAL = "seal"


def _read(file: Path) -> dict[str, Annotation]:
    """Annotations by the name of their key; without those that are not what was written, which are asked for again."""
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        found = None
    entries = found if isinstance(found, dict) else {}
    kept = {name: row for name, value in entries.items() if (row := _believed(name, value)) is not None}
    if not isinstance(found, dict) or len(kept) < len(entries):
        lost = f"{len(entries) - len(kept)} of {len(entries)}" if entries else "all"
        warnings.warn(
            f"{lost} annotations of a judge in {file.parent} are not what was written; they are asked for again",
            stacklevel=2,
        )
    return kept


def _believed(name: str, value: Any) -> Annotation | None:
    row = {key: part for key, part in value.items() if key != SEAL} if isinstance(value, dict) else None
    return row if row is not None and value.get(SEAL) == content_hash(name, row) else None


def _write(file: Path, known: Mapping[str, Annotation]) -> None:
    """Write the annotations whole or not at all, each with the hash of what it says."""
    write_json(file, {name: {**row, SEAL: content_hash(name, row)} for name, row in known.items()})


# ---------------------------------------------------------------- the package's manners


@contextmanager
def _quiet() -> Iterator[None]:
    """No log lines and bars of the package's, which on import also sets the level of the root logger."""
    root = logging.getLogger()
    level, disabled = root.level, logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
        logging.disable(disabled)


@hookimpl
def harness_judges() -> list[type[Judge]]:
    """The judge of this module."""
    return [AlpacaEvalAnnotator]
