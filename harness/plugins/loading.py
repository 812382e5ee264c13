"""Asking plug-ins what they offer. A third party that is at fault in any way is named and left out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any, cast

import pluggy

from harness.contracts import HarnessError, HasAliases
from harness.plugins import specs as hookspecs
from harness.plugins.faults import (
    aligner_faults,
    backend_faults,
    executor_faults,
    judge_faults,
    model_faults,
    name_faults,
    observer_faults,
    pool_faults,
    task_faults,
)
from harness.util.names import nearest
from harness.util.safe_text import shorten

NOT_ALLOWED = "not in the allow-list"
"""The end of the reason where a plug-in was left out because it was not asked for."""
REASON = 320
"""Characters of a reason why a plug-in was left out."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing that plug-ins offer: its hook, and a function that yields what is wrong with a value."""

    name: str
    hook: str
    faults: Callable[[object], Iterator[str]]


KINDS: tuple[Kind, ...] = (
    Kind("aligner", "harness_aligners", aligner_faults),
    Kind("task", "harness_tasks", task_faults),
    Kind("pool", "harness_pools", pool_faults),
    Kind("judge", "harness_judges", judge_faults),
    Kind("backend", "harness_backends", backend_faults),
    Kind("model", "harness_models", model_faults),
    Kind("observer", "harness_observers", observer_faults),
    Kind("executor", "harness_executors", executor_faults),
)


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that a plug-in offers."""

    kind: str
    name: str
    value: Any

    @property
    def label(self) -> str:
        """`kind:name`."""
        return f"{self.kind}:{self.name}"

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names of an aligner."""
        return tuple(self.value.aliases) if self.kind == "aligner" and isinstance(self.value, HasAliases) else ()


