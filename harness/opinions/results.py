"""Results that answer on behalf of a group, and their files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.contracts import (
    ChooseRequest,
    HarnessError,
    LanguageModel,
)
from harness.opinions.questions import LEAST

if TYPE_CHECKING:
    from harness.opinions.questions import Floats


def log_distribution(p: Sequence[float] | Floats) -> list[float]:
    """Natural logarithm of probabilities after clipping at 1e-6 and normalising. Raises HarnessError for a NaN."""
    import numpy as np

    values = np.asarray(p, dtype=np.float64)
    if not np.isfinite(values).all():
        raise HarnessError(f"a finite preference per option was expected, got {values.tolist()}")
    values = np.maximum(values, LEAST)
    return [float(v) for v in np.log(values / values.sum())]


class Predictor(Protocol):
    """Predicts opinions; can be written to JSON and arrays."""

    def predict(self, requests: Sequence[ChooseRequest]) -> Sequence[Sequence[float]]:
        """Probabilities over each request's options."""
        ...

    def settings(self) -> dict[str, Any]:
        """What `load` needs, as JSON values."""
        ...

    def arrays(self) -> dict[str, Any]:
        """What `load` needs, as numpy arrays."""
        ...


@dataclass(frozen=True)
class GroupAligned:
    """A result that answers closed questions on behalf of a group and can do nothing else (`contracts.Chooses`)."""

    model: LanguageModel
    """The language model that the result was made with."""
    name: str
    predictor: Predictor

    @property
    def tokenizer(self) -> Any:
        """The language model's tokenizer."""
        return self.model.tokenizer

    @property
    def max_length(self) -> int:
        """The language model's, in tokens."""
        return self.model.max_length

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """Log-probabilities over each request's options, normalised."""
        predicted = self.predictor.predict(requests)
        return [log_distribution(found) for _, found in zip(requests, predicted, strict=True)]

    def save(self, folder: Path) -> None:
        """Write the language model's part, and the predictor as JSON and safetensors."""
        self.model.save(folder)
        write(folder, self.name, self.predictor.settings(), self.predictor.arrays())


def write(folder: Path, name: str, settings: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Write `<name>.json` and, where there are arrays, `<name>.safetensors`."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if arrays:
        save_file(dict(arrays), str(folder / f"{name}.safetensors"))
    content = json.dumps(dict(settings), ensure_ascii=False, indent=1, sort_keys=True)
    (folder / f"{name}.json").write_text(content + "\n", encoding="utf-8")


def read(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """(settings, arrays) that `write` wrote; None where a fit was stopped before it had anything to write."""
    from safetensors.numpy import load_file

    if not (folder / f"{name}.json").exists():
        return None
    arrays = folder / f"{name}.safetensors"
    settings = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return settings, load_file(str(arrays)) if arrays.exists() else {}
