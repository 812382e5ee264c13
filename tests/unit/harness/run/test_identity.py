"""Whatever can change a result changes the id, and nothing else does: every input of a cell, one mutation at a time."""

from __future__ import annotations

import ast
import json
import os
import shutil
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.config import PRESETS, Lora, RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import Budget, HarnessError, Lengths
from harness.contracts.progress import Silent
from harness.plugins.registry import Registry, load
from harness.records.provenance import code, differences, libraries
from harness.run.identity import EVALUATION_ROOMS, FIT_ROOMS
from harness.run.plan import Plan, make_plan

ROOT = Path(__file__).parents[4]


@dataclass
class World:
    """A folder with everything that a cell reads, and the cell's options; a mutation changes one thing of it."""

    folder: Path
    options: dict[str, Any]
    registry: Registry
    patch: pytest.MonkeyPatch

    @property
    def model(self) -> Path:
        return self.folder / "tiny"

    def plan(self) -> Plan:
        given = {"model": str(self.model), "store": self.folder / "store", **self.options}
        given["data"] = str(self.folder / given["data"]) if given["data"] != "sample" else "sample"
        return make_plan(RunConfig(**given), self.registry, Silent())

    def edit(self, place: str, change: Callable[[str], str]) -> None:
        path = self.folder / place
        before = path.read_text("utf-8")
        after = change(before)
        assert after != before, f"{place} was not changed"
        path.write_text(after, "utf-8")


Mutation = Callable[[World], object]

