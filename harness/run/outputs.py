"""Cells whose answers come from a file: another model's outputs, judged beside what was trained here.

Nothing is fitted and no model is asked. What such a model cost is not known, and its record claims nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import (
    Aligned,
    Aligner,
    Bench,
    Capability,
    Completion,
    EngineCapability,
    FewShot,
    GenerateRequest,
    HarnessError,
    Need,
    Source,
    TakesOutputs,
    Task,
)
from harness.data.outputs import Outputs, Turns, answers_to, read_outputs, turns_of

if TYPE_CHECKING:
    from harness.config import RunConfig
    from harness.models.wheels import ModelFiles
    from harness.plugins.registry import Registry

OUTPUTS = "outputs"
"""What a row of such answers is called, in place of a method."""
SHORT = 12
"""Characters of the file's hash that name a row."""


class OutputsConfig(BaseModel):
    """Whose answers they are: what tells the row from others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    generator: str = Field("", description="the model's name, as the file says")
    file: str = Field("", description="the beginning of the file's sha256")


class FromFile:
    """Stands where a cell has its method. It is no method: it is not registered, and cannot be fitted."""

    name: ClassVar[str] = OUTPUTS
    paper: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    requires: ClassVar[frozenset[Need]] = frozenset()
    accepts: ClassVar[frozenset[Need]] = frozenset()
    asks: ClassVar[frozenset[EngineCapability]] = frozenset()
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"generate"})
    Config: ClassVar[type[BaseModel]] = OutputsConfig

    def __init__(self, config: OutputsConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Raises HarnessError."""
        raise HarnessError("outputs from a file cannot be fitted: there is no model")


def aligner_of(config: RunConfig, registry: Registry) -> type[Aligner]:
    """The method of a cell, or what stands for it. Raises HarnessError for an unknown one."""
    return FromFile if config.outputs is not None else registry.aligner(config.aligner)


def named_in(path: Path) -> dict[str, str]:
    """The settings that name the row of a file. Raises HarnessError as `read_outputs` does."""
    found = read_outputs(path)
    return {"generator": found.generator, "file": found.sha256[:SHORT]}


def refuse_outputs(config: RunConfig, task: Task) -> None:
    """Raise HarnessError where outputs from a file cannot stand in for what the task asks."""
    if config.outputs is None:
        return
    if not isinstance(task, TakesOutputs):
        raise HarnessError(
            f"task {config.task!r} cannot be scored from a file of outputs; alpaca_eval and medical_dialogue can"
        )
    if config.num_fewshot:
        raise HarnessError("--outputs are answers to the bare prompts; leave out --num-fewshot")


def stand_in(config: RunConfig, task: Task, source: Source, files: ModelFiles) -> StandIn | None:
    """What answers in place of a model; None for a cell that has one.

    Raises HarnessError for a file that lacks outputs, or that was changed since the cell's settings were made.
    """
    if config.outputs is None or not isinstance(task, TakesOutputs):
        return None
    outputs = read_outputs(config.outputs)
    if config.aligner_config != {"generator": outputs.generator, "file": outputs.sha256[:SHORT]}:
        raise HarnessError(
            f"the content of file {config.outputs.name} is not the one that these settings were made for; name the "
            "file again by --outputs"
        )
    prompts = list(task.prompts(source, config.limit).values())
    whose = f"outputs {config.outputs.name} for {config.task}"
    return StandIn(outputs, answers_to(outputs, prompts, whose), files)


class StandIn:
    """An Aligned that can only write, and writes what the file says."""

    def __init__(self, outputs: Outputs, answers: Mapping[Turns, str], files: ModelFiles) -> None:
        self.outputs, self._answers, self._files = outputs, answers, files

    @cached_property
    def tokenizer(self) -> Any:
        """That of the study's model: outputs have as many tokens as it would need for them."""
        from harness.models.load import load_tokenizer

        return load_tokenizer(self._files)

    @property
    def max_length(self) -> int:
        """No limit is known."""
        return 2**31 - 1

    def save(self, folder: Path) -> NoReturn:
        """Raises HarnessError: there is no model."""
        raise HarnessError("outputs from a file cannot be saved as a model: there is no model")

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        """One completion a request: the file's. Raises HarnessError for a prompt that was not announced."""
        return [[self._completion(request)] for request in requests]

    def _completion(self, request: GenerateRequest) -> Completion:
        text = None if isinstance(request.context, str) else self._answers.get(turns_of(request.context))
        if text is None:
            raise HarnessError(
                "the task asked a prompt that it did not list beforehand, so the file of outputs has no answer to it"
            )
        return Completion(text, tuple(self.tokenizer.encode(text, add_special_tokens=False)), "stop")
