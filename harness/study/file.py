"""The study file: axes, shared settings, where cells are computed and when to stop. Unknown keys are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.config import (
    DEFAULT_MODEL,
    SEED_LIMIT,
    Folder,
    GroupSplit,
    Lora,
    Switch,
    Text,
    check_keys,
    check_tree,
    check_value,
    keys,
    parse,
    read_mapping,
    validated,
)
from harness.contracts import AskedLengths, HarnessError
from harness.util.names import nearest
from harness.util.safe_text import cut

Seed = Annotated[int, Field(ge=0, le=SEED_LIMIT)]
AXES = ("aligners", "tasks", "pools", "models", "budgets", "draws", "seeds", "judges", "backends", "tracks")
CURVE_BUDGETS = 5
"""A study with this many budgets or more has learning curves, and every budget then keeps its last step."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Method(_Frozen):
    """A method with the settings that differ from its defaults. In a file, a name alone stands for the defaults."""

    aligner: Text
    settings: dict[str, Any] = Field(default_factory=dict, description="hyper-parameters, by name")
    shuffle_labels: bool = Field(default=False, description="control: half of the drawn pairs are swapped")


class Track(_Frozen):
    """How compute is treated; a cap goes with `labels+compute`."""

    track: Literal["labels", "labels+compute", "parity"] = "labels"
    cap_flops: float | None = Field(default=None, gt=0)


class Shared(_Frozen):
    """Settings that all cells have in common: those of `run` that are not an axis."""

    data: Text = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    split_file: Folder | None = None
    groups: GroupSplit = GroupSplit()
    lora: Lora = Lora()
    lengths: AskedLengths = AskedLengths()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
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
    limit: int | None = Field(default=None, ge=1, description="evaluate the first N items")
    num_fewshot: int = Field(default=0, ge=0)
    generate: bool = Field(default=False, description="have the answer to a question with options written, too")
    baseline: Text | None = None
    trust_remote_code: bool = False
    checkpoint_steps: int = Field(default=8, ge=1)


class Placement(_Frozen):
    """Where cells are computed, and how many at a time."""

    executor: Text = Field(default="local", description="local, ray, slurm, or a plug-in's")
    workers: int | None = Field(default=None, ge=1, description="cells at the same time; null: as many as fit")
    threads: int | None = Field(
        default=None, ge=1, description="threads of a cell, part of its id; null: one worker's share of the cores"
    )
    memory_gb: float | None = Field(default=None, gt=0, description="memory of a cell; null: estimated from the model")
    gpus: float = Field(default=0, ge=0, description="GPUs of a cell")
    attempts: int = Field(
        default=3, ge=1, description="how often a cell is started before it is given up, if its worker dies"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="settings of the executor: address, partition, ..."
    )


class Limits(_Frozen):
    """What a call of `study run` may take; it stops between cells and keeps what is done."""

    hours: float | None = Field(default=None, gt=0, description="hours of one call of `study run`")
    flops: float | None = Field(default=None, gt=0, description="FLOPs of fits and evaluations")
    usd: float | None = Field(default=None, gt=0, description="US dollars for judges, by `prices`")


class Comparing(_Frozen):
    """How the report compares."""

    reference: Text = Field(default="dpo", description="the method that others are compared with, beside base")
    target_labels: int | None = Field(
        default=None,
        ge=1,
        description="budget of the reference whose score the methods are to reach; null: 128, or the nearest below",
    )


class StudyFile(_Frozen):
    """A study: every combination of its axes, except those that `exclude` leaves out."""

    name: Text = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="name of the study, of its folder and its report"
    )
    store: Folder = Path("runs")
    aligners: tuple[Method, ...] = Field(min_length=1)
    tasks: tuple[Text, ...] = Field(min_length=1)
    pools: tuple[Text | None, ...] = Field(
        default=(None,), min_length=1, description="where labels come from; null: the task's default pool"
    )
    models: tuple[Text, ...] = Field(default=(DEFAULT_MODEL,), min_length=1)
    budgets: tuple[dict[str, Any], ...] = Field(
        default=({"preset": "32"},), min_length=1, description="numbers of labels, max, or a mapping with a preset"
    )
    draws: tuple[Seed, ...] = Field(default=(0,), min_length=1, description="draws of the labelled pairs")
    seeds: tuple[Seed, ...] | None = Field(
        default=None, description="training seeds of every draw; null: one for each draw, the draw's number"
    )
    folds: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="parts of your own pairs, each held out by a cell of its own; null: as `run` divides them; 1: once",
    )
    judges: tuple[Text | None, ...] = Field(
        default=(None,), min_length=1, description="judges of judged tasks; null: the task's default judge"
    )
    backends: tuple[Text, ...] = Field(default=("hf",), min_length=1)
    tracks: tuple[Track, ...] = Field(default=(Track(),), min_length=1)
    selection: Literal["last", "holdout25"] | None = Field(
        default=None,
        description="selection of every budget; null: last with five budgets or more, else the budget's own",
    )
    shared: Shared = Shared()
    exclude: tuple[dict[str, Any], ...] = Field(default=(), description="combinations that are left out")
    run: Placement = Placement()
    limits: Limits = Limits()
    prices: dict[str, float] = Field(default_factory=dict, description="US dollars for a judged answer, by judge")
    report: Comparing = Comparing()
    observe: tuple[Text, ...] = Field(default=(), description="trackers: tensorboard, trackio, or a plug-in's")

    @property
    def folder(self) -> Path:
        """Where the study keeps its events and the configs of its cells."""
        return self.store / ".studies" / self.name


