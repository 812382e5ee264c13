"""Questions and options as vectors of the base model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from harness.opinions.questions import Question

if TYPE_CHECKING:
    from harness.opinions.questions import Singles


Centre = Literal["none", "question", "both"]


Pooling = Literal["all", "answer"]


@dataclass
class Embedder:
    """Embeds questions, each once. `embed` is `Bench.embed` or `LanguageModel.embed` under the base weights."""

    embed: Callable[..., Any]
    layer: int = -1
    pool: Pooling = "all"
    off: Callable[[], AbstractContextManager[None]] | None = None
    """Enters the base model's weights; None where `embed` reads them anyway."""
    known: dict[str, Singles] = field(default_factory=dict)

    def __call__(self, question: Question) -> Singles:
        """(options, D), from memory where the same content was asked before."""
        self.prepare([question])
        return self.known[question.key]

    def prepare(self, questions: Iterable[Question]) -> None:
        """Embed what is not in memory yet; the base weights are entered once for all, which costs time."""
        missing = {one.key: one for one in questions if one.key not in self.known}
        if missing:
            with nullcontext() if self.off is None else self.off():
                self.known |= {key: self._embed(one) for key, one in missing.items()}

    def _embed(self, question: Question) -> Singles:
        import numpy as np

        spans = question.spans if self.pool == "answer" else None
        return np.asarray(self.embed(question.texts, layer=self.layer, spans=spans), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Features:
    """From raw embeddings to a method's inputs: centred by question, standardised by figures of the training texts.

    The options of one question share its prompt, which dominates a mean over tokens: centring leaves what tells them
    apart. `both` gives the embedding and the centred one side by side; `mean` and `scale` are then of shape (2D,), else
    (D,).
    """

    centre: Centre
    mean: Singles
    scale: Singles

    @classmethod
    def of(cls, raw: Sequence[Singles], centre: Centre, *, standardise: bool) -> Features:
        """Fit on the raw embeddings of every training question, each (options, D)."""
        import numpy as np

        rows = np.concatenate([_centred(one, centre) for one in raw])
        if not standardise:
            return cls(centre, np.zeros(rows.shape[1], np.float32), np.ones(rows.shape[1], np.float32))
        spread = rows.std(0)
        scale = np.where(spread > 1e-6, spread, 1.0).astype(np.float32)
        return cls(centre, rows.mean(0, dtype=np.float64).astype(np.float32), scale)

    def __call__(self, raw: Singles) -> Singles:
        """(options, D) -> (options, D) or (options, 2D)."""
        return (_centred(raw, self.centre) - self.mean) / self.scale


def _centred(raw: Singles, centre: Centre) -> Singles:
    import numpy as np

    if centre == "none":
        return raw
    inner = raw - raw.mean(0, keepdims=True)
    return inner if centre == "question" else np.concatenate([raw, inner], axis=1)
