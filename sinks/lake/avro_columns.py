"""Framed Avro values as Arrow columns: natively, as the blocks of one Avro container file, or by fastavro."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import datafusion
import fastavro
import pyarrow as pa

from broker_events.native import extension
from broker_events.schemas.codec import DecodeError, UnknownSchema, writer_schema
from broker_events.schemas.frame import FRAME_BYTES, frame
from broker_events.schemas.registry import SchemaNotRegistered
from broker_events.schemas.storage_schema import storage_schema

_SYNC: Final = bytes(16)


class Undecodable(ValueError):
    """A value that no column takes; `index` is its place in the values that were given."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason


class AvroColumns:
    """Decodes the values of one topic.

    `schema_text` returns the JSON text of a schema id, as `Registry.schema_text` does. `avro` is the contract's schema:
    a writer may have more fields, but no field of another type.
    """

    def __init__(self, avro: Any, schema_text: Callable[[int], str]) -> None:  # noqa: ANN401 (parsed JSON)
        self._contract = avro
        self._schema_text = schema_text
        self._writers: dict[bytes, _Writer] = {}

    def decode(self, values: Sequence[bytes]) -> list[tuple[int, list[int], pa.Table]]:
        """Return schema id, places of its values, and their columns, for each schema id among the values.

        Raises Undecodable, UnknownSchema if the registry doesn't know an id, RegistryError if it doesn't answer.
        """
        places: dict[bytes, list[int]] = {}
        frames = {value[:FRAME_BYTES] for value in values}
        if len(frames) == 1:
            places = {next(iter(frames)): [*range(len(values))]}
        else:
            for index, value in enumerate(values):
                places.setdefault(value[:FRAME_BYTES], []).append(index)
        found = []
        for framing, indexes in places.items():
            writer = self.writer(framing, indexes[0])
            chosen = [*values] if len(indexes) == len(values) else [values[index] for index in indexes]
            try:
                found.append((writer.schema_id, indexes, writer.columns(chosen)))
            except Undecodable as error:
                raise Undecodable(indexes[error.index], error.reason) from None
        return found

    def writer(self, framing: bytes, index: int) -> _Writer:
        """Return the decoder of the values with these first bytes."""
        if framing not in self._writers:
            if len(framing) < FRAME_BYTES or framing[0] != 0:
                raise Undecodable(index, "it is not in the Confluent wire format")
            schema_id = int.from_bytes(framing[1:], "big")
            try:
                avro = writer_schema(schema_id, self._schema_text(schema_id), self._contract)
            except SchemaNotRegistered as error:
                raise UnknownSchema(str(error)) from error
            except DecodeError as error:
                raise Undecodable(index, str(error)) from error
            self._writers[framing] = _Writer(schema_id, avro)
        return self._writers[framing]

    def schemas(self) -> list[Any]:
        """Return the writers' schemas seen so far."""
        return [writer.avro for writer in self._writers.values()]


class _Writer:
    """Decodes values of one schema id."""

    def __init__(self, schema_id: int, avro: Any) -> None:  # noqa: ANN401 (parsed JSON)
        self.schema_id = schema_id
        self.avro = avro
        self._parsed = fastavro.parse_schema(avro)
        self._header = _container_header(avro)
        self._session = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(1))
        self._types = self._read(self._header).schema
        self._bodies: Callable[[list[bytes]], bytes | None] | None = None
        if extension.native is not None:
            try:
                self._bodies = extension.native.RecordCodec(storage_schema(avro), frame(schema_id)).bodies
            except ValueError:  # a type that native code doesn't know
                self._bodies = None

    def columns(self, values: list[bytes]) -> pa.Table:
        """Return the values' columns. Raises Undecodable.

        The native reader does not end at bytes behind a record. So native code checks first where each one ends.
        """
        bodies = None if self._bodies is None else self._bodies(values)
        if bodies is not None:
            block = b"".join((self._header, _varint(len(values)), _varint(len(bodies)), bodies, _SYNC))
            try:
                rows = self._read(block)
            except Exception:  # noqa: BLE001 (datafusion's errors have no type of their own)
                rows = None
            if rows is not None and rows.num_rows == len(values):
                return rows
        return self._columns_in_python(values)

    def _columns_in_python(self, values: list[bytes]) -> pa.Table:
        records = []
        for index, value in enumerate(values):
            body = io.BytesIO(value)
            body.seek(FRAME_BYTES)
            try:
                record = fastavro.schemaless_reader(body, self._parsed, None)
                records.append(_for_arrow(cast(dict[str, Any], record), self._types))
            except Exception as error:
                raise Undecodable(index, f"schema id {self.schema_id}: {type(error).__name__}") from error
            if body.tell() != len(value):
                raise Undecodable(index, f"schema id {self.schema_id}: {len(value) - body.tell()} bytes follow it")
        try:
            return pa.Table.from_pylist(records, self._types)
        except pa.ArrowException:
            pass
        for index, record in enumerate(records):
            try:
                pa.Table.from_pylist([record], self._types)
            except pa.ArrowException as error:
                raise Undecodable(index, f"schema id {self.schema_id}: {str(error)[:200]}") from None
        raise AssertionError("all records fit one by one, but not together")

    def _read(self, container: bytes) -> pa.Table:
        with tempfile.NamedTemporaryFile(suffix=".avro") as file:
            file.write(container)
            file.flush()
            return self._session.read_avro(file.name).to_arrow_table()


def _for_arrow(record: dict[str, Any], schema: pa.Schema) -> dict[str, Any]:
    return {field.name: _value(record[field.name], field.type) for field in schema}


def _value(value: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 (any decoded value)
    """Return the value as Arrow takes it: a map as pairs."""
    if value is None:
        return None
    if pa.types.is_map(kind):
        return [(key, _value(item, kind.item_type)) for key, item in value.items()]
    if pa.types.is_list(kind):
        return [_value(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: _value(value[field.name], field.type) for field in kind}
    return value


def _container_header(avro: Any) -> bytes:  # noqa: ANN401 (parsed JSON)
    """Return the header of an Avro object container file (Avro 1.12, "Object Container Files")."""
    metadata = {b"avro.schema": json.dumps(avro).encode(), b"avro.codec": b"null"}
    parts = [b"Obj\x01", _varint(len(metadata))]
    for name, value in metadata.items():
        parts += [_varint(len(name)), name, _varint(len(value)), value]
    return b"".join((*parts, _varint(0), _SYNC))


def _varint(number: int) -> bytes:
    """Encode a number >= 0 as an Avro long."""
    rest, out = number << 1, bytearray()
    while rest > 0x7F:  # noqa: PLR2004 (seven bits a byte)
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)
