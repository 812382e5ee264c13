"""What a user asks for: validated, unknown keys refused, from a YAML file and command-line overrides."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from harness.contracts import AskedLengths, Budget, HarnessError, Lengths, budget_for, every_label
from harness.util.names import nearest
from harness.util.plain_yaml import read_plain_yaml
from harness.util.safe_text import cut

DEFAULT_MODEL = "smollm2-135m-instruct"

SEED_LIMIT = 2**32 - 1
"""The largest seed that numpy, and with it every trainer, takes."""
LARGEST_FILE = 2**20
"""Bytes of a config file: one of more is not a config file."""
LARGEST_INT = 2**63 - 1
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
LONGEST_TEXT = 4096
"""Characters of a name, a path or an address."""


def _text_of_one_line(text: str) -> str:
    if len(text) > LONGEST_TEXT or CONTROL.search(text):
        raise ValueError(f"text of one line, without control characters, up to {LONGEST_TEXT} long, was expected")
    return text


def _path_that_can_be(path: Path) -> Path:
    _text_of_one_line(str(path))
    if any(len(part.encode(errors="surrogateescape")) > 255 for part in path.parts):
        raise ValueError("no part of a path may be longer than 255 bytes")
    return path


def _in_words(value: object) -> object:
    """YAML reads `on` and `off` as true and false."""
    return ("off", "on")[value] if isinstance(value, bool) else value


Switch = Annotated[Literal["auto", "on", "off"], BeforeValidator(_in_words)]
Text = Annotated[str, AfterValidator(_text_of_one_line)]
Folder = Annotated[Path, AfterValidator(_path_that_can_be)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


PRESETS: dict[str, Budget] = {
    "2k" if labels == 2000 else str(labels): budget_for(labels) for labels in (8, 32, 128, 512, 2000)
}
MOST_LABELS = 10**9 - 1


class Lora(_Frozen):
    """Shape of the adapter that all aligners of a study share."""

    r: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Literal["all-linear", "attention"] = "all-linear"


class GroupSplit(_Frozen):
    """How a pool of groups' opinions is divided: both splits follow the draw seed."""

    train: float = Field(default=0.6, gt=0, lt=1, description="share of the groups whose labels are auxiliary")
    unseen: float = Field(default=0.25, ge=0, lt=1, description="share of the questions that no method is shown")


class RunConfig(_Frozen):
    """One cell, fully resolved."""

    aligner: Text
    aligner_config: dict[str, Any] = Field(default_factory=dict)
    task: Text
    train_on: Text | None = None
    model: Text = DEFAULT_MODEL
    model_revision: Text | None = None
    data: Text = "auto"
    columns: dict[str, str] = Field(
        default_factory=dict, description="your names of a row's columns, by ours, for the pool of your own pairs"
    )
    split_file: Folder | None = Field(default=None, description="file that names the held-out rows of your own pairs")
    folds: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="parts of your own pairs, each held out once by a fit of its own; 1: they are divided once; null: "
        "five for a file below 200 pairs that says no split, else one",
    )
    fold: int | None = Field(default=None, ge=0, description="which of the folds this cell holds out, from 0")
    budget: Budget = PRESETS["32"]
    groups: GroupSplit = GroupSplit()
    lora: Lora = Lora()
    lengths: AskedLengths = AskedLengths()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: fp32, and bf16 for models of more than 2e9 parameters on a GPU"
    )
    fast_paths: Switch = Field(
        default="auto", description="auto: as doctor --measure found, else on for a CPU and off for a GPU"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="less memory while training, and a second forward: layers are computed again"
    )
    processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="how many make a fit together, each on a GPU of its own",
    )
    accelerate_config: Folder | None = Field(
        default=None,
        description="file of accelerate's (FSDP or DeepSpeed) that says how the processes divide the model's weights",
    )
    backend: Text = "hf"
    seed: int = Field(default=0, ge=0, le=SEED_LIMIT, description="training seed")
    draw_seed: int = Field(default=0, ge=0, le=SEED_LIMIT, description="which pairs are drawn")
    shuffle_labels: bool = Field(
        default=False, description="control: half of the drawn pairs, by hash, have chosen and rejected swapped"
    )
    limit: int | None = Field(default=None, ge=1, description="evaluate the first N items")
    num_fewshot: int = Field(default=0, ge=0)
    generate: bool = Field(default=False, description="have the answer to a question with options written, too")
    judge: Text | None = None
    baseline: Text | None = Field(
        default=None,
        description="whose answers are judged against: reference (the task's), base, or a run's id; None: reference, "
        "or base under a judge that compares with the reference",
    )
    outputs: Folder | None = Field(
        default=None, description="file of another model's outputs, which this cell scores; its aligner is `outputs`"
    )
    profile: Literal["cpu-demo"] | None = None
    trust_remote_code: bool = False
    checkpoint_steps: int = Field(default=8, ge=1, description="optimizer steps between resumable checkpoints")
    store: Folder = Path("runs")


