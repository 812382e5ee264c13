"""`samples`, `compare`, `labels`: the texts of runs, to be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from harness.cli import options as shared
from harness.cli.find import Found, find
from harness.cli.output import emit_json, say, stdout
from harness.cli.page import Section, double, figures, single, write_page
from harness.cli.two_runs import as_figures, difference, in_words, is_falling, label, names_of, other_differences
from harness.contracts import HarnessError
from harness.records.shown import Compared, Part, Shown, compared, marked, shown
from harness.records.written import written_answers
from harness.util.safe_text import block, line

RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its beginning, or its folder.")]
Html = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write one HTML page instead, without scripts.", show_default=False)
]
Wins = Annotated[bool, typer.Option("--wins", help="Only items on which the run (the first of two) is better.")]
Losses = Annotated[bool, typer.Option("--losses", help="Only items on which the run (the first of two) is worse.")]
LIMIT = 20


def samples(
    *,
    run: RunId,
    store: shared.Stores = None,
    wins: Wins = False,
    losses: Losses = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Show the first N.")] = LIMIT,
    html: Html = None,
    as_json: shared.Json = False,
) -> None:
    """Show a run's items: prompt, answer, reference, figures. Wins and losses are in comparison with base."""
    found = find(run, store)
    items = shown_rows(found)
    if wins or losses:
        kept = {c.first.id for c in _chosen(_with_base(found, items), wins, losses, disagreements=False)}
        items = [item for item in items if item.id in kept]
    items, total = items[:limit], len(items)
    name = label(found.record)
    if as_json:
        emit_json([asdict(item) for item in items])
    elif html is not None:
        about = [f"{len(items)} of {total} items of run {found.record.id}.", PRIVACY]
        write_page(html, name, about, [Section("Items", [single(item, name) for item in items])])
        say(str(html))
    else:
        say(line(f"run {found.record.id}, {name}: {len(items)} of {total} items"))
        for item in items:
            say("\n" + "\n".join(_in_words(item)))


