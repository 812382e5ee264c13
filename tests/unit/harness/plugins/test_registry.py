"""The registry: what plug-ins offer, who they are, and what happens when they are wrong."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from harness import hookspecs
from harness.contracts import Aligned, Bench, Dataset, FewShot, HarnessError, ModelSource, Need
from harness.hookspecs import hookimpl
from harness.plugins import registry

pytestmark = pytest.mark.core


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Mild:
    name: ClassVar[str] = "mild"
    paper: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    Config: ClassVar[type[BaseModel]] = Config

    def __init__(self, config: Any) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        return bench.aligned(few_shot.pairs)


class Quiz:
    name = "quiz"
    paper = ""
    licence = "CC0"
    main_metric = "acc"
    metrics: ClassVar[Mapping[str, str]] = {"acc": "share right"}
    default_pool = "lake"
    requires: ClassVar[frozenset[str]] = frozenset({"loglik"})
    accepts: ClassVar[frozenset[str]] = frozenset()

    def revision(self, source: Any) -> str:
        return "r"

    questions = evaluate = revision


class Lake:
    name = "lake"
    licence = "CC0"
    dataset = Dataset(folder="lake", hub="someone/lake")

    def revision(self, source: Any) -> str:
        return "r"

    pairs = prompts = groups = verifier = questions = revision


class Referee:
    name = "referee"
    version = "1"

    def compare(self, items: Any) -> list[Any]:
        return []


class Engine:
    name = "engine"
    capabilities: ClassVar[frozenset[str]] = frozenset({"score"})

    def open(self, files: Any, *, device: str, precision: str) -> Any:
        return types.SimpleNamespace(opened=(files, device, precision))


class Witness:
    name = "witness"

    def started(self, run_id: str, summary: Any) -> None:
        """Hear of a start."""

    logged = finished = started


SOURCE = ModelSource(name="mini", licence="MIT", wheels={"mini==1": "0" * 64}, gguf=("mini.gguf",))
GOOD: dict[str, object] = {
    "aligner": Mild,
    "task": Quiz,
    "pool": Lake,
    "judge": Referee,
    "backend": Engine,
    "model": SOURCE,
    "observer": Witness(),
}


def plugin(name: str = "someone", /, **offers: object) -> types.ModuleType:
    """A plug-in module whose hook `harness_<kind>s` returns the one value given for `kind`."""
    module = types.ModuleType(name)
    for kind, value in offers.items():
        setattr(module, f"harness_{kind}s", returning([value]))
    return module


def returning(value: object) -> Callable[[], object]:
    return hookimpl(lambda: value)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No built-ins: a test sees only what it registers."""
    monkeypatch.setattr(registry, "BUILTIN", ())


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: None) -> Callable[..., None]:
    """Install a distribution with entry points of group `harness` and one module per entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(distribution: str, version: str, **modules: str) -> None:
        info = tmp_path / f"{distribution}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        points = "\n".join(f"{name} = plug_{name}" for name in modules)
        (info / "entry_points.txt").write_text(f"[harness]\n{points}\n")
        for name, source in modules.items():
            (tmp_path / f"plug_{name}.py").write_text(source)
            monkeypatch.delitem(sys.modules, f"plug_{name}", raising=False)

    return add


HONEST = f"""
import sys
from harness.hookspecs import hookimpl
Mild = sys.modules[{__name__!r}].Mild
Third = type("Third", (Mild,), {{"name": "third"}})

@hookimpl
def harness_aligners():
    return [Third]
