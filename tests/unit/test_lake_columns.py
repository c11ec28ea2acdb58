"""Avro values as columns: native and Python paths equal, every type, and nothing that is not one whole record."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.frame import frame
from broker_events.sinks.lake.avro_columns import AvroColumns, Undecodable
from broker_events.sinks.lake.digest import digest
from broker_events.sinks.lake.iceberg.data_files import DoesNotFit, fitted
from broker_events.sinks.lake.iceberg.schema import NoColumn, table_schema
from broker_events.sinks.lake.ledger import Ledger, LedgerDamaged
from broker_events.sinks.lake.tables import Kind, lake_tables

CATALOG = load_catalog()
NESTED: dict[str, Any] = {
    "type": "record",
    "name": "Part",
    "fields": [{"name": "code", "type": "string"}, {"name": "amount", "type": ["null", "long"], "default": None}],
}
# Every type of Avro that has a column.
EVERY: dict[str, Any] = {
    "type": "record",
    "name": "Every",
    "fields": [
        {"name": name, "type": ["null", kind], "default": None}
        for name, kind in {
            "text": "string",
            "raw": "bytes",
            "small": "int",
            "big": "long",
            "flag": "boolean",
            "single": "float",
            "real": "double",
            "amount": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18},
            "micros": {"type": "long", "logicalType": "timestamp-micros"},
            "millis": {"type": "long", "logicalType": "timestamp-millis"},
            "local": {"type": "long", "logicalType": "local-timestamp-micros"},
            "day": {"type": "int", "logicalType": "date"},
            "clock": {"type": "long", "logicalType": "time-micros"},
            "part": NESTED,
            "parts": {"type": "array", "items": "Part"},
            "by_name": {"type": "map", "values": "Part"},
            "tags": {"type": "map", "values": "string"},
            "mark": {"type": "fixed", "name": "Mark", "size": 4},
            "kind": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]},
        }.items()
    ],
}
FULL: dict[str, Any] = {
    "text": "ä\0𝄞",
    "raw": b"\x00\xff",
    "small": -(2**31),
    "big": 2**63 - 1,
    "flag": True,
    "single": 0.5,
    "real": 1e300,
    "amount": Decimal(-(10**38 - 1)).scaleb(-18, Context(prec=40)),
    "micros": datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    "millis": datetime(2026, 1, 31, 9, 30, 0, 1000, UTC),
    "local": datetime(2026, 1, 31, 9, 30),  # noqa: DTZ001 (it has no zone)
    "day": date(1969, 1, 1),
    "clock": time(23, 59, 59, 999999),
    "part": {"code": "c", "amount": None},
    "parts": [{"code": "d", "amount": 1}, {"code": "", "amount": -1}],
    "by_name": {"x": {"code": "e", "amount": 2}},
    "tags": {"k": "v", "": ""},
    "mark": b"\0\1\2\3",
    "kind": "B",
}


def value(schema: Any, record: Any, schema_id: int = 7) -> bytes:
    out = io.BytesIO()
    out.write(frame(schema_id))
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


def columns(schema: Any, values: list[bytes], *, native: bool = True) -> pa.Table:
    decoder = AvroColumns(schema, lambda _: json.dumps(schema))
    if not native:
        decoder.writer(values[0][:5], 0)._bodies = None
    [(schema_id, places, rows)] = decoder.decode(values)
    assert (schema_id, places) == (7, [*range(len(values))])
    return rows


@pytest.mark.parametrize("native", [True, False])
def test_every_type_keeps_its_value(native: bool) -> None:  # noqa: FBT001 (a parameter)
    rows = columns(EVERY, [value(EVERY, FULL), value(EVERY, {}), value(EVERY, FULL)], native=native)
    fit = fitted(rows.append_column("_partition", pa.array([0, 0, 0], pa.int32())), _without_system(EVERY))
    first, empty, last = fit.drop_columns(["_partition"]).to_pylist()
    assert first == last == {**FULL, "by_name": [*FULL["by_name"].items()], "tags": [*FULL["tags"].items()]}
    assert set(empty.values()) == {None}


def _without_system(schema: Any) -> Any:
    return table_schema(Kind.RECORD, schema).select(*(field["name"] for field in schema["fields"]), "_partition")


@pytest.mark.parametrize("name", [name for name, table in lake_tables(CATALOG).items() if table.contract.schema])
def test_native_and_python_columns_are_equal(name: str) -> None:
    contract = lake_tables(CATALOG)[name].contract
    fields = contract.schema["fields"] if contract.schema else []
    record = {field["name"]: _sample(field["type"]) for field in fields}
    values = [value(contract.schema, record)] * 3
    one, other = (columns(contract.schema, values, native=native) for native in (True, False))
    assert one.num_rows == 3
    assert digest(one) == digest(other)


def _sample(kind: Any, depth: int = 0) -> Any:  # noqa: PLR0911 (one per type)
    """Return a value that is not null where null is one of the choices, to some depth."""
    if isinstance(kind, list):
        return _sample(next(each for each in kind if each != "null"), depth)
    if isinstance(kind, str):
        return {"string": "text", "long": 5, "int": 3, "boolean": True, "bytes": b"\1"}.get(kind)
    match kind.get("logicalType") or kind["type"]:
        case "decimal":
            return Decimal("-1.5")
        case "timestamp-micros":
            return datetime(2026, 1, 31, tzinfo=UTC)
        case "record":
            return {field["name"]: _sample(field["type"], depth + 1) for field in kind["fields"]}
        case "array" | "map" as shape:
            return [] if shape == "array" else {}
        case other:
            return _sample(other, depth)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("change", [lambda v: v + b"\0", lambda v: v[:-1], lambda v: b"\1" + v[1:], lambda _: b""])
def test_what_is_not_one_whole_record_is_refused_with_its_place(native: bool, change: Any) -> None:  # noqa: FBT001
    good = value(EVERY, FULL)
    decoder = AvroColumns(EVERY, lambda _: json.dumps(EVERY))
    if not native:
        decoder.writer(good[:5], 0)._bodies = None
    with pytest.raises(Undecodable) as problem:
        decoder.decode([good, good, change(good), good])
    assert problem.value.index == 2


def test_a_writer_with_another_type_is_refused() -> None:
    other = json.loads(json.dumps(EVERY).replace('"scale": 18', '"scale": 2'))
    decoder = AvroColumns(EVERY, lambda _: json.dumps(other))
    with pytest.raises(Undecodable, match="scale 2"):
        decoder.decode([value(other, {})])


def test_records_of_two_versions_are_decoded_by_their_own() -> None:
    newer = {**EVERY, "fields": [*EVERY["fields"], {"name": "more", "type": ["null", "string"], "default": None}]}
    texts = {7: json.dumps(EVERY), 8: json.dumps(newer)}
    found = AvroColumns(EVERY, texts.__getitem__).decode(
        [value(newer, {"more": "m"}, 8), value(EVERY, FULL), value(newer, {"more": "n"}, 8)]
    )
    assert [(schema_id, places) for schema_id, places, _ in found] == [(8, [0, 2]), (7, [1])]
    assert found[0][2].column("more").to_pylist() == ["m", "n"]


def test_a_union_of_two_types_has_no_column() -> None:
    with pytest.raises(NoColumn):
        table_schema(Kind.RECORD, {"type": "record", "name": "R", "fields": [{"name": "u", "type": ["int", "string"]}]})


def test_a_missing_required_value_and_an_unknown_column_do_not_fit() -> None:
    schema = table_schema(Kind.RAW, None)
    with pytest.raises(DoesNotFit, match="headers"):
        fitted(pa.table({"value": [b"x"]}), schema)
    with pytest.raises(DoesNotFit, match="other"):
        fitted(pa.table({"other": [1]}), schema)


@pytest.mark.parametrize(
    "rows",
    [
        pa.table({"x": [[1, 2], None, [], [3]]}),
        pa.table({"x": pa.array([{"a": "b"}, None, {"a": None}])}),
        pa.table({"x": ["", None, "a", "bc"]}),
        pa.table({"x": pa.array([True, None, False, True])}),
        pa.table({"x": pa.array([[("k", 1)], None, [], [("l", None)]], pa.map_(pa.string(), pa.int64()))}),
        pa.table({"x": pa.array([Decimal(1), None, Decimal(-1), Decimal(0)], pa.decimal128(38, 18))}),
    ],
)
def test_a_digest_depends_on_the_values_alone(rows: pa.Table) -> None:
    whole = digest(rows)
    cut = pa.concat_tables([rows.slice(0, 1), rows.slice(1, 2), rows.slice(3)])
    assert digest(cut) == whole
    assert digest(pa.concat_tables([rows, rows]).slice(len(rows))) == whole
    others = {
        digest(rows.take([1, 0, 2, *range(3, len(rows))])),
        digest(rows.slice(1)),
        digest(rows.take([0] * len(rows))),
    }
    assert whole not in others


LEDGER = Ledger(3, "lake-0", "cluster", "broker.raw", "id", "commit", {0: 5}, {0: 9, 1: 2}, {0: 4})


def test_a_ledger_survives_its_properties() -> None:
    assert Ledger.of({**LEDGER.properties(), "other": "x"}) == LEDGER
    assert Ledger.of({"other": "x"}) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"0": "x"}'])
def test_a_damaged_ledger_is_refused(text: str) -> None:
    with pytest.raises(LedgerDamaged):
        Ledger.of({**LEDGER.properties(), "broker-events.offsets": text})


def test_a_ledger_advances() -> None:
    after = LEDGER.advanced({1: 7}, {1: 3}, "next")
    assert (after.offsets, after.rows, after.commit_id) == ({0: 9, 1: 7}, {0: 4, 1: 3}, "next")
    assert LEDGER.follows(LEDGER)
    assert not after.follows(LEDGER)