CPU_DEMO: dict[str, Any] = {"budget": {"preset": "32"}, "limit": 24, "lengths": {"sample_prompts": 2}}
"""What the profile `cpu-demo` sets: the default model on a CPU, when no budget is asked for."""
LONGEST: Mapping[str | None, Lengths] = {
    None: Lengths(prompt=512, completion=256, new_tokens=256),
    "cpu-demo": Lengths(prompt=384, completion=128, new_tokens=128),
}
"""By profile: tokens that a pool can ask for at most, and what a pool gets whose lengths say nothing."""


# ---------------------------------------------------------------- reading what a user wrote

M = TypeVar("M", bound=BaseModel)


def keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields under the names that a user writes: the alias where there is one (`lambda`)."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def check_keys(model: type[BaseModel], given: Collection[str], where: str) -> None:
    """Raises HarnessError naming the first key that `model` does not have, and the nearest that it has."""
    known = keys(model)
    for key in given:
        if key not in known:
            raise HarnessError(f"{where}: unknown key {cut(key)}; {nearest(str(key), known)}")


def parse(model: type[BaseModel], key: str, text: str, *, where: str, label: str) -> Any:
    """The value that `text`, from a command line, means for field `key`.

    A reading as YAML that is exactly of the field's type comes first (`null`, `3`, `[1, 2]`), then the text itself,
    then YAML converted. Raises HarnessError naming `where` for an unknown key, else `label`, value and expected type.
    """
    check_keys(model, [key], where)
    field = keys(model)[key]
    adapter = _adapter(field)
    value = _yaml_scalar(text)
    for candidate, strict in ((value, True), (text, False)):
        try:
            return _storable(adapter.validate_python(candidate, strict=strict))
        except ValueError:  # pydantic's is one
            continue
    return check_value(field, value, label, shown=text)


def check_value(field: FieldInfo, value: Any, label: str, *, shown: object = None) -> Any:
    """`value` converted to the field's type. Raises HarnessError naming `label`, the value and the expected type."""
    try:
        return _storable(_adapter(field).validate_python(value))
    except (ValueError, RecursionError) as error:
        shown = value if shown is None else shown
        raise HarnessError(f"{label}: {_complaint(field.annotation, shown, error)}") from error


