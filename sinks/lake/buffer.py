"""Records of one topic between two commits, as lists that become Arrow columns at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.schemas.headers import raw_offset
from broker_events.sinks.lake.avro_columns import AvroColumns, Undecodable
from broker_events.sinks.lake.tables import Kind, LakeTable

_TIME: Final = pa.timestamp("us", "UTC")
_HEADERS: Final = pa.list_(pa.struct([pa.field("name", pa.string(), nullable=False), pa.field("value", pa.binary())]))
_TEXT_HEADERS: Final = ("event_id", "event_type", "biz_type")
# A record's share of the lists, beside its bytes.
_OVERHEAD_BYTES: Final = 400


class ConversionFailed(Exception):
    """A record that the table can't take; the text has its topic, partition and offset."""


class Buffer:
    """Records read since the last commit of one table; `next_offsets` is the next offset to read per partition."""

    def __init__(self, table: LakeTable, topic: str, avro: AvroColumns | None) -> None:
        self._table = table
        self._topic = topic
        self._avro = avro
        self.clear()

    def clear(self) -> None:
        self._drop_records()
        self._converted: list[pa.Table] = []
        self._rows: Counter[int] = Counter()
        self.next_offsets: dict[int, int] = {}
        self.bytes = 0
        self.since: float | None = None

    def _drop_records(self) -> None:
        self._values: list[bytes | None] = []
        self._keys: list[bytes | None] = []
        self._partitions: list[int] = []
        self._offsets: list[int] = []
        self._times: list[int] = []
        self._headers: list[list[tuple[str, bytes | None]] | None] = []
        self._raw_offsets: list[int | None] = []

    def __len__(self) -> int:
        return self._rows.total()

    def add(self, records: Sequence[KafkaRecord]) -> None:
        """Add records of this topic, in order within a partition."""
        if self.since is None:
            self.since = time.monotonic()
        values = [record.value() for record in records]
        self._values += values
        self._keys += [record.key() for record in records]
        partitions = [record.partition() for record in records]
        self._partitions += partitions
        self._rows.update(partitions)
        self._offsets += [record.offset() for record in records]
        self._times += [record.timestamp()[1] for record in records]
        if self._table.kind is Kind.RAW:
            self._headers += [record.headers() for record in records]
        elif self._table.kind is Kind.EVENT:
            self._raw_offsets += [raw_offset(record.headers()) for record in records]
        self.bytes += sum(map(len, filter(None, values))) + _OVERHEAD_BYTES * len(values)
        self.next_offsets |= {record.partition(): record.offset() + 1 for record in records}

    def reached(self, partition: int, offset: int) -> None:
        """Note that the partition has no record before this offset that was not added: transaction markers end it."""
        if offset > self.next_offsets.get(partition, -1):
            self.next_offsets[partition] = offset
            if self.since is None:
                self.since = time.monotonic()

    def waited_s(self, now: float) -> float:
        """Return for how long (seconds) the oldest record has waited; `now` is monotonic."""
        return 0.0 if self.since is None else now - self.since

    def rows_per_partition(self) -> dict[int, int]:
        return dict(self._rows)

    def rows(self) -> pa.Table:
        """Return all records as rows, without the order of the records.

        Raises ConversionFailed, UnknownSchema if the registry doesn't know a schema id, RegistryError without answer.
        """
        if self._values:
            try:
                is_raw = self._table.kind is Kind.RAW
                rows = self._with_system(self._raw(), [*range(len(self._values))]) if is_raw else self._typed()
            except Undecodable as error:
                place = f"{self._topic}[{self._partitions[error.index]}]@{self._offsets[error.index]}"
                raise ConversionFailed(f"{place}: {error.reason}") from None
            self._drop_records()  # columns take a fraction of the memory
            self._converted.append(rows)
        if len(self._converted) > 1:
            self._converted = [pa.concat_tables(self._converted, promote_options="permissive")]
        return self._converted[0]

    def failed(self, reason: str) -> ConversionFailed:
        """Return the error for rows that the table can't take all together."""
        upto = ", ".join(f"{self._topic}[{partition}]@{offset}" for partition, offset in self.next_offsets.items())
        return ConversionFailed(f"{len(self)} records before {upto}: {reason}")

    def _raw(self) -> pa.Table:
        pairs = [headers or [] for headers in self._headers]
        columns = {"value": pa.array(self._values, pa.binary())}
        columns["headers"] = pa.array([[{"name": n, "value": v} for n, v in each] for each in pairs], _HEADERS)
        found = [dict(each) for each in pairs]
        for name in _TEXT_HEADERS:
            texts = [_text(each.get(name)) for each in found]
            columns[name] = pa.array(texts, pa.string())
        return pa.table(columns)

    def _typed(self) -> pa.Table:
        assert self._avro is not None  # noqa: S101 (only raw has no Avro)
        tables = []
        live = [index for index, value in enumerate(self._values) if value is not None]
        values = [value for value in self._values if value is not None]
        if len(live) < len(self._values) and self._table.kind is not Kind.CHANGE:
            raise Undecodable(next(i for i, value in enumerate(self._values) if value is None), "it has no value")
        try:
            decoded = self._avro.decode(values) if values else []
        except Undecodable as error:
            raise Undecodable(live[error.index], error.reason) from None
        for schema_id, places, columns in decoded:
            chosen = places if len(live) == len(self._values) else [live[place] for place in places]
            ids = pa.repeat(pa.scalar(schema_id, pa.int32()), len(chosen))
            tables.append(self._with_system(columns.append_column("_schema_id", ids), chosen))
        if len(live) < len(self._values):
            gone = [index for index, value in enumerate(self._values) if value is None]
            tables.append(self._with_system(None, gone))
        return tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="permissive")

    def _with_system(self, rows: pa.Table | None, chosen: list[int]) -> pa.Table:
        """Add the columns of the Kafka record; `rows` is None for tombstones."""
        whole = len(chosen) == len(self._values)

        def of(values: list, kind: pa.DataType) -> pa.Array:  # type: ignore[type-arg] # one list per column
            return pa.array(values if whole else [values[index] for index in chosen], kind)

        keys = pa.array([self._keys[index] for index in chosen], pa.binary())
        try:
            texts = keys.cast(pa.string())
        except pa.ArrowInvalid:
            bad = next(index for index in chosen if _text(self._keys[index]) is None and self._keys[index] is not None)
            raise Undecodable(bad, "its key is not UTF-8") from None
        columns = {
            "_key": texts,
            "_partition": of(self._partitions, pa.int32()),
            "_offset": of(self._offsets, pa.int64()),
            "_timestamp": of([time_ms * 1000 for time_ms in self._times], _TIME),
        }
        if self._table.kind is Kind.EVENT:
            columns["_raw_offset"] = of(self._raw_offsets, pa.int64())
        if self._table.kind is Kind.CHANGE:
            columns["_deleted"] = pa.repeat(pa.scalar(rows is None), len(chosen))
        if rows is None:
            return pa.table(columns)
        for name, column in columns.items():
            rows = rows.append_column(name, column)
        return rows


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
