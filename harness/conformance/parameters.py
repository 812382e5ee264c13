"""Checks of an aligner's hyper-parameters: each is documented, plain, and changes something."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.conformance.checks import CheckFailed, required
from harness.conformance.lab import Lab


def check_parameters_plain(lab: Lab) -> str:
    """Config has defaults, refuses unknown keys, is frozen and survives JSON; the constructor only stores it."""
    name, config_class = lab.aligner_class.name, lab.aligner_class.Config
    try:
        config = config_class()
    except ValidationError as error:
        raise CheckFailed(f"{name}: every hyper-parameter needs a default ({error.error_count()} have none)") from error
    _refuses(lambda: config_class.model_validate({"no_such_parameter": 1}), f"{name}: Config must have extra='forbid'")
    for parameter in config_class.model_fields:
        value = getattr(config, parameter)
        _refuses(partial(setattr, config, parameter, value), f"{name}: {parameter} can be changed after construction")
        required(_hashable(value), f"{name}: {parameter} holds a mutable {type(value).__name__}; use a tuple")
    required(_through_json(config) == config, f"{name}: Config does not survive JSON: {config!r}")
    stored = lab.aligner_class(config)
    required(stored.config is config, f"{name}: the constructor must store the config it is given as .config")
    extra = sorted(k for k, v in getattr(stored, "__dict__", {}).items() if v is not config)
    required(not extra, f"{name}: the constructor must store the config and nothing else, but sets {', '.join(extra)}")
    return ""


def check_parameters_documented(lab: Lab) -> str:
    """Every hyper-parameter has a description, and a valid probe value or the reason why it changes nothing."""
    for parameter, info in lab.aligner_class.Config.model_fields.items():
        label = f"{lab.aligner_class.name}.{parameter}"
        required(bool((info.description or "").strip()), f"{label} has no description")
        extra = _extra(info)
        given = {"probe", "no_effect"} & set(extra)
        required(len(given) == 1, f"{label} needs either 'probe' or 'no_effect' in json_schema_extra")
        strangers = sorted(set(extra.get("probe_with", {})) - set(lab.aligner_class.Config.model_fields))
        required(
            not strangers, f"{label}: probe_with names {', '.join(map(repr, strangers))}, which is no hyper-parameter"
        )
        if "probe" in given:
            try:
                default, other = probed(lab, parameter)
            except ValidationError as error:
                raise CheckFailed(f"{label}: its probe {extra['probe']!r} is not valid: {error}") from error
            required(default != other, f"{label}: its probe {extra['probe']!r} is the default")
    return ""


def check_parameters_matter(lab: Lab) -> str:
    """Every probe value changes the fitted model; a hyper-parameter that is said to change nothing is at least read."""
    faults, remarks = [], []
    for parameter, info in lab.aligner_class.Config.model_fields.items():
        extra = _extra(info)
        if "no_effect" in extra:
            remarks.append(f"{parameter} has no effect: {extra['no_effect']}")
            if parameter not in _read(lab):
                faults.append(f"{parameter} is never read, although it is said to be ({extra['no_effect']})")
        elif "probe" in extra:
            default, other = (lab.result(config=config).behaviour for config in probed(lab, parameter))
            if default == other:
                faults.append(f"{parameter} changes nothing: its probe {extra['probe']!r} gives the same model")
    required(not faults, f"{lab.aligner_class.name}: {'; '.join(faults)}")
    return "; ".join(remarks)


def _extra(info: Any) -> dict[str, Any]:
    return dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}


def probed(lab: Lab, parameter: str) -> tuple[BaseModel, BaseModel]:
    """Two configs that differ in one hyper-parameter: its default and its probe, both with the probe's companions."""
    model_fields = lab.aligner_class.Config.model_fields
    info = model_fields[parameter]
    extra = _extra(info)
    companions = {model_fields[k].alias or k: v for k, v in extra.get("probe_with", {}).items()}
    validate = lab.aligner_class.Config.model_validate
    return validate(companions), validate({**companions, info.alias or parameter: extra["probe"]})


def _read(lab: Lab) -> frozenset[str]:
    """Names of the hyper-parameters that a fit looks at; dumping the whole config counts as looking at all."""
    seen: set[str] = set()
    config_class = lab.aligner_class.Config
    names = frozenset(config_class.model_fields)

    def look(self: BaseModel, name: str) -> Any:
        seen.update(names if name.startswith("model_dump") else {name} & names)
        return super(recording, self).__getattribute__(name)

    body = {"__getattribute__": look, "__module__": config_class.__module__}
    recording: type[BaseModel] = type(config_class.__name__, (config_class,), body)
    config = recording()
    with lab.session(config=config) as session:
        seen.clear()
        session.fit()
        return frozenset(seen)


def _refuses(action: Callable[[], object], message: str) -> None:
    try:
        action()
    except (ValidationError, TypeError, AttributeError):
        return
    raise CheckFailed(message)


def _through_json(config: BaseModel) -> BaseModel | None:
    try:
        return type(config).model_validate(json.loads(config.model_dump_json(by_alias=True)))
    except ValidationError:
        return None


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
