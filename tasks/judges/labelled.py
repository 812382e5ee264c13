"""Pairs of answers that somebody labelled, in the layouts of LLMBar, MT-Bench and Auto-J, and the sample that ships.

LLMBar: Zeng et al. 2023, arXiv:2310.07641 (MIT; its repository also holds the processed MT-Bench pairs). MT-Bench:
Zheng et al. 2023, arXiv:2306.05685. Auto-J: Li et al. 2023, arXiv:2310.05470 (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.contracts import Dataset, HarnessError, JudgeItem, Source, user
from harness.judging.measure import LabelledPair
from harness.util.hashes import content_hash
from harness.util.names import nearest

DATASET = Dataset(folder="judge_pairs", hub="", splits={})
SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of a row's fields, and what each label means as P(first answer better)."""

    prompt: str
    a: str
    b: str
    labels: Mapping[int, float]


LLMBAR = Layout("input", "output_1", "output_2", {1: 1.0, 2: 0.0})
AUTOJ = Layout("prompt", "response 1", "response 2", {0: 1.0, 1: 0.0, 2: 0.5})


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """A file below `judge_pairs`, its layout, and who labelled it."""

    split: str
    layout: Layout
    labelled_by: str


SETS: Mapping[str, LabelledSet] = {
    SAMPLE: LabelledSet("sample", LLMBAR, "a language model, which wrote the pairs; no person"),
    "llmbar": LabelledSet("LLMBar_Natural", LLMBAR, "people (authors of LLMBar)"),
    "llmbar_adversarial": LabelledSet("LLMBar_Adversarial_Neighbor", LLMBAR, "people (authors of LLMBar)"),
    "mtbench": LabelledSet("Processed_MT-Bench", LLMBAR, "people (MT-Bench's experts, as processed by LLMBar)"),
    "autoj": LabelledSet("autoj", AUTOJ, "people (authors of Auto-J)"),
}


def labelled_set(name: str) -> LabelledSet:
    """The set called `name`. Raises HarnessError with the nearest name."""
    if name not in SETS:
        raise HarnessError(f"there are no labelled pairs called {name!r}; {nearest(name, SETS)}")
    return SETS[name]


def read(source: Source, name: str, limit: int | None = None) -> tuple[LabelledPair, ...]:
    """The first `limit` pairs of a set, in order. Raises HarnessError naming a row that is malformed."""
    chosen = labelled_set(name)
    rows = source.rows(DATASET, chosen.split)[:limit]
    return tuple(_pair(str(row.get("id", f"{name}-{i:04}")), row, chosen.layout) for i, row in enumerate(rows))


def _pair(identity: str, row: Mapping[str, Any], layout: Layout) -> LabelledPair:
    texts = [row.get(name) for name in (layout.prompt, layout.a, layout.b)]
    better = layout.labels.get(row["label"]) if isinstance(row.get("label"), int) else None
    if not all(isinstance(text, str) for text in texts) or better is None:
        labels = ", ".join(map(str, layout.labels))
        raise HarnessError(
            f"labelled pair {identity} is malformed: expected texts {layout.prompt!r}, {layout.a!r}, {layout.b!r} and "
            f"a label among {labels}"
        )
    prompt, a, b = map(str, texts)
    reference = row.get("reference")
    item = JudgeItem(identity, user(prompt), a, b, str(reference) if reference else None)
    return LabelledPair(item, better, content_hash(prompt)[:16])