PAIRS: dict[str, Any] = {
    "aligner": "dpo",
    "task": "preference",
    "train_on": "pairs",
    "data": "mine.jsonl",
    "limit": 4,
    "budget": PRESETS["8"].model_copy(update={"prompts": 4}),
}
CLOSED: dict[str, Any] = {**PAIRS, "task": "medqa", "train_on": None, "data": "data"}
MATHS: dict[str, Any] = {**CLOSED, "aligner": "grpo", "task": "gsm8k"}
OPINIONS: dict[str, Any] = {**PAIRS, "aligner": "gpo", "task": "opinionqa", "train_on": None, "data": "sample"}
JUDGED: dict[str, Any] = {**PAIRS, "task": "medical_dialogue", "train_on": None, "data": "sample"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, another for judging, forty pairs in a file, and rows of three data sets."""
    folder = tmp_path_factory.mktemp("world")
    tiny_folder(folder / "tiny")
    tiny_folder(folder / "judge", seed=7)
    rows = [{"prompt": f"Question {i}?", "chosen": f"Yes, {i}.", "rejected": f"No, {i + 1}."} for i in range(40)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("medqa", "gsm8k"):
        (folder / "data" / name).mkdir(parents=True)
        for ours, theirs in (("pool", "train"), ("eval", "test")):
            lines = (ROOT / "tasks" / "samples" / name / f"{ours}.jsonl").read_text().splitlines(keepends=True)
            (folder / "data" / name / f"{theirs}.jsonl").write_text("".join(lines[:40]))
    return folder


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(plugins=False)


@pytest.fixture
def make(
    template: Path, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., World]]:
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "MKL_", "ATEN_"))]:
        monkeypatch.delenv(name)
    shutil.copytree(template, tmp_path / "world")
    yield lambda options: World(tmp_path / "world", dict(options), registry, monkeypatch)
    code.harness_code.cache_clear()


@pytest.fixture(scope="module")
def untouched(template: Path, registry: Registry) -> Callable[[dict[str, Any]], Plan]:
    """The plan of a cell of which nothing was changed, made once for each set of options.

    It is asked for after `make`, which cleans the environment; that the place decides nothing is tested below.
    """
    made: dict[str, Plan] = {}

    def planned(options: dict[str, Any]) -> Plan:
        key = repr(sorted(options.items()))
        if key not in made:
            with pytest.MonkeyPatch.context() as patch:
                made[key] = World(template, dict(options), registry, patch).plan()
            assert made[key].run_id, "what it is computed from may change from here on"
        return made[key]

    return planned


# ---------------------------------------------------------------- the model's folder


def _json(path: str, *keys: str, value: Any) -> Mutation:
    """Set one value of a JSON file."""

    def change(text: str) -> str:
        whole = json.loads(text)
        inner = whole
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        return json.dumps(whole, indent=2)

    return lambda world: world.edit(path, change)


def _flip(name: str, at: int) -> Mutation:
    """Change one byte of the weights; size and times stay."""

    def mutate(world: World) -> None:
        path = world.model / name
        state, content = path.stat(), bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(bytes(content))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert path.stat().st_size == state.st_size

    return mutate


def _file(place: str, content: str | bytes) -> Mutation:
    def mutate(world: World) -> None:
        path = world.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return mutate


def _drop_merge(text: str) -> str:
    whole = json.loads(text)
    whole["model"]["merges"].pop()
    return json.dumps(whole)


def _remote_code(world: World) -> None:
    world.options["trust_remote_code"] = True


MODEL: dict[str, Mutation] = {
    **{f"weights, byte {at} from the end": _flip("model.safetensors", -at) for at in (1, 500, 5_000, 20_000, 50_000)},
    **{
        f"config.json: {key}": _json("tiny/config.json", key, value=value)
        for key, value in {
            "rope_parameters": {"rope_theta": 3.0, "rope_type": "default"},
            "hidden_act": "gelu",
            "rms_norm_eps": 1e-3,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 4,
            "max_position_embeddings": 64,
            "sliding_window": 16,
            "tie_word_embeddings": True,
            "eos_token_id": 5,
            "bos_token_id": 1,
            "attention_bias": True,
        }.items()
    },
    **{
        f"generation_config.json: {key}": _json("tiny/generation_config.json", key, value=value)
        for key, value in {"eos_token_id": [2, 7], "pad_token_id": 1, "suppress_tokens": [9], "max_length": 20}.items()
    },
    "tokenizer.json: a merge less": lambda world: world.edit("tiny/tokenizer.json", _drop_merge),
    "tokenizer.json: a normalizer": _json("tiny/tokenizer.json", "normalizer", value={"type": "Lowercase"}),
    "tokenizer.json: no pre-tokenizer": _json("tiny/tokenizer.json", "pre_tokenizer", value=None),
    "tokenizer_config.json: end token": _json("tiny/tokenizer_config.json", "eos_token", value="<|endoftext|>"),
    "tokenizer_config.json: a first token": _json("tiny/tokenizer_config.json", "add_bos_token", value=True),
    "tokenizer_config.json: side of cuts": _json("tiny/tokenizer_config.json", "truncation_side", value="left"),
    "chat template": lambda world: world.edit("tiny/chat_template.jinja", lambda text: "Be short." + text),
    "chat template gone": lambda world: (world.model / "chat_template.jinja").unlink(),
    "another chat template": _file("tiny/additional_chat_templates/tool.jinja", "{{ messages }}"),
    "added tokens": _file("tiny/added_tokens.json", '{"<x>": 400}'),
    "special tokens": _file("tiny/special_tokens_map.json", '{"eos_token": "<|im_start|>"}'),
    "a vocabulary": _file("tiny/vocab.txt", "a\nb\n"),
    "a sentencepiece model": _file("tiny/tokenizer.model", b"\x00\x01"),
    "a file nobody knows": _file("tiny/extra.tables", "x"),
    "remote code asked for": _remote_code,
}

# ---------------------------------------------------------------- options


def _options(**changes: Any) -> Mutation:
    return lambda world: world.options.update(changes)


def _budget(**changes: Any) -> Mutation:
    return lambda world: world.options.update(budget=world.options["budget"].model_copy(update=changes))


OPTIONS: dict[str, Mutation] = {
    **{
        f"option {name}": _options(**{name: value})
        for name, value in {
            "aligner": "sft",
            "seed": 1,
            "draw_seed": 1,
            "shuffle_labels": True,
            "limit": 5,
            "num_fewshot": 1,
            "precision": "bf16",
            "fast_paths": "off",
            "gradient_checkpointing": True,
            "processes": 2,
            "checkpoint_steps": 9,
        }.items()
    },
    **{f"lora {name}": _options(lora=Lora.model_validate({name: value})) for name, value in
       {"r": 8, "alpha": 8, "dropout": 0.1, "targets": "attention"}.items()},
    **{f"lengths {name}": _options(lengths=Lengths.model_validate({name: value})) for name, value in
       {"prompt": 100, "completion": 100, "new_tokens": 100, "sample_prompts": 3}.items()},
    **{
        f"budget {name}": _budget(**{name: value})
        for name, value in {
            "labels": 7, "prompts": 3, "batch": 2, "min_steps": 9, "selection": "holdout25", "tune": 2,
            "track": "parity", "cap_flops": 1e15,
        }.items()
    },
}  # fmt: skip


def _settings() -> Iterator[tuple[str, dict[str, Any], Mutation]]:
    """Every hyper-parameter of several methods, at its probe value."""
    for base, name in (
        (PAIRS, "dpo"),
        (PAIRS, "gem"),
        (PAIRS, "selfie"),
        (PAIRS, "kto"),
        (MATHS, "grpo"),
        (OPINIONS, "gpo"),
    ):
        for key, field in load(plugins=False).aligner(name).Config.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and "probe" in extra:
                mutation = _options(aligner_config={field.alias or key: extra["probe"]})
                yield f"{name}.{key}", {**base, "aligner": name}, mutation


# ---------------------------------------------------------------- data


def _row(place: str, number: int, key: str, value: Any) -> Mutation:
    """Change a field of one row of a file."""

    def change(text: str) -> str:
        rows = [json.loads(line) for line in text.splitlines()]
        assert rows[number][key] != value
        rows[number][key] = value
        return "".join(json.dumps(row) + "\n" for row in rows)

    return lambda world: world.edit(place, change)


def _held_out(world: World) -> None:
    """Another wrong answer of a pair that is held out, not drawn."""
    held = world.plan().task_rows
    assert held
    pool, source = world.plan().pool, world.plan().source
    text = pool.pairs(source, "eval")[0].rejected
    world.edit("mine.jsonl", lambda rows: rows.replace(json.dumps(text), json.dumps("Other.")))


DATA: dict[str, Mutation] = {
    "pairs: a fold": _options(folds=5, fold=1),
    **{f"pairs: {key}": _row("mine.jsonl", 0, key, "Other?") for key in ("prompt", "chosen", "rejected")},
    "pairs: the last row": _row("mine.jsonl", 39, "chosen", "Other."),
    "pairs: a held-out pair": _held_out,
    "pairs: a row less": lambda world: world.edit("mine.jsonl", lambda text: text.partition("\n")[2]),
    "pairs: order": lambda world: world.edit("mine.jsonl", lambda t: "".join(reversed(t.splitlines(keepends=True)))),
    "pairs: another file": lambda world: (
        (world.folder / "mine.jsonl").rename(world.folder / "yours.jsonl"), world.options.update(data="yours.jsonl")
    ),
}  # fmt: skip
QUESTIONS: dict[str, Mutation] = {
    f"medqa {split}: {key}": _row(f"data/medqa/{split}.jsonl", 5, key, value)
    for split in ("test", "train")
    for key, value in {
        "question": "What?",
        "options": {"A": "a", "B": "b", "C": "c", "D": "d"},
        "explanation": "Because.",
        "wrong_argument": "Perhaps.",
    }.items()
}
QUESTIONS["another task on the same pool"] = _options(task="preference", train_on="medqa")
GOLD: dict[str, Mutation] = {
    f"gsm8k {split}: {key}": _row(f"data/gsm8k/{split}.jsonl", 3, key, value)
    for split in ("test", "train")
    for key, value in {"question": "How many?", "answer": "It is 7.\n#### 7"}.items()
}
GROUPS: dict[str, Mutation] = {
    "share of groups": _options(groups={"train": 0.5}),
    "share of questions": _options(groups={"unseen": 0.5}),
    "training pairs of another pool": _options(aligner="dpo", train_on="ultrafeedback"),
}

# ---------------------------------------------------------------- versions and environment


def _version(name: str, version: str = "99.1") -> Mutation:
    def mutate(world: World) -> None:
        true = libraries.version
        world.patch.setattr(libraries, "version", lambda asked: version if asked == name else true(asked))

    return mutate


def _set(name: str, value: str) -> Mutation:
    return lambda world: world.patch.setenv(name, value)


VERSIONS: dict[str, Mutation] = {
    f"version of {name}": _version(name)
    for name in (
        "accelerate", "datasets", "gguf", "jinja2", "numpy", "peft", "safetensors", "scikit-learn", "scipy",
        "tokenizers", "torch", "transformers", "trl",
    )
}  # fmt: skip
MATHS_VERSIONS: dict[str, Mutation] = {
    f"version of {name}": _version(name)
    for name in ("lm-eval", "math-verify", "rouge-score", "sympy", "antlr4-python3-runtime")
}
ENVIRONMENT: dict[str, Mutation] = {
    name: _set(name, value)
    for name, value in {
        "OMP_NUM_THREADS": "3",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "NVIDIA_TF32_OVERRIDE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":16:8",
        "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    }.items()
}

# ---------------------------------------------------------------- code


def _code(place: str, old: str = "", new: str = "\nCHANGED = 1\n") -> Mutation:
    """Edit a file of a copy of the four packages; `old` empty appends."""

    def mutate(world: World) -> None:
        copy = world.folder / "code"
        for name in ("harness", "aligners", "tasks"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("samples", "__pycache__"))
        world.patch.setattr(code, "ROOT", copy / "harness")
        code.harness_code.cache_clear()
        world.edit(f"code/{place}", lambda text: text.replace(old, new, 1) if old else text + new)

    return mutate


CODE: dict[str, Mutation] = {
    f"code of {place}": _code(place)
    for place in (
        "aligners/dpo.py",
        "harness/fit/bench.py",
        "harness/lm/decoding.py",
        "harness/methods/losses.py",
        "harness/models/load.py",
        "harness/opinions/questions.py",
        "harness/util/chat.py",
        "harness/contracts/values.py",
        "harness/meter.py",
        "harness/run/worker.py",
        "harness/run/engine.py",
        "harness/stats/intervals.py",
        "harness/data/draw.py",
        "harness/judging/measure.py",
        "tasks/preference.py",
        "tasks/pools/pairs.py",
    )
} | {"a number in the code": _code("harness/models/load.py", "2_000_000_000", "3_000_000_000")}

# ---------------------------------------------------------------- judges


def _judge(**changes: Any) -> Mutation:
    return lambda world: world.options.update(judge=f"local:{world.folder / 'judge'}", **changes)


def _annotator(world: World) -> str:
    folder = world.folder / "annotator"
    folder.mkdir(exist_ok=True)
    (folder / "prompt.txt").write_text("<|im_start|>user\nWhich?<|im_end|>")
    (folder / "configs.yaml").write_text(
        "mine:\n  prompt_template: annotator/prompt.txt\n  fn_completions: openai_completions\n"
        "  completions_kwargs: {model_name: m}\n"
    )
    world.options["judge"] = f"alpaca_eval:{folder}"
    return str(folder)


JUDGES: dict[str, Mutation] = {
    "the judge's weights": _json("judge/config.json", "rms_norm_eps", value=1e-3),
    "the judge's chat template": lambda world: world.edit("judge/chat_template.jinja", lambda text: text + "!"),
    "another judge": _options(judge="constant"),
    "the study's model as judge": _options(judge="local"),
    "the baseline": _options(baseline="base"),
    "code of the judge": _code("tasks/judges/local.py"),
    "code of the judge's prompts": _code("tasks/judges/prompts.py"),
}
ANNOTATORS: dict[str, Mutation] = {
    "the endpoint": _set("OPENAI_API_BASE", "http://other:9/v1"),
    "the annotator's model": lambda world: world.edit(
        "annotator/configs.yaml", lambda t: t.replace("name: m", "name: n")
    ),
    "the annotator's prompt": lambda world: world.edit("annotator/prompt.txt", lambda t: t.replace("Which", "Who")),
    "version of alpaca-eval": _version("alpaca-eval"),
    "version of openai": _version("openai"),
}

MATTERS: list[tuple[str, dict[str, Any], Mutation]] = [
    *((name, PAIRS, m) for group in (MODEL, OPTIONS, DATA, VERSIONS, ENVIRONMENT, CODE) for name, m in group.items()),
    *_settings(),
    *((name, CLOSED, mutation) for name, mutation in QUESTIONS.items()),
    *((name, MATHS, mutation) for group in (GOLD, MATHS_VERSIONS) for name, mutation in group.items()),
    *((name, OPINIONS, mutation) for name, mutation in GROUPS.items()),
]  # fmt: skip


@pytest.mark.parametrize(("options", "mutate"), [(o, m) for _, o, m in MATTERS], ids=[n for n, _, _ in MATTERS])
def test_what_matters_gives_a_new_id(
    make: Callable[..., World],
    untouched: Callable[[dict[str, Any]], Plan],
    options: dict[str, Any],
    mutate: Mutation,
) -> None:
    world = make(options)
    before = untouched(options)
    mutate(world)
    after = world.plan()
    assert after.run_id != before.run_id
    assert differences(before.decisive, after.decisive)


@pytest.mark.parametrize("mutate", JUDGES.values(), ids=JUDGES)
def test_what_a_judge_rests_on_gives_a_new_id(make: Callable[..., World], mutate: Mutation) -> None:
    world = make(JUDGED)
    _judge()(world)
    before = world.plan()
    mutate(world)
    after = world.plan()
    assert after.run_id != before.run_id
    assert after.fit_id == before.fit_id


@pytest.mark.parametrize("mutate", ANNOTATORS.values(), ids=ANNOTATORS)
def test_what_an_annotator_rests_on_gives_a_new_id(make: Callable[..., World], mutate: Mutation) -> None:
    world = make(JUDGED)
    _annotator(world)
    world.patch.setenv("OPENAI_API_BASE", "http://one:9/v1")
    before = world.plan()
    mutate(world)
    assert world.plan().run_id != before.run_id


def test_there_are_at_least_a_hundred() -> None:
    assert len(MATTERS) + len(JUDGES) + len(ANNOTATORS) >= 100
    assert len(SAME) >= 20


# ---------------------------------------------------------------- what does not matter


def _touch(world: World) -> None:
    for path in world.folder.rglob("*"):
        os.utime(path, ns=(1, 1))


def _move(world: World) -> None:
    world.folder.rename(world.folder.with_name("elsewhere"))
    world.folder = world.folder.with_name("elsewhere")


def _shards(world: World) -> None:
    from safetensors.torch import load_file, save_file

    whole = load_file(world.model / "model.safetensors")
    (world.model / "model.safetensors").unlink()
    names = sorted(whole)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: whole[name] for name in held}, world.model / file, metadata={"format": "pt"})
    table = {name: file for file, held in parts.items() for name in held}
    index = {"metadata": {}, "weight_map": table}
    (world.model / "model.safetensors.index.json").write_text(json.dumps(index))


def _key_order(world: World) -> None:
    def turned(text: str) -> str:
        return "".join(json.dumps(dict(reversed(json.loads(row).items()))) + "\n" for row in text.splitlines())

    world.edit("mine.jsonl", turned)


def _more_plugins(world: World) -> None:
    from harness.contracts import RunObserver
    from harness.hookspecs import hookimpl

    class Quiet:
        name = "quiet"

        def started(self, run_id: str, summary: Any) -> None: ...
        def logged(self, run_id: str, event: Any) -> None: ...
        def finished(self, run_id: str, record: Any) -> None: ...

    watching: RunObserver = Quiet()
    plugin = types.ModuleType("quiet")
    plugin.harness_observers = hookimpl(lambda: [watching])  # type: ignore[attr-defined]
    world.registry = load(plugins=False, extra=[plugin])


SAME: dict[str, Mutation] = {
    "times of change": _touch,
    "where everything lies": _move,
    "the store": _options(store=Path("another")),
    "the profile's name": _options(profile="cpu-demo"),
    "weights in shards": _shards,
    "order of a row's fields": _key_order,
    "an observer": _more_plugins,
    **{f"{name} in the model's folder": _file(f"tiny/{name}", "x") for name in (
        "README.md", "LICENSE", ".gitattributes", "pytorch_model.bin", "model.onnx", "trainer_state.json",
        "training_args.bin", "picture.png", "modeling_mine.py", ".cache/x.json", "runs/events.json",
    )},
    **{f"variable {name}": _set(name, "x") for name in (
        "TOKENIZERS_PARALLELISM", "NO_COLOR", "LANG", "HARNESS_DATA", "LOCAL_RANK",
    )},
    **{f"version of {name}": _version(name) for name in ("rich", "typer", "pytest", "duckdb", "huggingface-hub")},
    **{f"code of {place}": _code(place) for place in (
        "harness/cli/show.py", "harness/plugins/registry.py", "harness/records/store.py", "aligners/gem.py",
        "tasks/opinions.py", "tasks/judges/constant.py", "harness/conformance/lab.py",
    )},
    "a comment": _code("harness/fit/bench.py", new="\n# a comment\n"),
    "a docstring": _code("harness/models/load.py", '"""From files', '"""Out of files'),
    "a field's description": _code("aligners/dpo.py", 'description="', 'description="really: '),
}  # fmt: skip


@pytest.mark.parametrize("mutate", SAME.values(), ids=SAME)
def test_what_does_not_matter_keeps_the_id(
    make: Callable[..., World], untouched: Callable[[dict[str, Any]], Plan], mutate: Mutation
) -> None:
    world = make(PAIRS)
    before = untouched(PAIRS)
    mutate(world)
    after = world.plan()
    assert differences(before.decisive, after.decisive) == []
    assert (after.fit_id, after.run_id, after.answers_id) == (before.fit_id, before.run_id, before.answers_id)


@pytest.mark.parametrize(
    "address", ["http://user:hunter2@one:9/v1", "http://one:9/v1?api_key=hunter2", "http://one:9/v1#hunter2"]
)
def test_secrets_are_in_no_manifest(make: Callable[..., World], address: str) -> None:
    world = make(JUDGED)
    _annotator(world)
    world.patch.setenv("OPENAI_API_BASE", "http://one:9/v1")
    plain = world.plan()
    world.patch.setenv("OPENAI_API_BASE", address)
    world.patch.setenv("OPENAI_API_KEY", "hunter2")
    assert world.plan().run_id == plain.run_id
    assert "hunter2" not in json.dumps(world.plan().decisive)


# ---------------------------------------------------------------- single cases


def test_a_change_of_what_is_asked_leaves_the_fit_alone(make: Callable[..., World]) -> None:
    world = make(CLOSED)
    before = world.plan()
    _row("data/medqa/test.jsonl", 5, "explanation", "Because.")(world)
    after = world.plan()
    assert after.fit_id == before.fit_id
    assert after.answers_id != before.answers_id


def test_a_change_of_the_judge_leaves_the_answers_alone(make: Callable[..., World]) -> None:
    world = make(JUDGED)
    before = world.plan()
    _judge()(world)
    after = world.plan()
    assert after.answers_id == before.answers_id
    assert after.run_id != before.run_id


def test_a_method_without_labels_depends_on_no_budget_but_on_its_seeds(make: Callable[..., World]) -> None:
    world = make({**PAIRS, "aligner": "base"})
    before = world.plan().fit_id
    world.options["budget"] = Budget(labels=5)
    assert world.plan().fit_id == before
    world.options["seed"] = 1
    assert world.plan().fit_id != before


def test_an_adapter_in_the_models_folder_is_refused(make: Callable[..., World]) -> None:
    world = make(PAIRS)
    _file("tiny/adapter_config.json", "{}")(world)
    with pytest.raises(HarnessError, match=r"adapter_config\.json.*merge the adapter"):
        world.plan()


def test_code_of_another_repository_is_refused(make: Callable[..., World]) -> None:
    world = make({**PAIRS, "trust_remote_code": True})
    _json("tiny/config.json", "auto_map", value={"AutoConfig": "someone/else--configuration.Config"})(world)
    with pytest.raises(HarnessError, match="takes its code from another repository"):
        world.plan()


def test_remote_code_counts_where_it_runs(make: Callable[..., World]) -> None:
    world = make({**PAIRS, "trust_remote_code": True})
    before = world.plan()
    _file("tiny/modeling_mine.py", "x = 1")(world)
    assert world.plan().run_id != before.run_id


# ---------------------------------------------------------------- rooms

NO_CODE_OF_A_FIT = ("harness.hookspecs",)
"""What a plug-in names of `harness` without computing anything by it."""


FORECASTS = ("aligners.costs", "aligners.opinion_costs")
"""What fits are expected to cost; no method imports it, so it is part of no fit."""


def _imported(place: str, package: str = "harness") -> set[str]:
    """Modules of `package` that a package of ours imports, at whatever level of its functions."""
    found: set[str] = set()
    for path in sorted((ROOT / place).rglob("*.py")):
        if path in [ROOT / f"{name.replace('.', '/')}.py" for name in FORECASTS]:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
                found.add(str(node.module))
    return found - set(NO_CODE_OF_A_FIT)


def test_no_method_imports_the_forecasts() -> None:
    assert not set(FORECASTS) & _imported("aligners", "aligners")


def _in_rooms(module: str, rooms: tuple[str, ...]) -> bool:
    path = "/".join(module.split(".")[1:])
    return any(path == room.removesuffix(".py") or path.startswith(f"{room}/") for room in rooms)


@pytest.mark.parametrize(
    ("place", "rooms"),
    [("aligners", FIT_ROOMS), ("tasks", (*FIT_ROOMS, *EVALUATION_ROOMS))],
    ids=["aligners", "tasks"],
)
def test_all_that_our_plugins_use_of_the_harness_is_in_a_room_that_counts(place: str, rooms: tuple[str, ...]) -> None:
    used = _imported(place)
    assert used
    assert sorted(module for module in used if not _in_rooms(module, rooms)) == []
