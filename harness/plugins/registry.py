"""What is installed: built-in plug-ins and third parties' from entry-point group `harness`.

`load` makes a pluggy manager, asks every plug-in for what it offers, validates it and returns a frozen `Registry`.
There is no global registry, and loading one imports neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from types import MappingProxyType
from typing import Any, TypeVar, cast

import pluggy

from harness.contracts import (
    Aligner,
    Backend,
    Executor,
    Family,
    HarnessError,
    HasAliases,
    Judge,
    ModelSource,
    Pool,
    RunObserver,
    Task,
)
from harness.plugins import specs as hookspecs
from harness.plugins.faults import (
    aligner_faults,
    backend_faults,
    executor_faults,
    judge_faults,
    model_faults,
    observer_faults,
    pool_faults,
    task_faults,
)
from harness.util.names import nearest

DISTRIBUTION = "align-harness"


BUILTIN: tuple[str, ...] = (
    "aligners.base",
    "aligners.icl",
    "aligners.sft",
    "aligners.dpo",
    "aligners.dpo_variants",
    "aligners.orpo",
    "aligners.simpo",
    "aligners.kto",
    "aligners.best_of_n",
    "aligners.gem",
    "aligners.selfie",
    "aligners.grpo",
    "aligners.gpo",
    "aligners.ridge",
    "aligners.mean_of_groups",
    "aligners.uniform",
    "aligners.icl_groups",
    "aligners.random_adapter",
    "tasks.medqa",
    "tasks.medmcqa",
    "tasks.pubmedqa",
    "tasks.gsm8k",
    "tasks.math500",
    "tasks.lm_eval.family",
    "tasks.preference",
    "tasks.opinions",
    "tasks.alpaca_eval",
    "tasks.medical_dialogue",
    "tasks.pools.medqa",
    "tasks.pools.gsm8k",
    "tasks.pools.medmcqa",
    "tasks.pools.pubmedqa",
    "tasks.pools.pairs",
    "tasks.pools.own",
    "tasks.pools.medical_dialogue",
    "tasks.pools.opinions",
    "tasks.judges.similarity",
    "tasks.judges.local",
    "tasks.judges.alpaca_eval",
    "tasks.judges.constant",
    "harness.models.builtin",
    "harness.lm.backends.hf",
)
"""Modules whose hooks ship with the harness, in the order in which lists show them."""


V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Registry:
    """Everything that plug-ins offer, by name."""

    aligners: Mapping[str, type[Aligner]]
    tasks: Mapping[str, type[Task]]
    pools: Mapping[str, type[Pool]]
    judges: Mapping[str, type[Judge]]
    backends: Mapping[str, type[Backend]]
    models: Mapping[str, ModelSource]
    executors: Mapping[str, type[Executor]]
    observers: Mapping[str, RunObserver]
    provenance: Mapping[str, str]
    """`kind:name` -> distribution and version, for example `aligner:gem` -> `align-harness 0.1.0`."""
    aliases: Mapping[str, str]
    """Other names of aligners (`spa`) -> the name that records and tables use."""
    skipped: Mapping[str, str]
    """Entry-point name of every third-party plug-in that was left out -> its distribution and the reason."""
    plugins: bool = True
    """Whether third parties were looked for."""
    allow: frozenset[str] | None = None
    """The allow-list of third parties, None for all: a child process loads the same registry with it."""

    def aligner(self, name: str) -> type[Aligner]:
        """The aligner called `name`, or known by it. Raises HarnessError with the nearest name."""
        return self._find("aligner", self.aligners, self.aliases.get(name, name))

    def task(self, name: str) -> type[Task]:
        """The task called `name`, or `family:one`. Raises HarnessError with the nearest name."""
        return self._member("task", self.tasks, name)

    def pool(self, name: str) -> type[Pool]:
        """The pool called `name`. Raises HarnessError with the nearest name."""
        return self._find("pool", self.pools, name)

    def judge(self, name: str) -> type[Judge]:
        """The judge called `name`, or `family:one`. Raises HarnessError with the nearest name."""
        return self._member("judge", self.judges, name)

    def backend(self, name: str) -> type[Backend]:
        """The backend called `name`. Raises HarnessError with the nearest name."""
        return self._find("backend", self.backends, name)

    def model(self, name: str) -> ModelSource:
        """The built-in model called `name`. Raises HarnessError with the nearest name."""
        return self._find("model", self.models, name)

    def executor(self, name: str) -> type[Executor]:
        """The executor called `name`. Raises HarnessError with the nearest name."""
        return self._find("executor", self.executors, name)

    def observer(self, name: str) -> RunObserver:
        """The run observer called `name`. Raises HarnessError with the nearest name."""
        return self._find("observer", self.observers, name)

    def _member(self, kind: str, known: Mapping[str, type[V]], name: str) -> type[V]:
        head, colon, argument = name.partition(":")
        found = self._find(kind, known, head)
        if not colon:
            return found
        family: object = found
        if not isinstance(family, Family):
            raise HarnessError(f"{kind} {head!r} takes nothing after a colon, but {name!r} was asked for")
        return cast("type[V]", family.named(argument))

    def _find(self, kind: str, known: Mapping[str, V], name: str) -> V:
        if name in known:
            return known[name]
        message = f"{kind} {name!r} is not installed; {nearest(name, known, label='installed')}"
        if self.skipped:
            left_out = "; ".join(f"{plugin}: {reason}" for plugin, reason in self.skipped.items())
            message += f". It may belong to a plug-in that was left out ({left_out})"
        raise HarnessError(message)


def load(*, plugins: bool = True, allow: Collection[str] | None = None, extra: Sequence[object] = ()) -> Registry:
    """Ask every plug-in what it offers.

    `plugins` False leaves third parties out; `allow` limits them to these distribution or entry-point names; `extra`
    are plug-in objects given in code. A third party that cannot be imported, or whose hook raises, is in `skipped`.
    Raises HarnessError for an unknown name in `allow`, a misspelt hook, a duplicate name or an invalid value.
    """
    loader = _Loader()
    version = _version(DISTRIBUTION)
    for module in BUILTIN:
        loader.register(importlib.import_module(module), module, f"{DISTRIBUTION} {version}")
    for plugin in extra:
        name = getattr(plugin, "__name__", type(plugin).__name__)
        loader.register(plugin, name, "given in code")
    if plugins:
        loader.entry_points(allow)
    return replace(loader.registry(), plugins=plugins, allow=None if allow is None else frozenset(allow))


class _Loader:
    """The state of one `load`: a manager, who each plug-in comes from, and who was left out."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.origin: dict[str, str] = {}
        self.third_parties: dict[str, str] = {}
        self.skipped: dict[str, str] = {}

    def register(self, plugin: object, name: str, origin: str) -> None:
        """Add a plug-in's hooks. Raises HarnessError for a wrong signature, a misspelt hook or no hook at all."""
        try:
            self.manager.register(plugin, name)
            self.manager.check_pending()
        except pluggy.PluginValidationError as error:
            reason = self._misspelt(plugin) or " ".join(str(error).split())
            raise HarnessError(f"plug-in {name!r} ({origin}): {reason}{self._way_out(name)}") from error
        except ValueError as error:
            raise HarnessError(f"plug-in {name!r} ({origin}) is registered twice") from error
        if not self.manager.get_hookcallers(plugin):
            raise HarnessError(
                f"plug-in {name!r} ({origin}) implements no hook; mark its functions with harness.hookspecs.hookimpl"
                + self._way_out(name)
            )
        self.origin[name] = origin

    def _misspelt(self, plugin: object) -> str | None:
        known = [kind.hook for kind in KINDS]
        unknown = [c.name for c in self.manager.get_hookcallers(plugin) or () if c.name not in known]
        return f"unknown hook {unknown[0]!r}; {nearest(unknown[0], known, label='installed')}" if unknown else None

    def _way_out(self, plugin: str) -> str:
        return " (--no-plugins leaves third parties out)" if plugin in self.third_parties else ""

    def entry_points(self, allow: Collection[str] | None) -> None:
        """Import third parties; those that fail or are not allowed are noted in `skipped`."""
        found = sorted(metadata.entry_points(group=hookspecs.PROJECT), key=lambda point: (point.name, point.value))
        owners = [point.dist.name if point.dist else "unknown" for point in found]
        names = {point.name for point in found} | set(owners)
        for wanted in sorted(set(allow or ()) - names):
            raise HarnessError(
                f"plug-in {wanted!r} in the allow-list is not installed; {nearest(wanted, names, label='installed')}"
            )
        for point, owner in zip(found, owners, strict=True):
            origin = f"{owner} {point.dist.version if point.dist else 'unknown'}"
            if allow is not None and not {point.name, owner} & set(allow):
                self.skip(point.name, origin, "not in the allow-list")
            else:
                self._third_party(point, owner, origin)

    def _third_party(self, point: metadata.EntryPoint, owner: str, origin: str) -> None:
        try:
            plugin = point.load()
        except Exception as error:  # whatever a stranger's import raises must not take the harness down
            self.skip(point.name, origin, f"failed to import: {type(error).__name__}: {error}")
            return
        name = f"{owner}:{point.name}"
        self.third_parties[name] = point.name
        self.register(plugin, name, origin)

    def skip(self, plugin: str, origin: str, reason: str) -> None:
        """Note a plug-in that is left out."""
        before = f"{self.skipped[plugin]}; " if plugin in self.skipped else ""
        self.skipped[plugin] = f"{before}{origin} {reason}"

    def registry(self) -> Registry:
        """Call the hooks and freeze what they return."""
        tables: dict[str, dict[str, Any]] = {kind.name: {} for kind in KINDS}
        provider: dict[str, str] = {}
        for plugin in self.origin:
            for kind, name, value in self._offers(plugin):
                label = f"{kind.name}:{name}"
                if label in provider:
                    both = " and by ".join(f"{who} ({self.origin[who]})" for who in (provider[label], plugin))
                    raise HarnessError(f"{kind.name} {name!r} is offered twice: by {both}")
                tables[kind.name][name] = value
                provider[label] = plugin
        frozen: dict[str, Any] = {f"{kind}s": MappingProxyType(table) for kind, table in tables.items()}
        provenance = {label: self.origin[plugin] for label, plugin in provider.items()}
        return Registry(
            **frozen,
            provenance=MappingProxyType(provenance),
            aliases=MappingProxyType(_aliases(tables["aligner"])),
            skipped=MappingProxyType(self.skipped),
        )

    def _offers(self, plugin: str) -> list[tuple[_Kind, str, object]]:
        """What one plug-in offers, validated; empty, and noted as skipped, when a third party's hook raises."""
        offers: list[tuple[_Kind, str, object]] = []
        for kind in KINDS:
            try:
                returned = self._call(kind, plugin)
            except Exception as error:
                if plugin not in self.third_parties:
                    raise
                reason = f"failed in {kind.hook}: {type(error).__name__}: {error}"
                self.skip(self.third_parties[plugin], self.origin[plugin], reason)
                return []
            offers += [(kind, *self._validated(kind, value, plugin)) for value in self._listed(kind, returned, plugin)]
        return offers

    def _call(self, kind: _Kind, plugin: str) -> list[object]:
        others = [other for name, other in self.manager.list_name_plugin() if name != plugin and other is not None]
        return cast("list[object]", self.manager.subset_hook_caller(kind.hook, others)())

    def _listed(self, kind: _Kind, returned: list[object], plugin: str) -> Iterator[object]:
        for value in returned:
            if not isinstance(value, list | tuple):
                got = type(value).__name__
                raise HarnessError(f"plug-in {plugin!r}: {kind.hook} must return a list, but returned {got}")
            yield from value

    def _validated(self, kind: _Kind, value: object, plugin: str) -> tuple[str, object]:
        label = getattr(value, "name", None) or getattr(value, "__name__", type(value).__name__)
        for fault in kind.faults(value):
            raise HarnessError(f"plug-in {plugin!r}: {kind.name} {label!r} {fault}{self._way_out(plugin)}")
        return str(label), value


def _aliases(aligners: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, aligner in aligners.items():
        for alias in aligner.aliases if isinstance(aligner, HasAliases) else ():
            if alias in aligners or alias in found:
                raise HarnessError(f"aligner {name!r} is also to be called {alias!r}, which is another aligner's name")
            found[alias] = name
    return found


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of thing that plug-ins offer: its hook, and a function that yields what is wrong with a value."""

    name: str
    hook: str
    faults: Callable[[object], Iterator[str]]


KINDS: tuple[_Kind, ...] = (
    _Kind("aligner", "harness_aligners", aligner_faults),
    _Kind("task", "harness_tasks", task_faults),
    _Kind("pool", "harness_pools", pool_faults),
    _Kind("judge", "harness_judges", judge_faults),
    _Kind("backend", "harness_backends", backend_faults),
    _Kind("model", "harness_models", model_faults),
    _Kind("executor", "harness_executors", executor_faults),
    _Kind("observer", "harness_observers", observer_faults),
)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
