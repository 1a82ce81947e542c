"""Parquet files whose texts are not UTF-8, written again with marks in place of the bad bytes.

DuckDB refuses such a file whole; one bad name among millions shall cost only itself. Only texts are touched, at the
top, in lists and in structs; everything else goes over as it is.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headwater.ground.errors import Invalid

BATCH_ROWS = 10_000


def mend(file: Path, target: Path) -> int:
    """Writes `file` again as `target`; how many batches of a column needed it. Invalid: it can't be read at all."""
    mended = 0
    try:
        source = pq.ParquetFile(file)
        with pq.ParquetWriter(target, source.schema_arrow, compression="zstd") as writer:
            for batch in source.iter_batches(BATCH_ROWS):
                columns = []
                for column in batch.columns:
                    whole = _is_sound(column)
                    mended += not whole
                    columns.append(column if whole else _mended(column))
                writer.write_batch(pa.record_batch(columns, schema=source.schema_arrow))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Invalid(f"{file.name}: can't be read ({str(error)[:200]})") from error
    return mended


def _is_sound(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _mended(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        raws = column.cast(pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()).to_pylist()
        return pa.array([None if raw is None else raw.decode(errors="replace") for raw in raws], kind)
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(column.offsets, _mended(column.values), type=kind, mask=column.is_null())
    if pa.types.is_struct(kind):
        parts = [_mended(column.field(index)) for index in range(kind.num_fields)]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=column.is_null())
    return column
