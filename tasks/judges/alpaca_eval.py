"""Annotators of the alpaca_eval package as judges: `alpaca_eval:NAME`, or `alpaca_eval:PATH` to one's own.

The package does the annotation: its prompts, its decoders, its parsers, its seeded choice of which answer is shown
first. What is ours is where its cache lies, what the endpoint and the key are, and that no failure looks like a tie.

Dubois et al. 2024, "Length-Controlled AlpacaEval", arXiv:2404.04475; package alpaca_eval, Apache-2.0.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import yaml

from harness.contracts import HarnessError, Judge, JudgeItem, JudgeTools, Verdict
from harness.hookspecs import hookimpl
from harness.util.files import expanded
from harness.util.hashes import content_hash
from harness.util.names import nearest
from tasks.judges.prompts import conversation

PACKAGE = "alpaca_eval"
CONFIGURATIONS = "evaluators_configs"
OPENAI = "openai_completions"
EXAMPLE = "weighted_alpaca_eval_gpt4_turbo"
KEYS = ("OPENAI_API_KEYS", "OPENAI_API_KEY")
BASES = ("OPENAI_API_BASE", "OPENAI_BASE_URL")
CLIENTS = "OPENAI_CLIENT_CONFIG_PATH"
"""Environment variables, as the package and its client call them; the first that is set counts."""
CHUNK = 32
"""Items between two reports of progress, and at most lost when the endpoint goes away."""
KEPT = ("price_per_example", "completions_all", "raw_completion")
"""Columns, behind the name of the annotation, that the package is asked to keep."""
UNPARSABLE = "the annotator's answer could not be read as a verdict"

Row = dict[str, Any]
Key = tuple[str, str, str]
COLUMNS = ("instruction", "output_1", "output_2")


class AlpacaEval:
    """An annotator of the alpaca_eval package, by name or path (`alpaca_eval:weighted_alpaca_eval_gpt4_turbo`)."""

    name: ClassVar[str] = "alpaca_eval"
    version: ClassVar[str] = "1"
    configuration: ClassVar[Path | None] = None
    """The annotator's `configs.yaml`."""

    def __init__(self, tools: JudgeTools | None = None) -> None:
        self.tools = tools

    @classmethod
    def named(cls, argument: str) -> type[Judge]:
        """The judge that annotates with configuration `argument`. Raises HarnessError with the nearest name."""
        _package()
        path = configuration(argument)
        version = f"1+{PACKAGE}-{metadata.version(PACKAGE)}+{fingerprint(path)[:8]}"
        facts = {"name": f"alpaca_eval:{argument}", "version": version, "configuration": path, "__doc__": cls.__doc__}
        return type("AlpacaEval", (AlpacaEval,), facts)

    def with_tools(self, tools: JudgeTools) -> Judge:
        """The judge with a folder for its annotations."""
        return type(self)(tools)

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """One verdict per item; what the cache holds is not asked for again, failures are.

        Raises HarnessError for a missing key or package and for an endpoint that refuses or does not answer.
        """
        if self.configuration is None:
            raise HarnessError(f"judge {self.name} needs the name or path of an annotator: {self.name}:{EXAMPLE}")
        told = endpoint(self.configuration, os.environ)
        file = self._cache_file(self.configuration, told)
        known = {} if file is None else _read(file)
        for start in range(0, len(items), CHUNK):
            part = items[start : start + CHUNK]
            missing = [key for key in dict.fromkeys(map(_key, part)) if _name(key) not in known]
            if missing:
                known |= self._asked(missing, told)
                if file is not None:
                    _write(file, known)
            if self.tools is not None:
                self.tools.progress(f"judge {self.name}", start + len(part), len(items))
        return [_verdict(known.get(_name(_key(item)))) for item in items]

    def _asked(self, keys: Sequence[Key], told: Mapping[str, Any]) -> dict[str, Row]:
        """The package's annotations of these pairs by the name of their key, without those that failed."""
        rows = [dict(zip(COLUMNS, key, strict=True)) for key in keys]
        with _quiet(), _reported(self.name, told):
            annotated = self._annotator(rows, **told)
        found = {_name(tuple(row[name] for name in COLUMNS)): _kept(row) for row in annotated}
        return {name: row for name, row in found.items() if row is not None}

    @cached_property
    def _annotator(self) -> Any:
        from alpaca_eval.annotators import PairwiseAnnotator

        return PairwiseAnnotator(
            annotators_config=self.configuration,
            caching_path=None,
            is_avoid_reannotations=False,
            other_output_keys_to_keep=[f"{{annotation_key}}_{name}" for name in KEPT],
        )

    def _cache_file(self, path: Path, told: Mapping[str, Any]) -> Path | None:
        """The annotations' file: another one for another configuration, package or endpoint."""
        if self.tools is None:
            return None
        address = {name: value for name, value in told.items() if name != "openai_api_keys"}
        digest = content_hash(fingerprint(path), metadata.version(PACKAGE), address)
        return self.tools.cache / f"annotations-{digest[:16]}.json"