def read_study(path: Path, sets: Sequence[str] = ()) -> StudyFile:
    """Read a study file; `key=value` overrides a key. Raises HarnessError naming the file or option and the key."""
    where = f"study {cut(str(path))}"
    values = read_mapping(path, "study")
    for text in sets:
        _set(values, text)
    return study_of(values, where)


def study_of(values: Mapping[str, Any], where: str = "study") -> StudyFile:
    """Make a study from plain values. Short forms are allowed: a method's name, a number of draws or of labels."""
    check_keys(StudyFile, list(values), where)
    full = {**values, **{key: _whole(key, values[key], where) for key in _SHORT if key in values}}
    check_tree(StudyFile, full, where)
    study = validated(StudyFile, full, where)
    for axis in AXES:
        given = getattr(study, axis) or ()
        twice = [value for place, value in enumerate(given) if value in given[:place]]
        if twice:
            raise HarnessError(f"{where}: {axis} names {cut(str(twice[0]))} twice")
    return study


def schema() -> dict[str, Any]:
    """JSON schema of a study file, short forms included, for editors."""
    made = StudyFile.model_json_schema()
    fields = made["properties"]
    fields["aligners"]["items"] = {"anyOf": [{"type": "string"}, fields["aligners"]["items"]]}
    fields["budgets"]["items"] = {"anyOf": [{"type": "integer"}, {"type": "string"}, fields["budgets"]["items"]]}
    fields["tracks"]["items"] = {"anyOf": [{"type": "string"}, fields["tracks"]["items"]]}
    for name in AXES:
        form = {key: value for key, value in fields[name].items() if key not in ("default", "title", "description")}
        other = {"type": "integer", "minimum": 1} if name in ("draws", "seeds") else None
        fields[name] = {
            "description": fields[name].get("description", ""),
            "anyOf": [form, *([other] if other else [form["items"]] if "items" in form else [])],
        }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


# ---------------------------------------------------------------- short forms


def _methods(value: Any, where: str) -> list[Any]:
    return [_entry(Method, "aligner", one, where) for one in _listed(value)]


def _tracks(value: Any, where: str) -> list[Any]:
    return [_entry(Track, "track", one, where) for one in _listed(value)]


def _budgets(value: Any, where: str) -> list[Any]:
    return [
        {**one, "preset": str(one.get("preset", 32))} if isinstance(one, dict) else {"preset": str(one)}
        for one in _listed(value)
    ]


def _numbers(value: Any, where: str) -> list[Any]:
    """Turn a number of draws or seeds into the list from 0 on (3: 0, 1, 2). Raises HarnessError for other types."""
    if isinstance(value, list):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1000:
        return list(range(value))
    raise HarnessError(f"{where}: expected a whole number from 1 to 1000, or a list of numbers, got {cut(str(value))}")


def _list(value: Any, where: str) -> list[Any]:
    return _listed(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _entry(model: type[BaseModel], name: str, value: Any, where: str) -> dict[str, Any]:
    """A mapping, or the name that stands for one. Raises HarnessError for a key that `model` lacks."""
    values = dict(value) if isinstance(value, dict) else {name: value}
    check_tree(model, values, where)
    if name not in values:
        raise HarnessError(f"{where}: {cut(str(value))} has no {name!r}")
    return values


_SHORT: dict[str, Callable[[Any, str], Any]] = {
    "aligners": _methods,
    "tracks": _tracks,
    "budgets": _budgets,
    "draws": _numbers,
    "seeds": _numbers,
    **dict.fromkeys(("tasks", "pools", "models", "judges", "backends", "observe", "exclude"), _list),
}


def _whole(key: str, value: Any, where: str) -> Any:
    return _SHORT[key](value, f"{where}: {key}")


# ---------------------------------------------------------------- --set


def _set(values: dict[str, Any], text: str) -> None:
    """Put `section.key=value` or `key=value` into a file's values. Raises HarnessError for an unknown key."""
    key, equals, given = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise HarnessError(f"--set takes key=value (draws=3, shared.limit=16), got {cut(text)}")
    section, _, leaf = key.partition(".")
    model = _section(section)
    if leaf and model is not None:
        head, _, inner = leaf.partition(".")
        below = _inner(model, head)
        old = dict(values.get(section) or {})
        if inner and below is not None:
            old[head] = {**(old.get(head) or {}), inner: parse(below, inner, given, where=key, label=key)}
        else:
            old[leaf] = parse(model, leaf, given, where=f"--set {section}", label=key)
        values[section] = old
        return
    if leaf or model is not None or section not in keys(StudyFile):
        raise HarnessError(f"--set: unknown key {cut(key)}; {nearest(key, _settable())}")
    value = plain(given)
    whole = _whole(section, value, "--set") if section in _SHORT else value
    check_value(keys(StudyFile)[section], whole, f"--set {section}")
    values[section] = value


def plain(text: str) -> Any:
    """A command line's text as YAML reads it; a list may stand without brackets (`sft,dpo`)."""
    from harness.util.plain_yaml import read_plain_yaml

    try:
        if "," in text and text.lstrip()[:1] not in ("[", "{", '"', "'"):
            return read_plain_yaml(f"[{text}]")
        return read_plain_yaml(text)
    except ValueError:
        return text


def _section(name: str) -> type[BaseModel] | None:
    return _inner(StudyFile, name)


def _inner(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = model.model_fields.get(name)
    kind = field.annotation if field is not None else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _settable() -> list[str]:
    names = []
    for name in keys(StudyFile):
        inner = _section(name)
        names += [name] if inner is None else [f"{name}.{leaf}" for leaf in keys(inner)]
    return names
