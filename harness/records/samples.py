"""The rows of an evaluation as Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError, SampleRow


def write_samples(path: Path, rows: Sequence[SampleRow]) -> None:
    """One row per sample: id, unit, `value.<metric>` columns (null where a metric does not apply), detail as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metrics = sorted({name for row in rows for name in row.values})
    columns: dict[str, Any] = {
        "id": pa.array([row.id for row in rows], pa.string()),
        "unit": pa.array([row.unit for row in rows], pa.string()),
    }
    for name in metrics:
        columns[f"value.{name}"] = pa.array([row.values.get(name) for row in rows], pa.float64())
    details = [json.dumps(row.detail, ensure_ascii=False, sort_keys=True) for row in rows]
    columns["detail"] = pa.array(details, pa.string())
    pq.write_table(pa.table(columns), path)


def read_samples(path: Path) -> list[SampleRow]:
    """The inverse of `write_samples`. Raises HarnessError when the file is missing or corrupt."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table: list[Mapping[str, Any]] = pq.read_table(path).to_pylist()
    except (FileNotFoundError, pa.ArrowInvalid, OSError) as error:
        raise HarnessError(f"cannot read samples {path}: {error}") from error
    return [_sample(row) for row in table]


def _sample(row: Mapping[str, Any]) -> SampleRow:
    prefix = "value."
    values = {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix) and v is not None}
    return SampleRow(row["id"], row["unit"], values, json.loads(row["detail"]))
