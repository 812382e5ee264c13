"""A config file of several cells: lists where a cell has one value, and a block `set` like the option `--set`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.config import RunConfig, check_keys, check_tree, read_mapping
from harness.contracts import HarnessError
from harness.util.safe_text import cut

SET = "set"
MOST_CELLS = 10_000


def read_cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a config file, the last key's values changing fastest; keys are `RunConfig`'s, and `set`.

    Every key may have a list of values: each is an axis. `budget` may be a number of labels. Raises HarnessError
    naming the file and the key for anything unknown, ill-typed or unreadable, and for more than `MOST_CELLS` cells.
    """
    where = f"config file {cut(str(path))}"
    values = read_mapping(path, "config file")
    block = values.pop(SET, {})
    check_keys(RunConfig, list(values), where)
    axes = {key: value for key, value in values.items() if isinstance(value, list)}
    _check_axes(axes, where)
    cells = []
    for picked in itertools.product(*axes.values()):
        cell = {**values, **dict(zip(axes, picked, strict=True))}
        if "budget" in cell:
            cell["budget"] = _budget(cell["budget"])
        cell = _with_set(cell, block, where)
        check_tree(RunConfig, cell, where)
        cells.append(cell)
    return cells


def _check_axes(axes: Mapping[str, list[Any]], where: str) -> None:
    count = 1
    for key, values in axes.items():
        if not values:
            raise HarnessError(f"{where}: {key} is an empty list; give it a value, or leave the key out")
        count *= len(values)
    if count > MOST_CELLS:
        raise HarnessError(
            f"{where}: its lists make {count} cells, and at most {MOST_CELLS} are allowed; shorten a list"
        )


def _budget(value: Any) -> Any:
    if isinstance(value, dict):
        return {**value, "preset": str(value["preset"])} if "preset" in value else value
    return {"preset": str(value)}


def _with_set(cell: dict[str, Any], block: Any, where: str) -> dict[str, Any]:
    """The cell with the block's values over it, as `--set` would set them."""
    if not isinstance(block, dict):
        raise HarnessError(f"{where}: set: expected keys and values (aligner.beta: 0.2), got {cut(block)}")
    for key, value in _flat(block):
        section, _, leaf = key.partition(".")
        section = "aligner_config" if section == "aligner" and leaf else section
        cell = {**cell, section: {**_section(cell, section, key, where), leaf: value} if leaf else value}
    return cell


def _section(cell: Mapping[str, Any], section: str, key: str, where: str) -> Mapping[str, Any]:
    below = cell.get(section, {})
    if not isinstance(below, dict):
        raise HarnessError(f"{where}: set: {key} reaches into {section}, which is {cut(below)} and has no parts")
    return below


def _flat(block: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`aligner.beta: 0.2` and `aligner: {beta: 0.2}` alike."""
    for key, value in block.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