"""
BROKEN = "import a_package_that_nobody_has\n"


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_every_kind_is_found_by_name(kind: str, alone: None) -> None:
    offered = registry.load(plugins=False, extra=[plugin(**{kind: GOOD[kind]})])
    name = getattr(GOOD[kind], "name", "")
    assert getattr(offered, kind)(name) is GOOD[kind]
    assert dict(getattr(offered, f"{kind}s")) == {name: GOOD[kind]}
    assert offered.provenance == {f"{kind}:{name}": "given in code"}


def test_what_a_backend_by_name_does_is_what_its_class_does(alone: None) -> None:
    offered = registry.load(plugins=False, extra=[plugin(backend=Engine)])
    engine: Any = offered.backend("engine")().open("files", device="cpu", precision="fp32")  # type: ignore[arg-type]
    assert engine.opened == ("files", "cpu", "fp32")


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_unknown_names_say_the_nearest(kind: str, alone: None) -> None:
    offered = registry.load(plugins=False, extra=[plugin(**{kind: GOOD[kind]})])
    name = getattr(GOOD[kind], "name", "")
    with pytest.raises(HarnessError, match=f"{kind} '{name}x' is not installed; did you mean '{name}'"):
        getattr(offered, kind)(f"{name}x")


def test_every_hook_has_a_kind_and_a_docstring() -> None:
    hooks = {name: value for name, value in vars(hookspecs).items() if name.startswith("harness_")}
    assert {kind.hook for kind in registry.KINDS} == set(hooks)
    assert all(hook.__doc__ and "\n" not in hook.__doc__ for hook in hooks.values())


def test_a_registry_is_frozen(alone: None) -> None:
    offered = registry.load(plugins=False, extra=[plugin(aligner=Mild)])
    with pytest.raises(dataclasses.FrozenInstanceError):
        offered.tasks = {}  # type: ignore[misc]
    with pytest.raises(TypeError):
        offered.aligners["other"] = Mild  # type: ignore[index]


def test_two_registries_are_independent(alone: None) -> None:
    registry.load(plugins=False, extra=[plugin(aligner=Mild)])
    assert not registry.load(plugins=False).aligners


def test_duplicate_names_name_both_providers(alone: None) -> None:
    with pytest.raises(HarnessError, match=r"aligner 'mild' is offered twice: by first .* and by second") as caught:
        registry.load(plugins=False, extra=[plugin("first", aligner=Mild), plugin("second", aligner=Mild)])
    assert "given in code" in str(caught.value)


def test_the_same_name_in_two_kinds_is_no_duplicate(alone: None) -> None:
    namesake = type("Namesake", (Referee,), {"name": "mild"})
    offered = registry.load(plugins=False, extra=[plugin(aligner=Mild, judge=namesake)])
    assert offered.aligner("mild") is Mild
    assert offered.judge("mild") is namesake


def test_a_misspelt_hook_is_an_error_with_the_nearest_hook(alone: None) -> None:
    module = types.ModuleType("clumsy")
    module.harness_aligner = returning([])  # type: ignore[attr-defined]
    message = r"plug-in 'clumsy' .*unknown hook 'harness_aligner'; did you mean 'harness_aligners'"
    with pytest.raises(HarnessError, match=message):
        registry.load(plugins=False, extra=[module])


def test_a_hook_with_arguments_is_an_error(alone: None) -> None:
    module = types.ModuleType("curious")
    module.harness_aligners = hookimpl(lambda config: [])  # type: ignore[attr-defined]
    with pytest.raises(HarnessError, match=r"plug-in 'curious'.*config"):
        registry.load(plugins=False, extra=[module])


def test_a_plugin_without_hooks_is_an_error(alone: None) -> None:
    with pytest.raises(HarnessError, match=r"'silent'.*implements no hook"):
        registry.load(plugins=False, extra=[types.ModuleType("silent")])


def test_the_same_plugin_twice_is_an_error(alone: None) -> None:
    module = plugin(aligner=Mild)
    with pytest.raises(HarnessError, match=r"'someone'.*registered twice"):
        registry.load(plugins=False, extra=[module, module])


def test_a_hook_must_return_a_list(alone: None) -> None:
    module = types.ModuleType("generous")
    module.harness_aligners = hookimpl(lambda: Mild)  # type: ignore[attr-defined]
    with pytest.raises(HarnessError, match="'generous': harness_aligners must return a list"):
        registry.load(plugins=False, extra=[module])


class Thawed(BaseModel):
    """A config that can be changed."""


FAULTS: list[tuple[str, dict[str, object], str]] = [
    ("aligner", {"version": 1}, "'version' of type str"),
    ("aligner", {"paper": None}, "'paper' of type str"),
    ("aligner", {"name": ""}, "name that is not empty"),
    ("aligner", {"requires": {"pairs"}}, "'requires' of type frozenset"),
    ("aligner", {"requires": frozenset({"pair"})}, "has 'pair' in 'requires'; did you mean 'pairs'"),
    ("aligner", {"accepts": None}, "'accepts' of type frozenset"),
    ("aligner", {"accepts": frozenset({"promts"})}, "has 'promts' in 'accepts'; did you mean 'prompts'"),
    ("aligner", {"capabilities": frozenset({"chose"})}, "has 'chose' in 'capabilities'; did you mean 'choose'"),
    ("aligner", {"name": "all"}, "name that is reserved"),
    ("judge", {"name": "a,b"}, "letters, digits"),
    ("task", {"aliases": "ab"}, "aliases that are a tuple"),
    ("aligner", {"Config": dict}, "'Config' that is a pydantic model"),
    ("aligner", {"Config": Thawed}, "Config that is not frozen"),
    ("aligner", {"fit": None}, "must have a method 'fit'"),
    ("task", {"metrics": None}, "'metrics' that maps"),
    ("task", {"main_metric": "f1"}, "main_metric that is not among its metrics"),
    ("task", {"default_pool": None}, "'default_pool' of type str"),
    ("task", {"requires": frozenset({"generation"})}, "did you mean 'generate'"),
    ("task", {"accepts": frozenset({"prefers"})}, "did you mean 'prefer'"),
    ("pool", {"dataset": "lake"}, "'dataset' of type"),
    ("pool", {"verifier": None}, "must have a method 'verifier'"),
    ("judge", {"compare": None}, "must have a method 'compare'"),
    ("backend", {"capabilities": frozenset({"scores"})}, "did you mean 'score'"),
    ("backend", {"open": None}, "must have a method 'open'"),
]


@pytest.mark.parametrize(("kind", "change", "message"), FAULTS)
def test_invalid_values_are_refused_by_name(kind: str, change: dict[str, object], message: str, alone: None) -> None:
    good = GOOD[kind]
    assert isinstance(good, type)
    wrong = type("Wrong", (good,), change)
    with pytest.raises(HarnessError, match=rf"plug-in 'someone': {kind} .*{message}"):
        registry.load(plugins=False, extra=[plugin(**{kind: wrong})])


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("aligner", Mild(Config()), "must be a class"),
        ("model", "mini", "must be a harness.contracts.ModelSource"),
        ("observer", Witness, "must be an instance"),
    ],
)
def test_classes_and_values_are_told_apart(kind: str, value: object, message: str, alone: None) -> None:
    with pytest.raises(HarnessError, match=message):
        registry.load(plugins=False, extra=[plugin(**{kind: value})])


# ---------------------------------------------------------------- third parties


def test_third_parties_come_with_their_distribution(install: Callable[..., None]) -> None:
    install("nice-plugin", "2.3", nice=HONEST)
    offered = registry.load()
    assert offered.aligner("third").name == "third"
    assert offered.provenance["aligner:third"] == "nice-plugin 2.3"
    assert not offered.skipped


def test_a_plugin_that_fails_to_import_is_skipped_and_named(install: Callable[..., None]) -> None:
    install("sad-plugin", "0.1", sad=BROKEN)
    install("nice-plugin", "2.3", nice=HONEST)
    offered = registry.load()
    assert offered.aligner("third").name == "third"
    assert "sad-plugin 0.1 failed to import: ModuleNotFoundError" in offered.skipped["sad"]
    with pytest.raises(HarnessError, match=r"'gloom' is not installed.*left out \(sad: sad-plugin 0.1 .*nobody_has"):
        offered.aligner("gloom")


def test_a_plugin_whose_hook_raises_is_skipped(install: Callable[..., None]) -> None:
    source = "from harness.hookspecs import hookimpl\n@hookimpl\ndef harness_tasks():\n    return [1 / 0]\n"
    install("sad-plugin", "0.1", sad=source)
    assert "failed in harness_tasks: ZeroDivisionError" in registry.load().skipped["sad"]


def test_a_builtin_that_raises_is_not_hidden(alone: None) -> None:
    module = types.ModuleType("ours")
    module.harness_tasks = hookimpl(lambda: [1 / 0])  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError):
        registry.load(plugins=False, extra=[module])


HOOKED = "from harness.hookspecs import hookimpl\n@hookimpl\ndef harness_aligners():\n    "
NAMED = "import sys\n" + HOOKED + "return [type('X', (sys.modules[{test!r}].Mild,), {{'name': {name!r}}})]\n"
MISUSED: dict[str, tuple[str, str]] = {
    "exits at import": ("import sys\nsys.exit(0)\n", "failed to import: SystemExit: 0"),
    "exits in a hook": (HOOKED + "raise SystemExit(0)\n", "failed in harness_aligners: SystemExit"),
    "raises no Exception": ("raise BaseException('boo')\n", "failed to import: BaseException: boo"),
    "pretends Ctrl-C": ("raise KeyboardInterrupt\n", "failed to import: KeyboardInterrupt"),
    "raises without words": ("class E(Exception):\n  __str__ = None\nraise E\n", "failed to import: E"),
    "recurses": ("def f():\n  f()\nf()\n", "RecursionError"),
    "has no hook": ("x = 1\n", "implements no hook"),
    "misspells a hook": (HOOKED.replace("_aligners", "_aligner") + "return []\n", "did you mean 'harness_aligners'"),
    "asks for arguments": (HOOKED.replace("()", "(config)") + "return []\n", "config"),
    "returns no list": (HOOKED + "return 3\n", "must return a list, but returned int"),
    "offers an instance": (HOOKED + "return [3]\n", "must be a class"),
    "has names that raise": (
        HOOKED + "return [type('M', (type,), {'name': property(lambda s: 1 / 0)})('X', (), {})]\n",
        "ZeroDivisionError",
    ),
}


@pytest.mark.parametrize("fault", MISUSED)
def test_a_third_party_at_fault_is_named_and_left_out_and_the_others_serve(
    fault: str, install: Callable[..., None]
) -> None:
    source, said = MISUSED[fault]
    install("nice-plugin", "2.3", nice=HONEST)
    install("bad-plugin", "0.1", bad=source, zeal=HONEST.replace("third", "fourth"))
    offered = registry.load()
    assert sorted(offered.aligners) == ["fourth", "third"]
    assert list(offered.skipped) == ["bad"]
    assert offered.skipped["bad"].startswith("bad-plugin 0.1 ")
    assert said in offered.skipped["bad"]


@pytest.mark.parametrize(
    "name",
    ["all", "ALL", "none", "null", "1", "1.5", "true", "", " ", "a,b", "a b", "a:b", "-a", "a/b", "a\x1b[2J", "x" * 65,
     "a\n", "\u202ea"],
)  # fmt: skip
def test_a_name_that_no_command_could_ask_for_is_refused(name: str, install: Callable[..., None]) -> None:
    install("bad-plugin", "0.1", bad=NAMED.format(test=__name__, name=name))
    offered = registry.load()
    assert not offered.aligners
    assert list(offered.skipped) == ["bad"]
    aliased = NAMED.format(test=__name__, name="fine").replace("'name'", f"'aliases': ({name!r},), 'name'")
    install("alias-plugin", "0.1", alias=aliased)
    offered = registry.load()
    assert not offered.aligners
    assert set(offered.skipped) == {"alias", "bad"}


@pytest.mark.parametrize("name", ["gem-2", "Qwen2.5", "dpo_v2", "模型", "c++"])
def test_names_in_use_are_fine(name: str, install: Callable[..., None]) -> None:
    install("nice-plugin", "0.1", nice=NAMED.format(test=__name__, name=name))
    assert list(registry.load().aligners) == [name]


def test_a_real_ctrl_c_while_a_plugin_is_imported_interrupts(install: Callable[..., None]) -> None:
    install("slow-plugin", "0.1", slow="import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    with pytest.raises(KeyboardInterrupt):
        registry.load()


def test_a_third_party_may_not_take_a_name_that_is_taken(install: Callable[..., None]) -> None:
    install("nice-plugin", "2.3", nice=HONEST)
    third = type("Third", (Mild,), {"name": "third"})
    offered = registry.load(extra=[plugin(aligner=third)])
    assert offered.aligner("third") is third
    assert "offered twice: by someone (given in code) and by nice-plugin:nice" in offered.skipped["nice"]


def test_an_alias_may_not_be_a_name(install: Callable[..., None]) -> None:
    install("nice-plugin", "2.3", nice=HONEST)
    source = NAMED.format(test=__name__, name="zest").replace("'name'", "'aliases': ('third',), 'name'")
    install("sly-plugin", "0.1", sly=source)
    offered = registry.load()
    assert list(offered.aligners) == ["third"]
    assert "also to be called 'third'" in offered.skipped["sly"]
    named = type("Named", (Mild,), {"name": "first", "aliases": ("zest",)})
    with pytest.raises(HarnessError, match="'zest' has the name by which 'first' is also called"):
        registry.load(extra=[plugin("one", aligner=named), plugin("two", aligner=type("Z", (Mild,), {"name": "zest"}))])


def test_no_plugins_does_not_even_import_them(install: Callable[..., None]) -> None:
    install("sad-plugin", "0.1", sad=BROKEN)
    offered = registry.load(plugins=False)
    assert not offered.skipped
    assert not offered.aligners


@pytest.mark.parametrize("allowed", ["nice", "nice-plugin"])
def test_the_allow_list_takes_entry_points_and_distributions(install: Callable[..., None], allowed: str) -> None:
    install("sad-plugin", "0.1", sad="raise SystemExit('imported although it is not allowed')\n")
    install("nice-plugin", "2.3", nice=HONEST)
    offered = registry.load(allow=[allowed])
    assert list(offered.aligners) == ["third"]
    assert offered.skipped == {"sad": "sad-plugin 0.1 not in the allow-list"}


def test_an_unknown_name_in_the_allow_list_is_an_error(install: Callable[..., None]) -> None:
    install("nice-plugin", "2.3", nice=HONEST)
    with pytest.raises(
        HarnessError, match="'nice-plugim' in the allow-list is not installed; did you mean 'nice-plugin'"
    ):
        registry.load(allow=["nice-plugim"])


def test_two_distributions_may_share_an_entry_point_name(install: Callable[..., None], tmp_path: Path) -> None:
    install("sad-plugin", "0.1", sad=BROKEN)
    install("sadder-plugin", "0.2", sad=BROKEN)
    reason = registry.load().skipped["sad"]
    assert "sad-plugin 0.1" in reason
    assert "sadder-plugin 0.2" in reason


# ---------------------------------------------------------------- what ships


PROBE = """
import sys
import harness
from harness.plugins import registry
offered = registry.load(plugins=False)
heavy = {"torch", "transformers", "lm_eval", "trl", "peft", "sklearn", "duckdb", "scipy"} & set(sys.modules)
print(sorted(heavy))
print(*offered.provenance.items(), sep="\\n")
"""


def test_builtins_load_light() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[]"


def test_what_ships_is_there_and_says_where_it_comes_from() -> None:
    offered = registry.load(plugins=False)
    assert {"base", "icl", "sft", "dpo", "gem", "random"} <= set(offered.aligners)
    assert "medqa" in offered.tasks
    assert all(task.default_pool in offered.pools for task in offered.tasks.values())
    assert {"smollm2-135m-instruct", "gemma3-270m"} <= set(offered.models)
    assert offered.backend("hf").capabilities >= {"generate", "score"}
    assert all(origin.startswith("align-harness ") for origin in offered.provenance.values())


def test_one_of_a_family_is_found_by_what_follows_the_colon(alone: None) -> None:
    class Many(Referee):
        name = "many"

        @classmethod
        def named(cls, argument: str) -> type:
            return type("One", (cls,), {"name": f"many:{argument}"})

    found = registry.load(plugins=False, extra=[plugin(judge=Many)])
    assert found.judge("many") is Many
    assert found.judge("many:one:two").name == "many:one:two"
    with pytest.raises(HarnessError, match="judge 'manny' is not installed; did you mean 'many'"):
        found.judge("manny:one")


def test_what_is_no_family_takes_nothing_after_a_colon(alone: None) -> None:
    found = registry.load(plugins=False, extra=[plugin(task=Quiz)])
    with pytest.raises(HarnessError, match="task 'quiz' takes nothing after a colon"):
        found.task("quiz:hard")