def compare(
    *,
    first: Annotated[str, typer.Argument(metavar="RUN", help="The run whose wins and losses are meant.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="The run that it is compared with.")],
    store: shared.Stores = None,
    metric: Annotated[
        str | None, typer.Option(help="The metric that decides which run is better (default: the task's main metric).")
    ] = None,
    wins: Wins = False,
    losses: Losses = False,
    disagreements: Annotated[
        bool, typer.Option("--disagreements", help="Only items with different answers or figures.")
    ] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Show the first N.")] = LIMIT,
    html: Html = None,
    as_json: shared.Json = False,
) -> None:
    """Say which of two runs is better and whether that is more than chance, and show their answers side by side."""
    found = (find(first, store), find(second, store))
    by, everything = _both(found[0], found[1], metric)
    chosen = _chosen(everything, wins, losses, disagreements=disagreements)
    records = (found[0].record, found[1].record)
    names, told = names_of(*records), difference(*found, by)
    about = [*in_words(told, names), _counts(everything)]
    about += [] if (apart := other_differences(*records)) is None else [apart]
    about.append(f"{min(limit, len(chosen))} of {len(chosen)} chosen items.")
    chosen = chosen[:limit]
    if as_json:
        runs = [record.id for record in records]
        figures_of_both = {"runs": runs, "names": names, "metric": by, **as_figures(told)}
        emit_json({**figures_of_both, "items": [asdict(item) for item in chosen]})
    elif html is not None:
        write_page(html, " against ".join(names), [*about, PRIVACY], list(_sections(chosen, names)))
        say(str(html))
    else:
        say("\n".join(map(line, about)))
        for both in chosen:
            _side_by_side(both, names)


PRIVACY = "The texts on this page are those of your data and of the models; whoever has the file can read them."


def shown_rows(found: Found) -> list[Shown]:
    """Every item of a run in words. Raises HarnessError where samples are not what was written."""
    written = written_answers(found.store, found.record.id)
    return [shown(row, written) for row in found.store.samples(found.record)]


def _both(first: Found, second: Found, metric: str | None) -> tuple[str, list[Compared]]:
    """A metric, and the items that have it in both runs. Raises HarnessError where there are none."""
    a, b = first.record, second.record
    rows = (shown_rows(first), shown_rows(second))
    by = metric or _shared(rows, a.task.main_metric)
    items = compared(*rows, by, falling=is_falling(by, a, b))
    if not items:
        raise HarnessError(
            f"runs {a.id} ({a.task.name}) and {b.id} ({b.task.name}) share no item that has {by!r}; "
            "compare two runs of one task"
        )
    return by, items


def _shared(rows: tuple[Sequence[Shown], Sequence[Shown]], main: str) -> str:
    """The main metric where both runs have it (base has no ratio to base), else the first by name that both have."""
    first, second = ({name for item in each for name in item.values} for each in rows)
    both = sorted(first & second)
    return main if main in both or not both else both[0]


def _with_base(found: Found, items: Sequence[Shown]) -> list[Compared]:
    """A run beside the base run that it was held against. Raises HarnessError where there is none."""
    against = found.record.manifest.compared.get("base")
    base = None if against is None else found.store.record(against["run"])
    if base is None:
        raise HarnessError(
            f"run {found.record.id} has no base run here to compare with; name two runs: compare RUN RUN"
        )
    before = shown_rows(Found(base, found.store))
    by = _shared((items, before), found.record.task.main_metric)
    return compared(items, before, by, falling=is_falling(by, found.record))


def _chosen(items: Sequence[Compared], wins: bool, losses: bool, *, disagreements: bool) -> list[Compared]:
    """The items that the filters keep; several filters keep what any of them does, none keeps all."""
    if not (wins or losses or disagreements):
        return list(items)
    outcomes = {name for name, asked in (("win", wins), ("loss", losses)) if asked}
    return [item for item in items if item.outcome in outcomes or (disagreements and item.answers_differ)]


def _counts(items: Sequence[Compared]) -> str:
    count = {name: sum(item.outcome == name for item in items) for name in ("win", "loss", "same")}
    return (
        f"Of {len(items)} items that both have, A is better on {count['win']}, B is better on {count['loss']}, and "
        f"{count['same']} are equal."
    )


def _sections(items: Sequence[Compared], names: tuple[str, str]) -> Iterator[Section]:
    titles = {"win": f"{names[0]} is better", "loss": f"{names[1]} is better", "same": "Equal figures"}
    for outcome, title in titles.items():
        entries = [double(item, names) for item in items if item.outcome == outcome]
        if entries:
            yield Section(title, entries)


# ---------------------------------------------------------------- the terminal


def _in_words(item: Shown) -> Iterator[str]:
    yield f"--- {line(item.id)}: {figures(item)}"
    yield f"prompt: {item.prompt}"
    if item.answer is not None:
        yield f"answer: {item.answer}"
    for name, text in item.beside.items():
        yield f"{name}: {text}"


def _side_by_side(both: Compared, names: tuple[str, str]) -> None:
    """Two columns on a terminal; one block below the other, with brackets around what differs, elsewhere."""
    console = stdout()
    left, right = marked(block(both.first.answer or "(no text)"), block(both.second.answer or "(no text)"))
    heading = f"\n--- {line(both.first.id)}: {both.outcome}\nprompt: {both.first.prompt}"
    say("\n".join([heading, *(f"{name}: {text}" for name, text in both.first.beside.items())]))
    figured = (figures(both.first), figures(both.second))
    if not console.is_terminal:
        for name, parts, told in zip(names, (left, right), figured, strict=True):
            say(f"{name} ({told}): {''.join(f'[{text}]' if differs else text for differs, text in parts)}")
        return
    grid = Table(box=None, expand=True, pad_edge=False)
    for name in names:
        grid.add_column(Text(name), ratio=1, overflow="fold")
    grid.add_row(_styled(left), _styled(right))
    grid.add_row(*(Text(told, style="dim") for told in figured))
    console.print(grid)


def _styled(parts: Sequence[Part]) -> Text:
    return Text.assemble(*((text, "bold reverse") if differs else text for differs, text in parts))


# ---------------------------------------------------------------- labels


def labels(run: RunId, store: shared.Stores = None, as_json: shared.Json = False) -> None:
    """Print the labels that a run learnt from, as its method received them."""
    found = find(run, store)
    pairs = labelled(found)
    if as_json:
        emit_json(pairs)
        return
    record = found.record
    count = len(record.data.pair_ids) or sum(map(len, record.data.rating_ids.values()))
    control = "; half of the pairs were swapped as a control" if record.data.shuffled_labels else ""
    say(line(f"run {record.id}: {count} labels from pool {record.data.pool} ({record.data.source}){control}"))
    if not count:
        say(line(f"{record.aligner.name} was handed no labels."))
    elif not any("chosen" in pair for pair in pairs):
        say("The texts of these labels are not in the store: only their ids were kept.")
    for pair in pairs:
        texts = [f"{name}: {pair[name]}" for name in ("prompt", "chosen", "rejected") if name in pair]
        say("\n" + "\n".join([f"--- {line(pair['id'])}", *texts]))


def labelled(found: Found) -> list[dict[str, Any]]:
    """The labels of a run, with their texts where its fit's folder has them, else by their ids alone."""
    from harness.run.job import JOB, FitJob, read_model

    record = found.record
    file = found.store.fit_dir(record.aligner.fit_id) / JOB
    job = read_model(file, FitJob, "that version shows the labels' texts; without the file their ids alone are listed")
    known = {} if job is None else {pair.id: pair for pair in job.few_shot.pairs}
    listed: list[dict[str, Any]] = []
    for name in record.data.pair_ids:
        pair = known.get(name)
        texts = {}
        if pair is not None:
            prompt = "\n".join(turn.content for turn in pair.prompt)
            texts = {"prompt": prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        listed.append({"id": name, **texts})
    asked = record.data.rating_ids.items()
    return [*listed, *({"id": f"{group}: {question}"} for group, questions in asked for question in questions)]
