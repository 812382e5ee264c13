"""A model card of a run: what was trained on what, its row with the interval, and how it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import yaml

from harness import __version__
from harness.cli.find import Found
from harness.contracts import BASE, HarnessError
from harness.records.schema import Record, Score
from harness.util.safe_text import code, markdown

if TYPE_CHECKING:
    from harness.stats import Paired

USE = """```python
from peft import AutoPeftModelForCausalLM

model = AutoPeftModelForCausalLM.from_pretrained("FOLDER")
```"""


def card(found: Found) -> str:
    """The card as Markdown, with the header that model hubs read."""
    record = found.record
    header = yaml.safe_dump(
        {
            "base_model": record.model.name,
            "library_name": "peft",
            "tags": ["align-harness", record.aligner.name],
        },
        sort_keys=False,
    )
    return "\n".join([f"---\n{header}---", "", *_body(found)]) + "\n"


def _body(found: Found) -> Iterator[str]:
    record = found.record
    name = markdown(f"{record.aligner.name} on {record.model.name}, {record.budget.labels} labels")
    yield f"# {name}"
    yield ""
    yield (
        f"An adapter for {code(record.model.name)}, trained with {code(record.aligner.name)} "
        f"(version {code(record.aligner.version)}{_paper(record)}) on {record.spent.labels} labels of pool "
        f"{code(record.data.pool)} ({markdown(record.data.source)}), training seed {record.seed.training}, draw "
        f"{record.seed.draw}. Made by align-harness {__version__}; run {code(record.id)}."
    )
    if record.data.shuffled_labels:
        yield ""
        yield "This is a control: half of its labels were swapped. It is no model to use."
    if record.status != "ok":
        yield ""
        yield f"The run ended as {record.status}: {markdown(record.reason or '-')}. It is no result of its method."
    yield from [
        "",
        "## Evaluation",
        "",
        *_scores(found),
        "",
        *_limits(record),
        "",
        "## Use",
        "",
        USE,
        "",
        "## Cost",
        "",
    ]
    spent = record.spent
    yield (
        f"{spent.flops:.2e} FLOPs and {spent.seconds.fit:.0f} s of training on {code(record.manifest.device)}, "
        f"{spent.optimizer_steps} optimizer steps, {spent.peak_memory_bytes / 2**30:.1f} GiB of memory at the peak."
    )


def _paper(record: Record) -> str:
    return f", arXiv {code(record.aligner.paper)}" if record.aligner.paper else ""


def _scores(found: Found) -> Iterator[str]:
    """The run's row: every metric with its interval, the base model's beside it, and the paired difference."""
    record = found.record
    base = _base(found)
    yield f"| {markdown(record.task.name)} | this model | base model | difference | p |"
    yield "|---|---|---|---|---|"
    names = sorted(record.scores, key=lambda name: (name != record.task.main_metric, name))
    for name in names:
        versus = _compared(found, base, name)
        before = base.scores.get(name) if base is not None else None
        interval = f" [{versus.ci95[0]:+.3f}, {versus.ci95[1]:+.3f}]" if versus is not None and versus.ci95 else ""
        difference = "-" if versus is None else f"{versus.difference:+.3f}{interval}"
        p = "-" if versus is None else f"{versus.p:.3g}"
        figure = _figure(record.scores[name])
        yield f"| {markdown(name)} | {figure} | {_figure(before) if before else '-'} | {difference} | {p} |"


def _figure(score: Score) -> str:
    interval = f" [{score.ci95[0]:.3f}, {score.ci95[1]:.3f}]" if score.ci95 else ""
    return f"{score.mean:.3f}{interval} (n {score.n})"


def _base(found: Found) -> Record | None:
    against = found.record.manifest.compared.get(BASE)
    return None if against is None else found.store.record(against["run"])


def _compared(found: Found, base: Record | None, metric: str) -> Paired | None:
    """The run against base on this metric; None without base, and for a metric that is no mean over the same items."""
    from harness.stats import paired_test

    if base is None or found.record.scores[metric].whole:
        return None
    rows, before = found.store.samples(found.record), found.store.samples(base)
    values, base_values = ({r.id: r.values[metric] for r in each if metric in r.values} for each in (rows, before))
    try:
        return paired_test(values, base_values, {row.id: row.unit for row in rows})
    except HarnessError:
        return None


def _limits(record: Record) -> Iterator[str]:
    """What the figures are, and what they are not."""
    yield (
        f"Main metric: {code(record.task.main_metric)}. Intervals are 95 % over independent items; p compares with the "
        "base model on the same items. One training seed says nothing of other seeds, and one draw of labels nothing "
        "of other draws."
    )
