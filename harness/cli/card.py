"""A model card of a run: what was trained on what, its row with the interval, and how it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import yaml

from harness import __version__
from harness.cli.find import Found
from harness.contracts import BASE, HarnessError
from harness.records.schema import Record
from harness.util.safe_text import code, markdown

if TYPE_CHECKING:
    from harness.stats import Estimate
    from leaderboards.table import MethodRow, Table, Versus

USE = """```python
from peft import AutoPeftModelForCausalLM

model = AutoPeftModelForCausalLM.from_pretrained("FOLDER")
```"""


def card(found: Found) -> str:
    """The card as Markdown, with the header that model hubs read."""
    record = found.record
    if record.outputs is not None:
        raise HarnessError(
            f"run {record.id} scored outputs of another model from a file, of which no card can be written; name a "
            "run of an aligner"
        )
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
    """The row of the run, of all folds where it holds out one: each metric with its interval, base's, the difference.

    The control on shuffled labels has a line below where the table asks for it, and so has what is doubtful.
    """
    table = _table(found)
    row = next(row for row in table.rows if found.record.id in row.records)
    base = next((one for one in table.rows if one.role == BASE), None)
    fold = found.record.data.fold
    if fold is not None:
        yield (
            f"The pairs were divided into {fold.of} folds, and this is the fit that held out fold {fold.index + 1}. "
            f"The figures are those of all {fold.of} fits together: each was evaluated on the pairs that it held out."
        )
        yield ""
    yield f"| {markdown(found.record.task.name)} | {_whose(fold)} | base model | difference | p |"
    yield "|---|---|---|---|---|"
    for name, metric in row.metrics.items():
        before = base.metrics.get(name) if base is not None and base is not row else None
        cells = (_figure(metric.score), _figure(before.score) if before else "-", *_difference(metric.versus_base))
        yield f"| {markdown(name)} | {' | '.join(cells)} |"
    yield from _beside(row)


def _whose(fold: object) -> str:
    return "this model" if fold is None else "mean of the folds' models"


def _beside(row: MethodRow) -> Iterator[str]:
    """What the row says beyond its figures."""
    if row.versus_control is not None:
        difference, p = _difference(row.versus_control)
        yield ""
        yield f"Less the same method on shuffled labels: {difference} (p {p})."
    if row.verdict is not None:
        yield ""
        yield f"Verdict, of this method alone: {row.verdict}."
    for remark in row.remarks:
        yield ""
        yield f"Remark: {markdown(remark)}."


def _table(found: Found) -> Table:
    """The table of the run's method alone: its folds of the same draw and seed, their controls, and base."""
    from leaderboards import rank
    from leaderboards.load import records, with_samples

    own = found.record
    everything, _ = records(found.store.root)
    chosen = {folder: record for folder, record in everything.items() if _belongs(record, own)}
    tables = rank(with_samples(chosen))
    return next(table for table in tables if any(own.id in row.records for row in table.rows))


def _belongs(record: Record, own: Record) -> bool:
    """Whether a record is the run itself, another fold of it, a control of those, or what they are compared with."""
    from leaderboards.folds import place
    from leaderboards.settings import changed, setting

    def method(one: Record) -> tuple[object, ...]:
        settings = {name: value for name, value in changed(one).items() if name != "labels"}
        return one.aligner.name, one.aligner.version, settings, place(one)[:2], setting(one, ()).key()

    if record.id == own.id or own.aligner.name == BASE:
        return record.id == own.id
    if record.aligner.name == BASE:
        return record.task.name == own.task.name
    again = changed(record) == changed(own) and place(record) == place(own)  # the same cell under other code
    return method(record) == method(own) and not again


def _figure(score: Estimate) -> str:
    interval = f" [{score.ci95[0]:.3f}, {score.ci95[1]:.3f}]" if score.ci95 else ""
    return f"{score.mean:.3f}{interval} (n {score.n})"


def _difference(versus: Versus | None) -> tuple[str, str]:
    """A difference with its interval, and its p, not adjusted."""
    if versus is None:
        return "-", "-"
    interval = f" [{versus.ci95[0]:+.3f}, {versus.ci95[1]:+.3f}]" if versus.ci95 else ""
    return f"{versus.difference:+.3f}{interval}", "-" if versus.p is None else f"{versus.p:.3g}"


def _limits(record: Record) -> Iterator[str]:
    """What the figures are, and what they are not."""
    folds = "held-out items, which count half, for the fits share data"
    units = "independent items" if record.data.fold is None else folds
    yield (
        f"Main metric: {code(record.task.main_metric)}. Intervals are 95 % over {units}; p compares with the base "
        "model on the same items. One training seed says nothing of other seeds, and one draw of labels nothing of "
        "other draws."
    )
