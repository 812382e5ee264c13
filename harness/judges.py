"""Opening registered judges: with the models they load, a cache below the store, and progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.aligned import load_base
from harness.contracts import Judge, JudgeTools, LanguageModel, TakesTools
from harness.registry import Registry
from harness.store import Store


@dataclass
class Judges:
    """Judges by name, each opened once. `model` is what a judge gets that asks for the study's own."""

    registry: Registry
    store: Store
    model: str
    device: str
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    loaded: Callable[[Any], None] = lambda model: None
    """Told of every language model that a judge loads, before it computes anything."""
    _open: dict[str, Judge] = field(default_factory=dict)
    _models: dict[str, LanguageModel] = field(default_factory=dict)

    def get(self, name: str) -> Judge:
        """The judge called `name` with its tools. Raises HarnessError with the nearest name."""
        if name not in self._open:
            judge = self.registry.judge(name)()
            tools = JudgeTools(self._load, self.store.judge_dir(name), self.progress)
            self._open[name] = judge.with_tools(tools) if isinstance(judge, TakesTools) else judge
        return self._open[name]

    def _load(self, name: str) -> LanguageModel:
        wanted = name or self.model
        if wanted not in self._models:
            model = load_base(wanted, self.device, self.registry.models)
            self.loaded(model.backend.model)
            self._models[wanted] = model
        return self._models[wanted]
