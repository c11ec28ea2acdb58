"""Writes rows as Parquet: one file per day, with the digest of its rows per partition in the footer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.schema import Schema
from pyiceberg.table import Table

from broker_events.sinks.lake.digest import digest

RANGES: Final = b"broker-events.ranges"
_DAY: Final = "_day"


class DoesNotFit(ValueError):
    """Rows that the table's columns can't take."""


class Range(NamedTuple):
    """Rows of one partition in one file: first and last offset, number, digest."""

    partition: int
    first: int
    last: int
    rows: int
    digest: str


def fitted(rows: pa.Table, schema: Schema) -> pa.Table:
    """Return the rows with exactly the table's columns: missing ones null. Raises DoesNotFit."""
    target = schema_to_pyarrow(schema)
    if extra := set(rows.column_names) - set(target.names):
        raise DoesNotFit(f"the table has no column {', '.join(sorted(extra))}")
    columns = [
        rows.column(field.name) if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)
        for field in target
    ]
    for field, column in zip(target, columns, strict=True):
        if not field.nullable and column.null_count:
            raise DoesNotFit(f"the column {field.name} requires a value")
    try:
        return pa.table(columns, names=target.names).cast(target)
    except pa.ArrowException as error:
        raise DoesNotFit(str(error)) from None


def write_files(table: Table, rows: pa.Table, name: str, ranges: Iterable[Range] | None = None) -> list[DataFile]:
    """Write fitted rows and return the files, one per day; `name` begins each file's name.

    `ranges`: those of rows that are in files already; by default one range per partition is computed.
    """
    days = pc.cast(rows.column("_timestamp"), pa.date32())
    order = pc.sort_indices(
        pa.table([days, rows.column("_partition"), rows.column("_offset")], names=[_DAY, "p", "o"]),
        sort_keys=[(_DAY, "ascending"), ("p", "ascending"), ("o", "ascending")],
    )
    rows, days = rows.take(order), days.take(order)
    return [
        _write(table, rows.slice(start, length), day, f"{name}-{number}", ranges)
        for number, (day, start, length) in enumerate(_runs(days))
    ]


def _runs(values: pa.ChunkedArray) -> Iterator[tuple[Any, int, int]]:
    """Yield value, start and length of each run."""
    start = 0
    runs = pc.run_end_encode(values.combine_chunks())
    for value, run_end in zip(runs.values, runs.run_ends, strict=True):
        end = run_end.as_py()
        yield value, start, end - start
        start = end


def ranges_of(rows: pa.Table) -> list[Range]:
    """Return one range per partition of rows that are sorted by partition and offset."""
    offsets = rows.column("_offset")
    return [
        Range(
            partition.as_py(),
            offsets[start].as_py(),
            offsets[start + length - 1].as_py(),
            length,
            digest(rows.slice(start, length)),
        )
        for partition, start, length in _runs(rows.column("_partition"))
    ]


def footer_ranges(metadata: pq.FileMetaData) -> list[Range] | None:
    """Return the ranges in a file's footer, None for a file that another program wrote."""
    text = (metadata.metadata or {}).get(RANGES)
    return None if text is None else [Range(*each) for each in json.loads(text)]


def _write(table: Table, rows: pa.Table, day: pa.Scalar, name: str, ranges: Iterable[Range] | None) -> DataFile:
    schema, spec = table.schema(), table.spec()
    key = PartitionKey([PartitionFieldValue(spec.fields[0], day.cast(pa.int32()).as_py())], spec, schema)
    path = table.location_provider().new_data_location(f"{name}.parquet", key)
    output = table.io.new_output(path)
    footer = ranges_of(rows) if ranges is None else list(ranges)
    with (
        output.create(overwrite=True) as stream,
        pq.ParquetWriter(stream, rows.schema, compression="zstd", store_schema=False) as writer,
    ):
        writer.write_table(rows)
        writer.add_key_value_metadata({RANGES.decode(): json.dumps(footer, separators=(",", ":"))})
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=writer.writer.metadata,
        stats_columns=compute_statistics_plan(schema, table.metadata.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=key.partition,
        file_size_in_bytes=len(output),
        sort_order_id=None,
        spec_id=table.metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )
