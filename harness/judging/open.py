"""Opening registered judges: with the models they load, a cache, and progress."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contracts import Engine, HarnessError, Judge, JudgeTools, LanguageModel, TakesTools
from harness.lm.language_model import load_base, open_base
from harness.plugins.registry import Registry

if TYPE_CHECKING:
    from harness.models.wheels import ModelFiles


@dataclass
class Judges:
    """Judges by name, each opened once. `model` is what a judge gets that asks for the study's own.

    `files` are the models that judges may load, by the names they ask by ("" is the study's own), as they were hashed
    into the cell's id; None lets them load any.
    """

    registry: Registry
    caches: Path
    """Folder of the judges' caches, each of which may be deleted at any time."""
    model: str
    device: str
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    loaded: Callable[[Engine], None] = lambda engine: None
    """Told of every engine that a judge opens, before it computes anything."""
    files: Mapping[str, ModelFiles] | None = None
    basis: Callable[[str], str | None] = lambda name: None
    """Of the models, by the names that judges ask by; see `contracts.JudgeTools`."""
    used_own: bool = field(default=False, init=False)
    """Whether a judge asked for the study's own model."""
    _open: dict[str, Judge] = field(default_factory=dict)
    _models: dict[str, LanguageModel] = field(default_factory=dict)

    def get(self, name: str) -> Judge:
        """The judge called `name` with its tools. Raises HarnessError with the nearest name."""
        if name not in self._open:
            self._open[name] = self.open(name, self.caches / re.sub(r"[^A-Za-z0-9._-]", "_", name))
        return self._open[name]

    def open(self, name: str, cache: Path) -> Judge:
        """A new one, with a cache of its own; models are shared."""
        judge = self.registry.judge(name)()
        if not isinstance(judge, TakesTools):
            return judge
        return judge.with_tools(JudgeTools(self._load, cache, self.progress, self.basis))

    def _load(self, name: str) -> LanguageModel:
        self.used_own |= not name
        wanted = name or self.model
        if wanted not in self._models:
            if self.files is None:
                model = load_base(wanted, self.device, self.registry.models)
            elif name in self.files:
                model = open_base(self.files[name], self.device)
            else:
                raise HarnessError(f"a judge loads model {name!r}, which its basis() does not name among its models")
            self.loaded(model.engine)
            self._models[wanted] = model
        return self._models[wanted]
