"""Encodes and decodes Avro records in the Confluent wire format (`schemas.frame`)."""

import io
import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast, overload

import fastavro
from pydantic import ValidationError

from broker_events.native import extension
from broker_events.schemas.catalog import Contract, load_catalog
from broker_events.schemas.field_types import Json, type_changes
from broker_events.schemas.frame import FRAME_BYTES, frame
from broker_events.schemas.models import RECORDS, Record
from broker_events.schemas.registry import Registry, SchemaNotRegistered
from broker_events.schemas.storage_schema import storage_schema

R = TypeVar("R")


class DecodeError(ValueError):
    """A value that does not match the contract of its topic. The message never quotes the record."""


class UnknownSchema(DecodeError):
    """The registry does not have the value's schema id. Another registry issued it, or the registry lost the schema."""


class Codec(Generic[R]):
    """Encodes and decodes one contract's records in storage form; `R` is its TypedDict in `schemas.storage_types`.

    `schema_id` is the id of the contract's schema under the topic's subject. `schema_text` fetches the JSON text of
    another id (`Registry.schema_text`), so that records of older and newer versions can be read.

    Native code handles the common case. fastavro handles the rest and reports what is wrong (ADR 0020).
    """

    def __init__(self, contract: Contract, schema_id: int, schema_text: Callable[[int], str] | None = None) -> None:
        if contract.schema is None:
            raise ValueError(f"{contract.name} has no schema")
        self._name = contract.name
        self._schema_id = schema_id
        self._frame = frame(schema_id)
        self._contract_schema = contract.schema
        self._schema = fastavro.parse_schema(storage_schema(contract.schema))
        self._schema_text = schema_text
        self._writers: dict[int, Any] = {schema_id: self._schema}
        self._rejected: dict[int, DecodeError] = {}
        native = extension.native
        self._native = None if native is None else native.RecordCodec(storage_schema(contract.schema), self._frame)

    def encode(self, record: R) -> bytes:
        """Return the framed record. Raises `ValueError` or `TypeError` if the record does not match the schema."""
        if self._native is not None:
            try:
                return self._native.encode(record)
            except Exception:  # noqa: BLE001, S110  (fastavro then reports the error)
                pass
        return self._encode_in_python(record)

    def _encode_in_python(self, record: R) -> bytes:
        out = io.BytesIO()
        out.write(self._frame)
        fastavro.schemaless_writer(out, self._schema, cast("dict[str, Any]", record))
        return out.getvalue()

    def decode(self, value: bytes) -> R:
        """Decode a framed value.

        Raises `DecodeError`, `UnknownSchema` for an id that `schema_text` does not know, and `RegistryError` if the
        registry is needed and does not answer.
        """
        record = None if self._native is None else self._native.decode(value)
        return self._decode_in_python(value) if record is None else cast("R", record)

    def _decode_in_python(self, value: bytes) -> R:
        schema_id = _schema_id(value)
        if schema_id not in self._writers:
            self._writers[schema_id] = self._writer(schema_id)
        return cast("R", _read(value, self._writers[schema_id], self._schema))

    def _writer(self, schema_id: int) -> Any:  # noqa: ANN401  (a schema of fastavro)
        if schema_id in self._rejected:
            raise DecodeError(str(self._rejected[schema_id]))
        if self._schema_text is None:
            raise DecodeError(f"{self._name}: has schema id {schema_id}, expected {self._schema_id}")
        try:
            text = self._schema_text(schema_id)
        except SchemaNotRegistered as error:
            raise UnknownSchema(f"{self._name}: {error}") from error
        try:
            return fastavro.parse_schema(storage_schema(writer_schema(schema_id, text, self._contract_schema)))
        except DecodeError as error:
            self._rejected[schema_id] = error
            raise


