"""Reads tables: rows of an offset window, single columns, and the data files with their digests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.table import Table

from broker_events.sinks.lake.digest import digest
from broker_events.sinks.lake.iceberg.data_files import Range, footer_ranges


class DataFile(NamedTuple):
    """A live data file. `ranges` is None if another program wrote it. `deletes`: delete files that apply to it."""

    path: str
    rows: int
    deletes: int


def window(table: Table, partition: int, start: int, end: int) -> pa.Table:
    """Return the rows of one partition from offset `start` to before `end`, by offset."""
    chosen = f"_partition = {partition} and _offset >= {start} and _offset < {end}"
    return table.scan(row_filter=chosen).to_arrow().sort_by("_offset")


def columns(table: Table, names: Sequence[str]) -> pa.Table:
    """Return these columns of all rows."""
    return table.scan(selected_fields=tuple(names)).to_arrow()


def live_files(table: Table) -> list[DataFile]:
    """Return the current snapshot's data files, with repetitions."""
    return [
        DataFile(task.file.file_path, task.file.record_count, len(task.delete_files))
        for task in table.scan().plan_files()
    ]


def altered_ranges(table: Table, path: str) -> Iterator[tuple[Range, str]] | None:
    """Yield the ranges whose rows have another digest now, and this digest. None without digests in the footer."""
    with table.io.new_input(path).open() as stream:
        file = pq.ParquetFile(stream)
        ranges = footer_ranges(file.metadata)
        rows = None if ranges is None else file.read()
    return None if ranges is None or rows is None else _altered(rows, ranges)


def _altered(rows: pa.Table, ranges: Sequence[Range]) -> Iterator[tuple[Range, str]]:
    partitions, offsets = rows.column("_partition"), rows.column("_offset")
    for each in ranges:
        inside = pc.and_(
            pc.equal(partitions, each.partition),
            pc.and_(pc.greater_equal(offsets, each.first), pc.less_equal(offsets, each.last)),
        )
        found = rows.filter(inside).combine_chunks()
        now = digest(found)
        if found.num_rows != each.rows or now != each.digest:
            yield each, now
