"""From what a user typed to a RunConfig: precedence, types, the CPU profile, and the sentence for every mistake."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from harness.cli.axes import read_cells
from harness.cli.closing import TOLD_APART
from harness.cli.options import columns_of
from harness.cli.resolve import Options, cells, parse_seeds, resolve
from harness.command import SECTIONS, WITHOUT_OPTION
from harness.config import (
    CPU_DEMO,
    PRESETS,
    RunConfig,
    budget_of,
    check_value,
    keys,
    parse,
    type_name,
    validated,
)
from harness.contracts import Budget, HarnessError, budget_for, settled
from harness.plugins.registry import Registry
from harness.util.plain_yaml import read_plain_yaml

pytestmark = pytest.mark.core


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    lambda_: float = Field(1.0, ge=0, alias="lambda")
    steps: int | None = None
    form: Literal["softmax", "identity"] = "identity"
    marker: str = "Answer"
    on: bool = True
    rates: tuple[float, ...] = ()


class Method:
    name: ClassVar[str] = "method"
    Config: ClassVar[type[BaseModel]] = Settings


class OtherMethod(Method):
    name: ClassVar[str] = "other_method"


class Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Base:
    name: ClassVar[str] = "base"
    Config: ClassVar[type[BaseModel]] = Plain


def make_registry() -> Registry:
    any_: Any = object
    aligners: Any = {"method": Method, "other_method": OtherMethod, "base": Base}
    return Registry(
        aligners=aligners,
        tasks={"quiz": any_},
        pools={"quiz": any_, "other": any_},
        judges={"stern": any_},
        backends={"hf": any_},
        models={},
        observers={},
        executors={},
        provenance={},
        aliases={"technique": "method"},
        skipped={},
    )


def typed(sets: Sequence[str] = (), **options: Any) -> RunConfig:
    return resolve(Options(**{"aligner": "method", "task": "quiz", "sets": tuple(sets), **options}), make_registry())


def mistake(sets: Sequence[str] = (), **options: Any) -> str:
    with pytest.raises(HarnessError) as caught:
        typed(sets, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# ---------------------------------------------------------------- the profile


def test_the_profile_is_for_the_default_model_on_a_cpu_without_a_budget() -> None:
    config = typed()
    assert config.profile == "cpu-demo"
    assert config.budget == PRESETS["32"]
    assert config.lengths.model_dump(exclude_none=True) == CPU_DEMO["lengths"]


@pytest.mark.parametrize(
    "options",
    [
        {"cuda": True},
        {"device": "cuda"},
        {"model": "someone/else"},
        {"budget": "32"},
        {"budget": "8"},
        {"sets": ("budget.batch=8",)},
        {"sets": ("profile=null",)},
    ],
)
def test_nothing_of_the_profile_applies_otherwise(options: dict[str, Any]) -> None:
    config = typed(**options)
    assert config.profile is None
    assert config.lengths == RunConfig(aligner="a", task="t").lengths


def test_a_budget_in_the_file_switches_the_profile_off(tmp_path: Path) -> None:
    config = typed(config=write(tmp_path, "budget: 32\n"))
    assert (config.profile, config.budget.labels) == (None, 32)


def test_the_cpu_asked_for_counts_as_a_cpu_beside_a_gpu() -> None:
    assert typed(device="cpu", cuda=True).profile == "cpu-demo"


def test_lengths_and_track_that_are_asked_for_stand_over_the_profile() -> None:
    config = typed(["lengths.new_tokens=16"], track="labels+compute", cap_flops=1e12)
    assert config.profile == "cpu-demo"
    assert (config.lengths.new_tokens, config.lengths.prompt) == (16, None)
    assert (config.budget.labels, config.budget.track, config.budget.cap_flops) == (32, "labels+compute", 1e12)


def test_the_profile_is_refused_on_a_gpu() -> None:
    assert "--device cpu" in mistake(["profile=cpu-demo"], cuda=True)


# ---------------------------------------------------------------- precedence and types


def test_set_beats_option_beats_file_beats_default(tmp_path: Path) -> None:
    path = write(tmp_path, "limit: 1\ndraw_seed: 1\nseed: 1\nlora: {r: 4}\naligner_config: {lambda: 2, steps: 3}\n")
    config = typed(["limit=3", "lora.alpha=8", "aligner.lambda=0.4"], config=path, limit=2, draw_seed=2)
    assert (config.limit, config.draw_seed, config.seed) == (3, 2, 1)
    assert (config.lora.r, config.lora.alpha) == (4, 8)
    assert config.aligner_config == {"lambda": 0.4, "steps": 3}


def test_a_budget_option_replaces_the_amounts_of_the_file_but_not_its_track(tmp_path: Path) -> None:
    path = write(tmp_path, "budget: {preset: 32, batch: 2, track: labels+compute, cap_flops: 1.0e+12}\n")
    budget = typed(config=path, budget="128").budget
    assert (budget.preset, budget.batch, budget.track, budget.cap_flops) == ("128", 8, "labels+compute", 1e12)


def test_data_comes_from_the_option_then_the_file_then_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path, "data: hub\n")
    assert typed(data="sample", config=path, data_default="/env").data == "sample"
    assert typed(config=path, data_default="/env").data == "hub"
    assert typed(data_default="/env").data == "/env"
    assert typed().data == "auto"


def test_only_settings_that_were_given_are_stored() -> None:
    assert typed().aligner_config == {}
    assert typed(["aligner.form=softmax"]).aligner_config == {"form": "softmax"}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("lambda", "0.4", 0.4),
        ("lambda", "1e-4", 1e-4),
        ("lambda", "2", 2.0),
        ("steps", "7", 7),
        ("steps", "null", None),
        ("form", "softmax", "softmax"),
        ("marker", "128", "128"),
        ("marker", "no", "no"),
        ("marker", "a=b, c: d", "a=b, c: d"),
        ("on", "false", False),
        ("rates", "[1, 0.5]", (1.0, 0.5)),
    ],
)
def test_set_reads_a_value_as_the_field_wants_it(key: str, text: str, value: object) -> None:
    got = parse(Settings, key, text, where="aligner", label=key)
    assert got == value
    assert type(got) is type(value)


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
def test_a_number_survives_the_command_line(number: float) -> None:
    assert parse(Settings, "lambda", repr(number), where="aligner", label="lambda") == number


def test_one_cell_per_seed_in_order_and_nothing_else_differs() -> None:
    options = Options(aligner="method", task="quiz", seeds=parse_seeds(["2,0", "1", "2"]))
    configs = cells(options, make_registry())
    assert [config.seed for config in configs] == [2, 0, 1]
    assert len({config.model_copy(update={"seed": 0}).model_dump_json() for config in configs}) == 1


def test_several_aligners_are_several_cells() -> None:
    def named(aligner: str) -> list[tuple[str, int]]:
        options = Options(aligner=aligner, task="quiz", seeds=(0, 1))
        return [(config.aligner, config.seed) for config in cells(options, make_registry())]

    both = [("method", 0), ("method", 1), ("other_method", 0), ("other_method", 1)]
    assert named("method, other_method") == both
    assert named("all") == both, "base runs with each of them anyway"
    assert named("technique") == both[:2], "a table knows a method by one name"


def test_trials_are_compared_by_kfold() -> None:
    budget = typed(tune=6).budget
    assert (budget.tune, budget.selection, budget.labels) == (6, "kfold", 32), "the profile stays"
    assert "use --tune N" in mistake(["budget.selection=kfold"])
    assert "tune is 3" in mistake(["budget.tune=3"])


def test_every_field_is_reachable_by_set_or_option() -> None:
    options = set(Options.__dataclass_fields__) | {
        "aligner_config",
        "seed",
        "lora",
        "lengths",
        "groups",
        "profile",
        "checkpoint_steps",
        "accelerate_config",
        "gradient_checkpointing",
        "processes",
        "fold",
    }
    assert set(keys(RunConfig)) <= options


def test_the_closing_command_sets_what_has_no_option() -> None:
    """`--gradient-checkpointing` in a command that a table ends with would be refused."""
    with_option = {name for name in Options.__dataclass_fields__ if name != "profile"}
    told = with_option | {*WITHOUT_OPTION, *SECTIONS, *TOLD_APART}
    assert set(RunConfig.model_fields) <= told
    assert not set(WITHOUT_OPTION) & with_option


# ---------------------------------------------------------------- mistakes


def test_mistakes_name_the_thing_and_the_nearest_valid_one() -> None:
    assert "did you mean 'lambda'" in mistake(["aligner.lamda=1"])
    assert "method" in mistake(["aligner.lamda=1"])
    assert "did you mean 'batch'" in mistake(["budget.bach=1"])
    assert "did you mean 'limit'" in mistake(["limt=1"])
    assert "did you mean 'method'" in mistake(aligner="metod")
    assert "did you mean 'quiz'" in mistake(task="quz")
    assert "did you mean 'other'" in mistake(train_on="oter")
    assert "did you mean 'stern'" in mistake(judge="stren")
    assert "did you mean 'last'" in mistake(["budget.selection=lst"])
    assert "unknown budget 'most'; expected a number of labels, or max" in mistake(budget="most")
    for name in ("0", "-8", "8.5", "٣٢", "1" * 40, "3k"):
        assert "expected a number of labels, or max" in mistake(budget=name)
    assert "key=value" in mistake(["budget.batch"])
    assert "prompt" in mistake(["lengths=3"])
    assert "--aligner" in mistake(aligner=None)
    assert "quiz" in mistake(task=None)


def test_mistakes_tell_the_type_that_is_expected() -> None:
    assert "aligner.lambda: expected float, got 'abc'" in mistake(["aligner.lambda=abc"])
    assert "greater than or equal to 0" in mistake(["aligner.lambda=-1"])
    assert "aligner.steps: expected int or null" in mistake(["aligner.steps=1.5"])
    assert "lora.r: expected int" in mistake(["lora.r=big"])
    assert "expected one of 'auto', 'cpu', 'cuda'" in mistake(device="tpu")
    assert "limit: expected int or null, got 0" in mistake(limit=0)
    with pytest.raises(HarnessError, match="--seed: expected int, got 'x'"):
        parse_seeds(["1,x"])


def test_a_cap_and_its_track_go_together() -> None:
    assert "labels+compute" in mistake(cap_flops=1e12)
    assert "cap" in mistake(track="labels+compute")
    assert budget_of({"track": "labels+compute", "cap_flops": 1.0}, "budget").cap_flops == 1.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("limt: 3\n", "did you mean 'limit'"),
        ("limit: three\n", "limit: expected int or null, got 'three'"),
        ("lora: {rr: 3}\n", "lora: unknown key 'rr'"),
        ("budget: {batch: many}\n", "budget.batch: expected int"),
        ("budget: many\n", "'many'"),
        ("- 1\n", "keys and values"),
        ("a: [\n", "not YAML"),
        ("", "keys and values"),
    ],
)
def test_a_config_file_at_fault_is_named_with_its_key(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(HarnessError) as caught:
        read_cells(path)
    assert path.name in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: []\n", "seed is an empty list"),
        ("seed: [0, x]\n", "seed: expected int, got 'x'"),
        ("budget: [8, many]\n", "'many'"),
        ("set: 3\n", "set: expected keys and values"),
        ("set: {lora.rr: 3}\n", "lora: unknown key 'rr'"),
        ("set: {limit.x: 3}\nlimit: 4\n", "limit.x reaches into limit"),
        ("seed: [" + "0, " * 200 + "1]\ndraw_seed: [" + "0, " * 200 + "1]\n", "lists make 40401 cells"),
    ],
)
def test_a_list_or_block_at_fault_is_named_with_its_key(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(HarnessError) as caught:
        read_cells(path)
    assert path.name in str(caught.value)
    assert says in str(caught.value)


def test_lists_of_a_config_file_are_cells_and_its_block_sets(tmp_path: Path) -> None:
    registry = make_registry()
    axes = "aligner: [method, other_method]\nbudget: [8, 32]\nseed: [0, 1]\n"
    text = f"{axes}task: quiz\nset: {{lora.r: 4, lengths: {{prompt: 64}}}}\n"
    path = write(tmp_path, text)
    found = cells(Options(config=path), registry)
    assert [(c.aligner, c.budget.preset, c.seed) for c in found] == [
        (aligner, budget, seed) for aligner in ("method", "other_method") for budget in ("8", "32") for seed in (0, 1)
    ]
    assert {(c.lora.r, c.lengths.prompt) for c in found} == {(4, 64)}
    narrowed = cells(Options(config=path, aligner="other_method", budget="8", seeds=(7,), sets=("lora.r=2",)), registry)
    assert [(c.aligner, c.budget.preset, c.seed, c.lora.r) for c in narrowed] == [("other_method", "8", 7, 2)]


def test_a_config_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot read config file"):
        read_cells(tmp_path / "none.yaml")


def test_type_names_are_readable() -> None:
    assert type_name(int | None) == "int or null"
    assert type_name(Literal["a", "b"]) == "one of 'a', 'b'"
    assert type_name(tuple[Annotated[int, 0], ...]) == type_name(list[int]) == "list of int"
    assert type_name(dict[str, int] | None) == "keys and values or null"


@pytest.mark.parametrize(
    ("labels", "prompts", "batch", "steps", "selection"),
    [
        (1, 4, 4, 32, "last"),  # level below 8
        (23, 92, 4, 32, "last"),  # level from 8 to 32
        (64, 256, 4, 64, "last"),  # half of the way from 128 to 384 pairs
        (127, 508, 4, 96, "last"),
        (256, 1024, 8, 120, "holdout25"),  # half of the way from 384 to 1,536
        (4_000, 16_000, 32, 258, "holdout25"),  # the last line goes on: 8,247 pairs
        (100_000, 400_000, 32, 3125, "holdout25"),  # every pair once
    ],
)
def test_any_number_of_labels_lies_between_the_presets(
    labels: int, prompts: int, batch: int, steps: int, selection: str
) -> None:
    found = budget_for(labels)
    assert (found.prompts, found.batch, found.min_steps, found.selection) == (prompts, batch, steps, selection)
    assert typed(budget=str(labels)).budget == found
    assert found.preset == str(labels)


def test_pairs_seen_never_fall_with_more_labels() -> None:
    seen = [budget_for(n).min_steps * budget_for(n).batch for n in (8, 20, 32, 64, 128, 300, 512, 1000, 2000, 5000)]
    assert seen == sorted(seen)


def test_two_names_of_one_budget_are_one() -> None:
    assert typed(budget="2000").budget == typed(budget="2k").budget == PRESETS["2k"]
    assert typed(budget="032").budget == PRESETS["32"]


def test_the_largest_budget_is_settled_by_the_number_of_pairs() -> None:
    asked = typed(["budget.batch=2", "budget.selection=last"], budget="max").budget
    assert settled(asked, 300) == budget_for(300).model_copy(update={"batch": 2, "selection": "last"})
    assert settled(typed(budget="max").budget, 128) == PRESETS["128"]
    again = Budget.model_validate_json(asked.model_dump_json())
    assert settled(again, 300) == settled(asked, 300), "also from a file"
    assert settled(PRESETS["8"], 300) == PRESETS["8"]


def test_several_budgets_are_several_cells() -> None:
    options = Options(aligner="method,other_method", task="quiz", budget="8, 23,40,8", seeds=(0, 1))
    found = [(c.aligner, c.budget.labels, c.seed) for c in cells(options, make_registry())]
    assert found == [(a, n, s) for a in ("method", "other_method") for n in (8, 23, 40) for s in (0, 1)]


def test_columns_and_split_file_are_part_of_a_cell() -> None:
    found = typed(columns={"prompt": "question"}, split_file=Path("held.txt"), folds=3)
    assert (found.columns, found.split_file, found.folds) == ({"prompt": "question"}, Path("held.txt"), 3)
    assert columns_of(" prompt=question, chosen = a=b ,") == {"prompt": "question", "chosen": "a=b"}
    for text in ("prompt", "=x", "prompt="):
        with pytest.raises(HarnessError, match="--columns takes ours=yours"):
            columns_of(text)


def test_presets_are_the_regime_table() -> None:
    rows = {name: (b.labels, b.prompts, b.batch, b.min_steps, b.selection) for name, b in PRESETS.items()}
    assert rows == {
        "8": (8, 32, 4, 32, "last"),
        "32": (32, 128, 4, 32, "last"),
        "128": (128, 512, 8, 48, "holdout25"),
        "512": (512, 2048, 16, 96, "holdout25"),
        "2k": (2000, 8000, 32, 187, "holdout25"),
    }


# ---------------------------------------------------------------- YAML that is more than a config file


def test_a_key_that_stands_twice_is_refused_in_every_depth(tmp_path: Path) -> None:
    for text in ("seed: 1\nlimit: 2\nseed: 3\n", "budget:\n  labels: 8\n  labels: 9\n"):
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(HarnessError, match=r"has the key '(seed|labels)' twice, in line 3"):
            read_cells(tmp_path / "c.yaml")


def test_aliases_that_repeat_themselves_beyond_measure_are_refused() -> None:
    lines = ["a0: &a0 [1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))]
    with pytest.raises(ValueError, match="holds more than"):
        read_plain_yaml("\n".join(lines))
    assert read_plain_yaml("a: &a [1, 2]\nb: *a\n") == {"a": [1, 2], "b": [1, 2]}


def test_numbers_that_no_record_can_hold_are_refused() -> None:
    class Nested(BaseModel):
        rates: list[float] = []
        free: dict[str, Any] = {}

    for values in ({"rates": [1.0, math.inf]}, {"free": {"a": [{"b": math.nan}]}}, {"free": {"a": 10**30}}):
        with pytest.raises(HarnessError, match=r"expected (list|keys and values)"):
            validated(Nested, values, "here")
    assert validated(Nested, {"rates": [1.0], "free": {"a": 2**63 - 1}}, "here").rates == [1.0]


@pytest.mark.parametrize("name", ["seed", "draw_seed"])
def test_a_seed_that_no_trainer_takes_is_refused_at_once(name: str) -> None:
    field = keys(RunConfig)[name]
    assert check_value(field, 2**32 - 1, f"--{name}") == 2**32 - 1
    for seed in (-1, 2**32, 10**30):
        with pytest.raises(HarnessError, match=rf"^--{name}: expected int, got {seed} "):
            check_value(field, seed, f"--{name}")
