"""Iceberg schemas, with docs, from the contracts' Avro schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from broker_events.sinks.lake.tables import Kind

_PLAIN: Final[dict[str, IcebergType]] = {
    "string": StringType(),
    "bytes": BinaryType(),
    "int": IntegerType(),
    "long": LongType(),
    "float": FloatType(),
    "double": DoubleType(),
    "boolean": BooleanType(),
}
_LOGICAL: Final[dict[str, IcebergType]] = {
    "timestamp-micros": TimestamptzType(),
    "timestamp-millis": TimestamptzType(),
    "local-timestamp-micros": TimestampType(),
    "local-timestamp-millis": TimestampType(),
    "date": DateType(),
    "time-micros": TimeType(),
    "time-millis": TimeType(),
    "uuid": UUIDType(),
}


class NoColumn(ValueError):
    """No Iceberg type holds every value of an Avro type."""


def table_schema(kind: Kind, avro: Any | None) -> Schema:  # noqa: ANN401 (parsed JSON)
    """Return the schema of a table whose values have this Avro schema (None: plain bytes). Raises NoColumn.

    The catalog gives the columns ids of its own.
    """
    return Schema(*_Fields().columns(kind, avro))


class _Fields:
    def __init__(self) -> None:
        self._ids = count(1)
        self._named: dict[str, Any] = {}

    def columns(self, kind: Kind, avro: Any | None) -> Iterator[NestedField]:  # noqa: ANN401
        if avro is None:
            yield self._system("value", BinaryType(), "The event as received, byte for byte.")
            header = StructType(
                self._system("name", StringType(), "Name of the header.", required=True),
                self._system("value", BinaryType(), "Value of the header, byte for byte."),
            )
            headers = ListType(next(self._ids), header, element_required=True)
            yield self._system("headers", headers, "Record headers in their order. Names may repeat.", required=True)
            for name in ("event_id", "event_type", "biz_type"):
                yield self._system(name, StringType(), f"Header {name}; null if the event has no usable envelope.")
        else:
            yield from self._record(avro, all_optional=kind is Kind.CHANGE)
        yield self._system("_key", StringType(), "Key of the Kafka record.")
        yield self._system("_partition", IntegerType(), "Partition of the Kafka record.", required=True)
        yield self._system("_offset", LongType(), "Offset of the Kafka record.", required=True)
        yield self._system("_timestamp", TimestamptzType(), "Timestamp of the Kafka record, UTC.", required=True)
        if kind is Kind.EVENT:
            yield self._system("_raw_offset", LongType(), "Offset of the raw record, in the same partition number.")
        if kind is Kind.CHANGE:
            yield self._system("_deleted", BooleanType(), "True for a tombstone: the key is deleted.", required=True)
        if avro is not None:
            yield self._system("_schema_id", IntegerType(), "Registry id of the writer's schema.")

    def _system(self, name: str, of: IcebergType, doc: str, *, required: bool = False) -> NestedField:
        return NestedField(next(self._ids), name, of, required=required, doc=doc)

    def _record(self, avro: Any, *, all_optional: bool = False) -> list[NestedField]:  # noqa: ANN401
        self._named[avro["name"]] = avro
        fields = []
        for field in avro["fields"]:
            # FULL_TRANSITIVE lets a later version leave out a field that has a default.
            of, nullable = self._branch(field["type"])
            required = not (nullable or all_optional or "default" in field)
            fields.append(NestedField(next(self._ids), field["name"], of, required=required, doc=_doc(field)))
        return fields

    def _branch(self, avro: Any) -> tuple[IcebergType, bool]:  # noqa: ANN401
        """Return the type, and whether null is a value of it."""
        if not isinstance(avro, list):
            return self._type(avro), False
        branches = [branch for branch in avro if branch != "null"]
        if len(branches) != 1:
            raise NoColumn(f"the union {avro} has more than one type beside null")
        return self._type(branches[0]), len(branches) < len(avro)

    def _type(self, avro: Any) -> IcebergType:  # noqa: ANN401
        if isinstance(avro, str):
            if avro not in _PLAIN and avro not in self._named:
                raise NoColumn(f"the type {avro} is unknown")
            return _PLAIN[avro] if avro in _PLAIN else self._type(self._named[avro])
        if "logicalType" in avro:
            return self._logical(avro)
        if "name" in avro:
            self._named[avro["name"]] = avro
        makers: dict[str, Callable[[Any], IcebergType]] = {
            "record": self._struct,
            "array": self._list,
            "map": self._map,
            "fixed": lambda avro: FixedType(avro["size"]),
            "enum": lambda _: StringType(),
        }
        make = makers.get(str(avro["type"]))
        return self._type(avro["type"]) if make is None else make(avro)

    def _struct(self, avro: Any) -> IcebergType:  # noqa: ANN401
        # Parquet needs a value for a required member also where the record around it is null.
        return StructType(*self._record(avro, all_optional=True))

    def _list(self, avro: Any) -> IcebergType:  # noqa: ANN401
        of, nullable = self._branch(avro["items"])
        return ListType(next(self._ids), of, element_required=not nullable)

    def _map(self, avro: Any) -> IcebergType:  # noqa: ANN401
        of, nullable = self._branch(avro["values"])
        return MapType(next(self._ids), StringType(), next(self._ids), of, value_required=not nullable)

    def _logical(self, avro: Any) -> IcebergType:  # noqa: ANN401
        logical = avro["logicalType"]
        if logical == "decimal":
            return DecimalType(avro["precision"], avro.get("scale", 0))
        if logical not in _LOGICAL:
            raise NoColumn(f"the logical type {logical} has no column type")
        return _LOGICAL[logical]


def _doc(field: Any) -> str:  # noqa: ANN401
    """Return the comment of a column: the field's doc, and its class (ADR 22)."""
    found = f"Class: {field['class']}." if "class" in field else ""
    return f"{field.get('doc', '')} {found}".strip()


def by_day(schema: Schema) -> PartitionSpec:
    """Partition by day of the record's timestamp: old event times in one batch do not open many files."""
    timestamp = schema.find_field("_timestamp").field_id
    return PartitionSpec(PartitionField(timestamp, 1000, DayTransform(), "_day"))


def by_offset(schema: Schema) -> SortOrder:
    """Sort by partition and offset, as the worker writes."""
    return SortOrder(
        *(SortField(schema.find_field(name).field_id, IdentityTransform()) for name in ("_partition", "_offset"))
    )
