"""`plan`, and `run --dry-run`: what a command would do, what it would cost, and what its table could show."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_type_hints

from harness.cli.output import emit_json, note, say, table
from harness.cli.progress import duration
from harness.cli.run import run
from harness.util.safe_text import line

if TYPE_CHECKING:
    from harness.study.forecast import CellForecast, Forecast, Showing

GIB, MIB = 2**30, 2**20
STATES = {
    "new": "to be computed",
    "begun": "begun, to be continued",
    "fitted": "fitted, to be scored",
    "done": "is there already",
}
HEADINGS = ("cell", "run", "labels", "state", "fit", "scoring", "FLOPs", "memory", "disk")
CUT = {
    "prompts": "of the labelled prompts",
    "answers": "of the labelled answers",
    "equal_pairs": "of the labelled pairs become equal",
    "pool_prompts": "of the pool's prompts",
    "pool_answers": "of the pool's answers",
}


def plan(**typed: Any) -> None:
    """Show which cells `run` with these options would compute, at what cost, and what their table could show."""
    run(**typed, dry_run=True, quiet=True)


def _without(*left_out: str) -> inspect.Signature:
    signature = inspect.signature(run, eval_str=True)
    return signature.replace(parameters=[p for name, p in signature.parameters.items() if name not in left_out])


# The options of `run`, said once: typer reads a command's options from its signature.
plan.__signature__ = _without("dry_run", "quiet", "show", "force", "no_texts")  # type: ignore[attr-defined]
plan.__annotations__ = get_type_hints(run, include_extras=True)


def show(found: Forecast, *, as_json: bool) -> None:
    """The forecast as tables and sentences on standard output, or as JSON."""
    if as_json:
        emit_json({**asdict(found), "total": {**asdict(found.total), "seconds": found.total.seconds}})
        return
    for text in found.notes:
        note(text)
    table("cells", HEADINGS, [_cell(cell) for cell in found.cells])
    if found.refused:
        rows = [[f"{cell.aligner} on {cell.task}, seed {cell.seed}", cell.reason] for cell in found.refused]
        table("cannot run", ["cell", "why"], rows)
    for text in sentences(found):
        say(line(text))


def _cell(cell: CellForecast) -> list[str]:
    cost = cell.cost
    which = f"{', labels shuffled' if cell.shuffled else ''}{'' if cell.fold is None else f', fold {cell.fold + 1}'}"
    named = [
        f"{cell.aligner} on {cell.task}, seed {cell.seed}{which}",
        cell.run_id,
        str(cell.labels),
        STATES[cell.state],
    ]
    if cell.state == "done":
        return [*named, *("-" for _ in HEADINGS[len(named) :])]
    return [
        *named,
        duration(cost.fit_s),
        duration(cost.evaluate_s),
        f"{cost.fit_flops + cost.evaluate_flops:.1e}",
        f"{cost.memory_bytes / GIB:.1f} GiB",
        f"{cost.disk_bytes / MIB:.0f} MiB",
    ]


def sentences(found: Forecast) -> Iterator[str]:
    """Totals, lengths, and what the items could show."""
    total = found.total
    to_do = sum(cell.state != "done" for cell in found.cells)
    if to_do:
        yield (
            f"{to_do} of {len(found.cells)} cells are to be computed: about {duration(total.seconds)}, "
            f"{total.fit_flops + total.evaluate_flops:.1e} FLOPs, {total.memory_bytes / GIB:.1f} GiB of memory at the "
            f"peak, {total.disk_bytes / MIB:.0f} MiB of disk, of which {found.free_disk_bytes / GIB:.1f} GiB are free. "
            f"These figures come from {total.basis}."
        )
    elif found.cells:
        yield f"All {len(found.cells)} cells have been computed already."
    yield from dict.fromkeys(text for cell in found.cells for text in _lengths(cell))
    for showing in found.shows:
        yield from _shows(showing)


def _lengths(cell: CellForecast) -> Iterator[str]:
    lengths = cell.lengths
    parts = [f"{share:.0%} {CUT[name]}" for name, share in cell.clipped.items() if share and name in CUT]
    if cell.clipped:
        yield (
            f"Lengths for {cell.task}: {lengths['prompt']} tokens of prompt, {lengths['completion']} of answer, "
            f"{lengths['new_tokens']} of a sample; {', '.join(parts) or 'nothing'} cut."
        )


def _shows(showing: Showing) -> Iterator[str]:
    own = showing.units == showing.items
    units = "items" if own else "independent units"
    where = f"{showing.units} {units}{'' if own else f' ({showing.items} items)'} of {showing.task}"
    spread = showing.spread
    share = (
        f"where {spread.differing:.0%} of them differ from base ({showing.basis})"
        if spread.sd is None
        else f"where their differences to base have a standard deviation of {spread.sd:.3f} ({showing.basis})"
    )
    many = f"{showing.comparisons} method{'s' if showing.comparisons > 1 else ''} compared"
    if showing.difference is None:
        yield f"No difference, however large, would be seen reliably on {where} with {many}, {share}."
    else:
        yield (
            f"On {where} with {many}, a difference of {showing.difference:.3f} would be seen four times in five, "
            f"{share}."
        )
    yield f"A difference of .05 would take {showing.needed} {units}."
