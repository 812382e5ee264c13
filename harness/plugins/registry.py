"""What is installed: built-in plug-ins and third parties' from entry-point group `harness`.

`load` makes a pluggy manager, asks every plug-in for what it offers, validates it and returns a frozen `Registry`.
There is no global registry, and loading one imports neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType
from typing import Any, TypeVar, cast

from harness.contracts import (
    Aligner,
    Backend,
    Executor,
    Family,
    HarnessError,
    Judge,
    ModelSource,
    Pool,
    RunObserver,
    Task,
)
from harness.plugins.loading import KINDS, Loader
from harness.util.names import nearest
from harness.util.safe_text import cut

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
    "tasks.care_protocol",
    "tasks.pools.medqa",
    "tasks.pools.gsm8k",
    "tasks.pools.medmcqa",
    "tasks.pools.pubmedqa",
    "tasks.pools.pairs",
    "tasks.pools.own",
    "tasks.pools.medical_dialogue",
    "tasks.pools.care_protocol",
    "tasks.pools.opinions",
    "tasks.judges.similarity",
    "tasks.judges.local",
    "tasks.judges.alpaca_eval",
    "tasks.judges.constant",
    "harness.models.builtin",
    "harness.lm.backends.hf",
    "harness.lm.backends.vllm",
    "harness.study.executors",
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
    observers: Mapping[str, RunObserver]
    executors: Mapping[str, type[Executor]]
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

    def observer(self, name: str) -> RunObserver:
        """The run observer called `name`. Raises HarnessError with the nearest name."""
        return self._find("observer", self.observers, name)

    def executor(self, name: str) -> type[Executor]:
        """The executor called `name`. Raises HarnessError with the nearest name."""
        return self._find("executor", self.executors, name)

    def _member(self, kind: str, known: Mapping[str, type[V]], name: str) -> type[V]:
        head, colon, argument = name.partition(":")
        found = self._find(kind, known, head)
        if not colon:
            return found
        family: object = found
        if not isinstance(family, Family):
            raise HarnessError(f"{kind} {cut(head)} takes nothing after a colon, but {cut(name)} was asked for")
        return cast("type[V]", family.named(argument))

    def _find(self, kind: str, known: Mapping[str, V], name: str) -> V:
        if name in known:
            return known[name]
        message = f"{kind} {cut(name)} is not installed; {nearest(name, known, label='installed')}"
        if self.skipped:
            left_out = "; ".join(f"{plugin}: {reason}" for plugin, reason in self.skipped.items())
            message += f". It may belong to a plug-in that was left out ({left_out})"
        raise HarnessError(message)


def load(*, plugins: bool = True, allow: Collection[str] | None = None, extra: Sequence[object] = ()) -> Registry:
    """Ask every plug-in what it offers.

    `plugins` False leaves third parties out; `allow` limits them to these distribution or entry-point names; `extra`
    are plug-in objects given in code. A third party that is at fault in any way (it cannot be imported, exits, offers
    something invalid or under a name that is taken) is in `skipped`. Raises HarnessError for an unknown name in
    `allow`, and for the same faults of what is built in or given in code.
    """
    loader = Loader()
    version = _version(DISTRIBUTION)
    for module in BUILTIN:
        loader.add(importlib.import_module(module), module, f"{DISTRIBUTION} {version}")
    for plugin in extra:
        name = getattr(plugin, "__name__", type(plugin).__name__)
        loader.add(plugin, name, "given in code")
    if plugins:
        loader.entry_points(allow)
    return _frozen(loader, plugins, allow)


def _frozen(loader: Loader, plugins: bool, allow: Collection[str] | None) -> Registry:
    tables: dict[str, dict[str, Any]] = {f"{kind.name}s": {} for kind in KINDS}
    for offer in loader.offers.values():
        tables[f"{offer.kind}s"][offer.name] = offer.value
    provenance = {label: loader.origin[plugin] for label, plugin in loader.provider.items()}
    frozen: dict[str, Any] = {name: MappingProxyType(table) for name, table in tables.items()}
    return Registry(
        **frozen,
        provenance=MappingProxyType(provenance),
        aliases=MappingProxyType(loader.aliases),
        skipped=MappingProxyType(loader.skipped),
        plugins=plugins,
        allow=None if allow is None else frozenset(allow),
    )


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