# ---------------------------------------------------------------- configurations


def configuration(argument: str) -> Path:
    """The `configs.yaml` of an annotator: a name of the package's, a folder, or the file itself.

    Raises HarnessError with the nearest name when there is none, or when the package is not installed.
    """
    given = expanded(argument)
    for candidate in (given / "configs.yaml", given):
        if candidate.is_file() and candidate.suffix in (".yaml", ".yml"):
            return candidate.resolve()
    folder = _package() / CONFIGURATIONS
    if argument and (folder / argument / "configs.yaml").is_file():
        return folder / argument / "configs.yaml"
    known = sorted(entry.name for entry in folder.iterdir() if (entry / "configs.yaml").is_file())
    hint = nearest(argument, known, cutoff=0.4)
    raise HarnessError(f"alpaca_eval has no annotator {argument!r}, nor is it a folder with configs.yaml; {hint}")


def fingerprint(path: Path) -> str:
    """Hash of a configuration and of every prompt file that it names."""
    annotators = _annotators(path)
    templates = [path.parents[1] / str(annotator.get("prompt_template", "")) for annotator in annotators.values()]
    return content_hash(annotators, [t.read_text("utf-8") for t in templates if _is_file(t)])


def endpoint(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Key, base URL and client file for the package's OpenAI decoder; empty where another decoder is used.

    Raises HarnessError when neither a key nor a client file is there.
    """
    if any(annotator.get("fn_completions", OPENAI) != OPENAI for annotator in _annotators(path).values()):
        return {}
    clients, keys, base = (_first(environment, names) for names in ((CLIENTS,), KEYS, BASES))
    if clients and Path(clients).is_file():
        return {"client_config_path": clients}
    if not keys:
        raise HarnessError(
            f"annotator {path.parent.name!r} asks an OpenAI-compatible endpoint and there is no key; set {KEYS[1]} "
            f"(any text for a local server, with {BASES[0]} its address) or {CLIENTS}"
        )
    # A path that is no file keeps the package from a client file of somebody else's beside its installation.
    return {"client_config_path": os.devnull, "openai_api_keys": keys.split(","), "openai_api_base": base}


def _annotators(path: Path) -> dict[str, dict[str, Any]]:
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise HarnessError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise HarnessError(
            f"{path} is no annotator configuration: a mapping from its name to its settings was expected"
        )
    return found


def _package() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise HarnessError("the alpaca_eval package is not installed; install it with: pip install alpaca-eval")
    return Path(spec.origin).parent


def _is_file(path: Path) -> bool:
    """False too for a whole prompt that stands where a path may."""
    try:
        return path.is_file()
    except OSError:
        return False


def _first(environment: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((value for name in names if (value := environment.get(name))), None)


# ---------------------------------------------------------------- one item


def _key(item: JudgeItem) -> Key:
    return conversation(item.prompt), item.a, item.b


def _name(key: Sequence[str]) -> str:
    return content_hash(list(key))


def _kept(row: Mapping[str, Any]) -> Row | None:
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


def _verdict(row: Row | None) -> Verdict:
    """From the package's preference: 1 the first output, 2 the second, between them a probability, 0 or 1.5 a tie."""
    if row is None:
        return Verdict(0.5, (), "", 0, 0.0, UNPARSABLE)
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


def _read(file: Path) -> dict[str, Row]:
    """Annotations by the name of their key; empty where there is no file. Raises HarnessError for a damaged one."""
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise HarnessError(f"the judge's annotations in {file} are damaged ({error}); delete the file") from error
    return dict(found)


def _write(file: Path, known: Mapping[str, Row]) -> None:
    """Write the annotations whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as target:
            json.dump(known, target, ensure_ascii=False)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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


@contextmanager
def _reported(name: str, told: Mapping[str, Any]) -> Iterator[None]:
    """A failing endpoint or a missing client library as one line that names the address."""
    import openai

    place = told.get("openai_api_base") or "the endpoint"
    try:
        yield
    except openai.APIConnectionError as error:
        raise HarnessError(f"judge {name}: {place} does not answer; check the address and the server") from error
    except openai.OpenAIError as error:
        raise HarnessError(f"judge {name}: {place} refuses: {' '.join(str(error).split())[:300]}") from error
    except ImportError as error:
        raise HarnessError(f"judge {name} needs a package that is not installed: {error}") from error


@hookimpl
def harness_judges() -> list[type[Judge]]:
    """The judge of this module."""
    return [AlpacaEval]