def _storable(value: Any) -> Any:
    """The value. Raises ValueError where it holds a number that is not finite or has no 64 bits: no record keeps it."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a finite number was expected")
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        raise ValueError(f"a number of at most {LARGEST_INT} was expected")
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for part in parts:
        _storable(part)
    return value


def validated(model: type[M], values: Mapping[str, Any], where: str) -> M:
    """`values` as a model. Raises HarnessError naming the key, the value and the expected type."""
    check_keys(model, list(values), where)
    for key, value in values.items():
        check_value(keys(model)[key], value, f"{where}: {key}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:  # what only the whole model can see: a missing key, fields that contradict
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise HarnessError(f"{where}: {place + ': ' if place else ''}{first['msg']}") from error


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The keys and values of a YAML file that is called `what`. Raises HarnessError for anything else."""
    name = f"{what} {cut(str(path))}"
    try:
        content = read_plain_yaml(_text_of(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise HarnessError(f"cannot read {name}: {reason}") from error
    except ValueError as error:
        raise HarnessError(f"{name} {error}") from error
    if not isinstance(content, dict):
        raise HarnessError(f"{name} must hold keys and values, not {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


def _text_of(path: Path) -> str:
    """The text of a file. Raises ValueError for more than a config file can have, without reading on."""
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"is longer than {LARGEST_FILE} bytes, which no config file is")
    return content.decode("utf-8")


def named_budget(name: str, where: str) -> Budget:
    """The budget that a preset's name, a number of labels, or `max` means. Raises HarnessError for anything else."""
    if name == "max":
        return every_label()
    if name in PRESETS:
        return PRESETS[name]
    if not (name.isascii() and name.isdigit() and 1 <= int(name[:12]) <= MOST_LABELS):
        hint = nearest(name, [*PRESETS, "max"])
        raise HarnessError(f"{where}: unknown budget {cut(name)}; expected a number of labels, or max; {hint}")
    return budget_for(int(name))


def budget_of(values: Mapping[str, Any], where: str) -> Budget:
    """A budget: its number of labels (default 32) with `values` over it, a compute cap exactly where the track has one.

    Raises HarnessError for what is no budget's name, and for values that contradict each other.
    """
    named = named_budget(str(values.get("preset", "32")), where)
    budget = validated(Budget, {**named.model_dump(), **values, "preset": named.preset}, where)
    if (budget.track == "labels+compute") != (budget.cap_flops is not None):
        raise HarnessError(
            f"{where}: track 'labels+compute' and a FLOP cap go together, "
            f"but the track is {budget.track!r} and the cap is {budget.cap_flops}"
        )
    if (budget.selection == "kfold") != (budget.tune > 0):
        raise HarnessError(
            f"{where}: selection 'kfold' and trials to compare go together, "
            f"but the selection is {budget.selection!r} and tune is {budget.tune}; use --tune N"
        )
    return budget


def check_tree(model: type[BaseModel], values: Mapping[str, Any], where: str, prefix: str = "") -> None:
    """Raises HarnessError for the first key that `model` or a model inside it lacks, and for an ill-typed value."""
    check_keys(model, list(values), f"{where}{': ' + prefix.rstrip('.') if prefix else ''}")
    for key, value in values.items():
        field = keys(model)[key]
        inner = field.annotation
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, BaseModel):
            check_tree(inner, value, where, f"{prefix}{key}.")
        else:
            check_value(field, value, f"{where}: {prefix}{key}")


def _yaml_scalar(text: str) -> Any:
    try:
        return read_plain_yaml(text)
    except ValueError:
        return text


def _adapter(field: FieldInfo) -> TypeAdapter[Any]:
    form: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return TypeAdapter(form)


def _complaint(annotation: Any, value: object, error: Exception) -> str:
    choices = [str(choice) for choice in get_args(annotation)] if get_origin(annotation) is Literal else []
    if choices:
        return f"expected {type_name(annotation)}, got {cut(str(value))}; {nearest(str(value), choices)}"
    reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
    reason = reason.removeprefix("Value error, ").replace("valid tuple", "list").replace("valid list", "list")
    return f"expected {type_name(annotation)}, got {cut(value)} ({reason[:1].lower()}{reason[1:]})"


def type_name(annotation: Any) -> str:
    """A type as a user reads it: `float`, `int or null`, `one of 'last', 'holdout25'`."""
    return " or ".join(_type_names(annotation))


def _type_names(annotation: Any) -> Iterator[str]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _type_names(get_args(annotation)[0])
    elif origin is Literal:
        yield f"one of {', '.join(repr(choice) for choice in get_args(annotation))}"
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _type_names(part)
    elif annotation in (None, NoneType):
        yield "null"
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield "keys and values"
    elif isinstance(origin, type) and issubclass(origin, Collection):
        inner = [argument for argument in get_args(annotation) if argument is not ...]
        yield f"list of {type_name(inner[0])}" if inner else "list"
    else:
        yield annotation.__name__ if isinstance(annotation, type) and origin is None else str(annotation)
