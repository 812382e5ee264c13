"""`data`: look at data before anybody trains on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from harness.cli import options as shared
from harness.cli.output import emit_json, say, stdout_to_stderr, table
from harness.config import DEFAULT_MODEL, parse, validated
from harness.contracts import AskedLengths, HarnessError, OwnRows, Pool, Reading
from harness.data.check import DataReport, check
from harness.plugins.registry import Registry

app = typer.Typer(help="Look at data before a run trains on them.", no_args_is_help=True, rich_markup_mode=None)

OWN = "pairs"


@app.callback()
def _data() -> None:
    """Look at data before a run trains on them."""


@app.command("check")
def check_(
    *,
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="What --data of a run takes: a file, a folder, sample, or hub:OWNER/NAME."),
    ],
    pool: Annotated[
        str, typer.Option(metavar="NAME", help="The pool that reads these rows; for your own pairs: pairs.")
    ] = OWN,
    columns: Annotated[
        str | None,
        typer.Option(metavar="OURS=YOURS,...", help="prompt=question,chosen=better,...", show_default=False),
    ] = None,
    split_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A file with the ids or prompts of the held-out rows.", show_default=False),
    ] = None,
    model: Annotated[
        str, typer.Option(help="The model whose tokenizer counts the lengths; its weights are not loaded.")
    ] = DEFAULT_MODEL,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="lengths.KEY=N", help="The maximum lengths of a run, as in `run`: lengths.completion=128"
        ),
    ] = None,
    no_plugins: shared.NoPlugins = False,
    plugins: shared.Plugins = None,
    as_json: shared.Json = False,
) -> None:
    """Say what data hold, what is left out and why, how long texts are, and if length or words give labels away."""
    registry = shared.registry(no_plugins, plugins)
    lengths = _lengths(sets or ())
    with stdout_to_stderr():
        from harness.data.sources import open_source
        from harness.models.control import control_tokens
        from harness.models.tokenizer import tokenizer_folder, tokenizer_of

        folder = tokenizer_folder(model, registry.models)
        control = control_tokens(folder)
        reading = Reading(shared.columns_of(columns), split_file, control.texts)
        wanted = _pool(registry, pool, reading)
        source, tokenizer = open_source(path, wanted.dataset), tokenizer_of(folder, model)
        found = check(wanted, source, lengths, tokenizer, how=reading, without_row=control.without_row)
    if as_json:
        emit_json(asdict(found))
        return
    for title, headings, rows in tables(found):
        table(title, headings, rows)
    for line in found.warnings:
        say(f"look at this: {line}")


def tables(found: DataReport) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    """Title, headings and rows of each table of the report."""
    yield "data", ["", "", ""], [[name, value, note] for name, value, note in _overview(found)]
    reasons = sorted(found.left_out.items(), key=lambda item: -item[1])
    if reasons:
        rows = [[reason, str(count), found.first_left_out.get(reason, "")] for reason, count in reasons]
        yield "left out", ["reason", "rows", "the first"], rows
    if found.clipping:
        yield "tokens", ["", "median", "95 %", "longest", "limit", "cut"], _token_rows(found)


def _overview(found: DataReport) -> Iterator[tuple[str, str, str]]:
    gone = sum(found.left_out.values())
    yield "source", found.source, f"pool {found.pool}"
    if found.rows:
        yield "rows", str(found.rows), f"{gone} left out" if gone else "all used"
    yield "pairs", str(found.train + found.held_out), f"{found.train} to train, {found.held_out} held out"
    if found.folds > 1:
        yield "folds", str(found.folds), "a run holds every pair out once; with --folds 1 as above"
    yield "independent units", str(found.units), f"{found.repeated_prompts} prompts have several pairs"
    yield "contradictions", str(found.contradictions), "pairs whose opposite is there too"
    yield "leaks", str(found.leaks), "training pairs that ask what a held-out pair asks"
    yield "largest budget", str(found.train - found.leaks), "labels that a method can be given: --budget max"
    if found.shortcuts:
        told = found.shortcuts
        yield (
            "length alone",
            f"{told.length_only:.3f}",
            f"accuracy of a rule fitted to the lengths, on {told.pairs} pairs; chance 0.5",
        )
        yield "single words", f"{told.bag_of_words:.3f}", "accuracy of a bag of words; chance 0.5"
        yield "better is longer", f"{told.chosen_longer:.3f}", "share of pairs; the rule above may go by other lengths"
    for note in found.notes:
        yield "note", note, ""


def _token_rows(found: DataReport) -> list[list[str]]:
    assert found.clipping is not None
    limits: Mapping[str, int] = {"prompt": found.limits["prompt"]} | dict.fromkeys(
        ("chosen", "rejected"), found.limits["completion"]
    )
    shares = found.clipping.shares
    cut: Mapping[str, float] = {"prompt": shares["prompts"], "chosen": shares["answers"], "rejected": shares["answers"]}
    rows = [
        [name, str(spread.median), str(spread.p95), str(spread.longest), str(limits[name]), f"{cut[name]:.0%}"]
        for name, spread in found.lengths.items()
    ]
    return [*rows, ["equal once cut", "", "", "", "", f"{shares['equal_pairs']:.0%}"]]


def _pool(registry: Registry, name: str, reading: Reading) -> Pool:
    pool: Pool = registry.pool(name)()
    if isinstance(pool, OwnRows):
        return pool.reading(reading)
    if reading.columns or reading.split_file:
        raise HarnessError(f"pool {name!r} has columns of its own; --columns and --split-file are for --pool {OWN}")
    return pool


def _lengths(sets: Sequence[str]) -> AskedLengths:
    values: dict[str, Any] = {}
    for item in sets:
        key, _, text = item.partition("=")
        section, _, leaf = key.strip().partition(".")
        if section != "lengths" or not leaf:
            raise HarnessError(f"data check takes --set lengths.prompt=N and lengths.completion=N, got {item[:80]!r}")
        values[leaf] = parse(AskedLengths, leaf, text.strip(), where="lengths", label=key)
    return validated(AskedLengths, values, "lengths")
