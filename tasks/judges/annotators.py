"""Annotators of the alpaca_eval package: where their configurations are, what they consist of, whom they ask."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from harness.contracts import HarnessError
from harness.util.addresses import shown_address
from harness.util.files import expanded
from harness.util.hashes import content_hash
from harness.util.names import nearest

PACKAGE = "alpaca_eval"
CONFIGURATIONS = "evaluators_configs"
OPENAI = "openai_completions"
KEYS = ("OPENAI_API_KEYS", "OPENAI_API_KEY")
BASES = ("OPENAI_API_BASE", "OPENAI_BASE_URL")
CLIENTS = "OPENAI_CLIENT_CONFIG_PATH"
"""Environment variables, as the package and its client call them; the first that is set counts."""


def configuration(argument: str) -> Path:
    """The `configs.yaml` of an annotator: a name of the package's, a folder, or the file itself.

    Raises HarnessError with the nearest name when there is none, or when the package is not installed.
    """
    given = expanded(argument)
    for candidate in (given / "configs.yaml", given):
        if candidate.is_file() and candidate.suffix in (".yaml", ".yml"):
            return candidate.resolve()
    folder = package() / CONFIGURATIONS
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


def addresses(environment: Mapping[str, str]) -> str:
    """Where questions go, without secrets; empty for the package's own choice."""
    clients, base = _first(environment, (CLIENTS,)), _first(environment, BASES)
    if clients and Path(clients).is_file():
        try:
            found = sorted(set(_urls(yaml.safe_load(Path(clients).read_text("utf-8")))))
        except (OSError, ValueError, yaml.YAMLError):
            return "unreadable client file"
        return " ".join(map(shown_address, found))
    return shown_address(base) if base else ""


def _urls(value: Any) -> Iterator[str]:
    """Every text below `value` that is an address."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _urls(inner)
    elif isinstance(value, str) and "://" in value:
        yield value


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


def package() -> Path:
    """The package's folder. Raises HarnessError where it is not installed."""
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