class EventDecoder:
    """Decodes the values of all Avro topics into the models of `schemas.models`. For subscribers.

    Fetches the writer's schema from the registry once per id and resolves the record to this version's schema, so that
    records of older and newer versions can be read. Rejects a record whose writer has another type for a field.
    """

    def __init__(
        self,
        registry_url: str,
        basic_auth: str | None = None,
        ca_location: str | None = None,
        proxy: str | None = None,
    ) -> None:
        """`basic_auth` is `user:password`, `ca_location` a PEM file for an https URL, `proxy` as in `Registry`."""
        self._registry = Registry(registry_url, basic_auth, ca_location, proxy)
        schemas = (contract.schema for contract in load_catalog().contracts.values())
        self._schemas = {_full_name(schema): schema for schema in schemas if schema is not None}
        self._readers = {name: fastavro.parse_schema(schema) for name, schema in self._schemas.items()}
        self._writers: dict[int, tuple[str, Any]] = {}
        self._rejected: dict[int, DecodeError] = {}

    @overload
    def decode(self, value: bytes) -> Record: ...
    @overload
    def decode(self, value: None) -> None: ...

    def decode(self, value: bytes | None) -> Record | None:
        """Decode the value of a Kafka message. Returns None for a tombstone (None) of a compacted topic.

        Raises `DecodeError` for a value that is not a record of these contracts, its subclass `UnknownSchema` for a
        schema id that the registry does not have, and `RegistryError` if the registry cannot be reached: then retry.
        """
        if value is None:
            return None
        schema_id = _schema_id(value)
        if schema_id not in self._writers:
            self._writers[schema_id] = self._writer(schema_id)
        name, writer = self._writers[schema_id]
        record = _read(value, writer, self._readers[name])
        try:
            return RECORDS[name].model_validate(record)
        except ValidationError as error:
            wrong = ", ".join(f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in error.errors())
        raise DecodeError(f"schema id {schema_id}: does not match the model {name}: {wrong}")

    def _writer(self, schema_id: int) -> tuple[str, Any]:
        if schema_id in self._rejected:
            raise DecodeError(str(self._rejected[schema_id]))
        try:
            text = self._registry.schema_text(schema_id)
        except SchemaNotRegistered as error:
            raise UnknownSchema(str(error)) from error
        try:
            schema = _parse(schema_id, text)
            name = _full_name(schema)
            if name not in RECORDS:
                raise DecodeError(f"schema id {schema_id} is {name}, which is not in this catalog")
            _require_equal_types(schema_id, schema, self._schemas[name])
            return name, fastavro.parse_schema(schema)
        except DecodeError as error:
            self._rejected[schema_id] = error
            raise


def writer_schema(schema_id: int, text: str, reader: Json) -> Json:
    """Parse a writer's schema from JSON text. Raises `DecodeError` if a field's type differs from `reader`."""
    writer = _parse(schema_id, text)
    _require_equal_types(schema_id, writer, reader)
    return writer


def _parse(schema_id: int, text: str) -> Json:
    """Parse a schema from the registry. Raises `DecodeError` unless it is an Avro record."""
    try:
        schema = json.loads(text)
        fastavro.parse_schema(schema)
        if isinstance(schema, dict) and schema["type"] == "record":
            return schema
    except Exception as error:
        raise DecodeError(f"schema id {schema_id} is not a valid Avro schema in the registry") from error
    raise DecodeError(f"schema id {schema_id} is not a record schema")


def _require_equal_types(schema_id: int, writer: Json, reader: Json) -> None:
    """Raise `DecodeError` for a field that Avro would resolve to another type, which would change its values."""
    for path, written, ours in type_changes(writer, reader):
        if ours is not None:
            raise DecodeError(
                f"schema id {schema_id}: {path or 'the record'} is {written}, but {ours} in this version; "
                "decode it with the package version that has the writer's type"
            )


def _schema_id(value: bytes) -> int:
    if len(value) < FRAME_BYTES or value[0] != 0:
        raise DecodeError(
            f"not in the Confluent wire format: {len(value)} bytes beginning with 0x{value[:1].hex()};"
            " expected 0x00, a schema id of 4 bytes and an Avro body"
        )
    return int.from_bytes(value[1:FRAME_BYTES], "big")


def _read(value: bytes, writer: Any, reader: Any) -> Any:  # noqa: ANN401  (fastavro's schemas and records)
    body = io.BytesIO(value)
    body.seek(FRAME_BYTES)
    try:
        record = fastavro.schemaless_reader(body, writer, None if writer is reader else reader)
    except (EOFError, ValueError, IndexError, OverflowError, fastavro.schema.SchemaParseException) as error:
        raise DecodeError(f"schema id {_schema_id(value)}: the body cannot be read ({type(error).__name__})") from error
    except fastavro.read.SchemaResolutionError as error:  # its message contains both schemas
        raise DecodeError(f"schema id {_schema_id(value)}: does not fit the records of this topic") from error
    if body.tell() != len(value):
        raise DecodeError(f"schema id {_schema_id(value)}: {len(value) - body.tell()} bytes follow the record")
    return record


def _full_name(schema: Json) -> str:
    return f"{schema['namespace']}.{schema['name']}" if "namespace" in schema else str(schema["name"])