class Loader:
    """The state of one load: a manager, what is offered so far and by whom, and who was left out."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.origin: dict[str, str] = {}
        self.offers: dict[str, Offer] = {}
        self.provider: dict[str, str] = {}
        """Label of an offer -> its plug-in."""
        self.aliases: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.doing = ""
        """What a plug-in is asked for, to say where it failed."""

    def add(self, plugin: object, name: str, origin: str) -> None:
        """Take all that a plug-in offers. Raises HarnessError for whatever is wrong with it, and then takes nothing."""
        self.register(plugin, name, origin)
        self.origin[name] = origin
        try:
            offers = [offer for kind in KINDS for offer in self._of_kind(kind, name)]
            self._check(offers, name)
        except BaseException:
            self.manager.unregister(plugin)
            del self.origin[name]
            raise
        for offer in offers:
            self.offers[offer.label] = offer
            self.provider[offer.label] = name
            self.aliases.update(dict.fromkeys(offer.aliases, offer.name))

    def register(self, plugin: object, name: str, origin: str) -> None:
        """Add a plug-in's hooks. Raises HarnessError for a wrong signature, a misspelt hook or no hook at all."""
        try:
            self.manager.register(plugin, name)
        except pluggy.PluginValidationError as error:
            self._forget(plugin)
            raise HarnessError(f"plug-in {name!r} ({origin}): {' '.join(str(error).split())}") from error
        except ValueError as error:
            raise HarnessError(f"plug-in {name!r} ({origin}) is registered twice") from error
        fault = self._misspelt(plugin) or self._unhooked(plugin)
        if fault is not None:
            self._forget(plugin)
            raise HarnessError(f"plug-in {name!r} ({origin}) {fault}")

    def _forget(self, plugin: object) -> None:
        if self.manager.is_registered(plugin):
            self.manager.unregister(plugin)

    def _misspelt(self, plugin: object) -> str | None:
        known = [kind.hook for kind in KINDS]
        unknown = [c.name for c in self.manager.get_hookcallers(plugin) or () if c.name not in known]
        if not unknown:
            return None
        return f"has the unknown hook {unknown[0]!r}; {nearest(unknown[0], known, label='installed')}"

    def _unhooked(self, plugin: object) -> str | None:
        if self.manager.get_hookcallers(plugin):
            return None
        return "implements no hook; mark its functions with harness.hookspecs.hookimpl"

    # ------------------------------------------------------------ what one plug-in offers

    def _of_kind(self, kind: Kind, plugin: str) -> Iterator[Offer]:
        for returned in self._call(kind, plugin):
            if not isinstance(returned, list | tuple):
                got = type(returned).__name__
                raise HarnessError(f"plug-in {plugin!r}: {kind.hook} must return a list, but returned {got}")
            for value in returned:
                yield self._validated(kind, value, plugin)

    def _call(self, kind: Kind, plugin: str) -> list[object]:
        self.doing = f"failed in {kind.hook}"
        others = [other for name, other in self.manager.list_name_plugin() if name != plugin and other is not None]
        return cast("list[object]", self.manager.subset_hook_caller(kind.hook, others)())

    def _validated(self, kind: Kind, value: object, plugin: str) -> Offer:
        label = getattr(value, "name", None) or getattr(value, "__name__", type(value).__name__)
        for fault in (*kind.faults(value), *name_faults(value)):
            raise HarnessError(f"plug-in {plugin!r}: {kind.name} {shorten(repr(label), 60)} {fault}")
        return Offer(kind.name, str(label), value)

    def _check(self, offers: Sequence[Offer], plugin: str) -> None:
        """Raises HarnessError where a name is taken: by another plug-in, by this one, or as an alias."""
        seen: dict[str, str] = {}
        aliases = dict(self.aliases)
        for offer in offers:
            taken_by = seen.get(offer.label) or self.provider.get(offer.label)
            if taken_by is not None:
                both = " and by ".join(f"{who} ({self.origin[who]})" for who in (taken_by, plugin))
                raise HarnessError(f"{offer.kind} {offer.name!r} is offered twice: by {both}")
            seen[offer.label] = plugin
            for alias in offer.aliases:
                if alias in aliases or f"aligner:{alias}" in (self.provider | seen):
                    raise HarnessError(
                        f"aligner {offer.name!r} is also to be called {alias!r}, which is another aligner's name"
                    )
                aliases[alias] = offer.name
        for offer in offers:
            if offer.kind == "aligner" and offer.name in aliases:
                raise HarnessError(
                    f"aligner {offer.name!r} has the name by which {aliases[offer.name]!r} is also called"
                )

    # ------------------------------------------------------------ third parties

    def entry_points(self, allow: Collection[str] | None) -> None:
        """Import third parties; those that are at fault or not allowed are noted in `skipped`."""
        found = sorted(metadata.entry_points(group=hookspecs.PROJECT), key=lambda point: (point.name, point.value))
        owners = [(point.dist.name if point.dist else None) or "unknown" for point in found]
        names = {point.name for point in found} | set(owners)
        for wanted in sorted(set(allow or ()) - names):
            raise HarnessError(
                f"plug-in {wanted!r} in the allow-list is not installed; {nearest(wanted, names, label='installed')}"
            )
        for point, owner in zip(found, owners, strict=True):
            origin = f"{owner} {point.dist.version if point.dist else 'unknown'}"
            if allow is not None and not {point.name, owner} & set(allow):
                self.skip(point.name, f"{origin} {NOT_ALLOWED}")
            else:
                self._third_party(point, owner, origin)

    def _third_party(self, point: metadata.EntryPoint, owner: str, origin: str) -> None:
        self.doing = "failed to import"
        with _interrupts_told_apart() as interrupted:
            try:
                self.add(point.load(), f"{owner}:{point.name}", origin)
            except HarnessError as error:
                self.skip(point.name, f"{origin} is at fault: {error}")
            except BaseException as error:  # whatever a stranger's code raises must not take the harness down
                if interrupted.is_set():
                    raise
                self.skip(point.name, f"{origin} {self.doing}: {_in_words(error)}")

    def skip(self, plugin: str, reason: str) -> None:
        """Note a plug-in that is left out."""
        before = f"{self.skipped[plugin]}; " if plugin in self.skipped else ""
        self.skipped[plugin] = f"{before}{shorten(reason, REASON)}"


def _in_words(error: BaseException) -> str:
    """An error's kind and message; a stranger's may have none that can be had."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return f"{type(error).__name__} (its message cannot be had)"


@contextmanager
def _interrupts_told_apart() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets: a KeyboardInterrupt without it was raised by the code itself."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def press(number: int, frame: Any) -> None:
        pressed.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)
