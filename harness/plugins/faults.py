"""What is wrong with a plug-in class, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

import yaml
from pydantic import BaseModel

from harness.contracts import Capability, Dataset, EngineCapability, ModelSource, Need
from harness.util.names import nearest

NAME = re.compile(r"[^\W_][\w.+-]*")
LONGEST_NAME = 64
RESERVED = frozenset({"all", "none"})
"""Words that mean something else where a name is asked for: every aligner; nothing."""


def name_faults(value: object) -> Iterator[str]:
    """What is wrong with the names of a plug-in's value: commands and config files must be able to hold them."""
    aliases = getattr(value, "aliases", ())
    if not isinstance(aliases, tuple | list | frozenset):
        yield f"must have aliases that are a tuple of names, not {type(aliases).__name__}"
        return
    for name in (getattr(value, "name", None), *aliases):
        if not isinstance(name, str):
            yield "must have names of type str"
        elif not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            yield f"must be named by up to {LONGEST_NAME} letters, digits, _ . + - with a letter or digit first"
        elif name.lower() in RESERVED or not isinstance(yaml.safe_load(name), str):
            yield "has a name that is reserved, or that config files read as something else than a name"


def class_faults(value: object, texts: Sequence[str], methods: Sequence[str]) -> Iterator[str]:
    """Faults of any plug-in class: missing texts, missing methods, an instance in place of a class."""
    if not isinstance(value, type):
        yield "must be a class, not an instance"
        return
    for attribute in texts:
        if not isinstance(getattr(value, attribute, None), str):
            yield f"must have a class attribute {attribute!r} of type str"
    if not getattr(value, "name", ""):
        yield "must have a name that is not empty"
    yield from method_faults(value, methods)


def method_faults(value: object, methods: Sequence[str]) -> Iterator[str]:
    """One line for each method that is missing."""
    for method in methods:
        if not callable(getattr(value, method, None)):
            yield f"must have a method {method!r}"


def set_faults(value: object, attribute: str, allowed: tuple[str, ...]) -> Iterator[str]:
    """Faults of a class attribute that must be a frozenset of allowed values."""
    given = getattr(value, attribute, None)
    if not isinstance(given, frozenset):
        yield f"must have a class attribute {attribute!r} of type frozenset"
        return
    for item in sorted(map(str, given - set(allowed))):
        yield f"has {item!r} in {attribute!r}; {nearest(item, allowed)}"


def aligner_faults(value: object) -> Iterator[str]:
    """What is wrong with an aligner class."""
    yield from class_faults(value, ("name", "paper", "version"), ("fit",))
    for attribute in ("requires", "accepts"):
        yield from set_faults(value, attribute, get_args(Need))
    for attribute, allowed in (("capabilities", get_args(Capability)), ("asks", get_args(EngineCapability))):
        if hasattr(value, attribute):
            yield from set_faults(value, attribute, allowed)
    config = getattr(value, "Config", None)
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        yield "must have a class attribute 'Config' that is a pydantic model"
    elif not config.model_config.get("frozen"):
        yield "has a Config that is not frozen; set model_config = ConfigDict(frozen=True, extra='forbid')"


def task_faults(value: object) -> Iterator[str]:
    """What is wrong with a task class."""
    texts = ("name", "paper", "licence", "main_metric", "default_pool")
    yield from class_faults(value, texts, ("revision", "questions", "evaluate"))
    for attribute in ("requires", "accepts"):
        yield from set_faults(value, attribute, get_args(Capability))
    metrics = getattr(value, "metrics", None)
    if not isinstance(metrics, Mapping):
        yield "must have a class attribute 'metrics' that maps each metric to its meaning"
    elif getattr(value, "main_metric", None) not in metrics:
        yield f"has a main_metric that is not among its metrics ({', '.join(map(str, metrics))})"


def pool_faults(value: object) -> Iterator[str]:
    """What is wrong with a pool class."""
    yield from class_faults(
        value, ("name", "licence"), ("revision", "questions", "pairs", "prompts", "groups", "verifier")
    )
    if not isinstance(getattr(value, "dataset", None), Dataset):
        yield "must have a class attribute 'dataset' of type harness.contracts.Dataset"


def judge_faults(value: object) -> Iterator[str]:
    """What is wrong with a judge class."""
    yield from class_faults(value, ("name", "version"), ("compare",))


def backend_faults(value: object) -> Iterator[str]:
    """What is wrong with a backend class."""
    yield from class_faults(value, ("name",), ("open",))
    yield from set_faults(value, "capabilities", get_args(EngineCapability))


def model_faults(value: object) -> Iterator[str]:
    """What is wrong with a built-in model."""
    if not isinstance(value, ModelSource):
        yield "must be a harness.contracts.ModelSource"


def observer_faults(value: object) -> Iterator[str]:
    """What is wrong with an observer."""
    if isinstance(value, type):
        yield "must be an instance, not a class"
    yield from method_faults(value, ("started", "logged", "finished"))


def executor_faults(value: object) -> Iterator[str]:
    """What is wrong with an executor class."""
    yield from class_faults(value, ("name",), ("room", "submit", "poll", "cancel", "close"))
