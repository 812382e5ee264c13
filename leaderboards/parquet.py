"""All per-sample rows of the tables in one Parquet file: what a notebook starts from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import HarnessError
from harness.util.files import replacing
from leaderboards import Ranking
from leaderboards.load import SAMPLES, Entry

if TYPE_CHECKING:
    import pyarrow

RUN = ("run", "task", "model", "label", "aligner", "role", "status", "labels", "track", "draw", "seed")
"""Columns that every row of a run shares; after them come `id`, `unit`, `value.METRIC` and `detail` (JSON)."""


def write_parquet(found: Ranking, path: Path) -> Path:
    """Write one row per run and item, runs one after the other; a metric that a run lacks is null.

    Raises HarnessError where no run has samples.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    runs = list(_runs(found))
    if not runs:
        raise HarnessError("no run of these tables has samples to write")
    schemas = [pq.read_schema(entry.path / SAMPLES).remove_metadata() for entry, _ in runs]
    shared = pa.schema([(name, pa.int64() if name in ("labels", "draw", "seed") else pa.string()) for name in RUN])
    schema = pa.unify_schemas([shared, *schemas])
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as half, pq.ParquetWriter(half, schema, compression="zstd") as out:
        for entry, columns in runs:
            out.write_table(_filled(pq.read_table(entry.path / SAMPLES), columns, schema))
    return path


def _runs(found: Ranking) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Every run with samples, once, and what its rows share."""
    seen: set[str] = set()
    for table in found.tables:
        for row in table.rows:
            for name in row.records:
                entry = found.entries[name]
                if entry.samples is None or name in seen:
                    continue
                seen.add(name)
                record = entry.record
                seeds = (record.seed.draw, record.seed.training)
                values = (name, record.task.name, record.model.name, row.label, row.aligner, row.role, record.status)
                yield entry, dict(zip(RUN, (*values, record.budget.labels, record.budget.track, *seeds), strict=True))


def _filled(table: pyarrow.Table, columns: dict[str, Any], schema: pyarrow.Schema) -> pyarrow.Table:
    """The rows in the schema of all runs."""
    import pyarrow as pa

    def column(field: pyarrow.Field) -> pyarrow.Array:
        if field.name in columns:
            return pa.array([columns[field.name]] * len(table), field.type)
        if field.name in table.schema.names:
            return table[field.name].combine_chunks().cast(field.type)
        return pa.nulls(len(table), field.type)

    return pa.Table.from_arrays([column(field) for field in schema], schema=schema)
