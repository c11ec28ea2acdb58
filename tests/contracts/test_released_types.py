"""No field of a released contract has another type today, and none is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from released_types import FOLDER, types_by_contract

from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.field_types import TypeChange, field_types, type_changes

RELEASES = sorted(FOLDER.glob("*.json"))
TIME = {"type": "long", "logicalType": "timestamp-micros"}
INNER = {"type": "record", "name": "Inner", "fields": [{"name": "at", "type": TIME}]}


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.stem)
def test_fields_are_those_of_the_release(release: Path) -> None:
    released: dict[str, dict[str, str]] = json.loads(release.read_text(encoding="utf-8"))
    today = types_by_contract(load_catalog())
    changed = [
        f"{contract}: {path or 'the record'} is {was} in {release.stem} and {today.get(contract, {}).get(path)} today"
        for contract, types in released.items()
        for path, was in types.items()
        if today.get(contract, {}).get(path) != was
    ]
    assert changed == [], (
        "keep the field and its type, add a new nullable field instead (docs/adr/0019); see released_types.py"
    )


def test_a_release_is_recorded() -> None:
    assert RELEASES


def record(*types: Any, **more: Any) -> dict[str, Any]:
    fields = [{"name": name, "type": one} for name, one in zip("abcdef", types, strict=False)]
    return {"type": "record", "name": "R", "namespace": "n", "fields": fields, **more}


def test_types_in_words() -> None:
    schema = record(["null", INNER], {"type": "array", "items": "Inner"}, {"type": "map", "values": ["null", "R"]})
    assert field_types(schema) == {
        "": "record R",
        "a": "null or record Inner",
        "a.at": "long (timestamp-micros)",
        "b": "array of record Inner",
        "b.at": "long (timestamp-micros)",
        "c": "map of null or record R",
    }
    enum = {"type": "enum", "name": "n.E", "symbols": ["A", "B"]}
    fixed = {"type": "fixed", "name": "F", "size": 16, "logicalType": "decimal", "precision": 9}
    assert field_types(record(enum, fixed, {"type": {"type": "string"}, "avro.java.string": "String"})) == {
        "": "record R",
        "a": "enum E (symbols ['A', 'B'])",
        "b": "fixed F (decimal, precision 9, size 16)",
        "c": "string",
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int", "long"),
        ("long", "float"),
        ("float", "double"),
        ("string", "bytes"),
        ("bytes", "string"),
        ("string", {"type": "string", "logicalType": "uuid"}),
        ("string", ["null", "string"]),
        ({"type": "array", "items": "int"}, {"type": "array", "items": "long"}),
        ({"type": "map", "values": "int"}, {"type": "map", "values": "long"}),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, {"type": "enum", "name": "E", "symbols": ["A", "B"]}),
    ],
)
def test_no_promotion_is_equal(old: Any, new: Any) -> None:
    (change,) = type_changes(record(old), record(new))
    assert change.path == "a"
    assert type_changes(record(old), record(old, new)) == []


def test_a_change_far_inside() -> None:
    old = record({"type": "map", "values": {"type": "array", "items": ["null", INNER]}}, "Inner")
    inner = {**INNER, "fields": [{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}
    new = record({"type": "map", "values": {"type": "array", "items": ["null", inner]}}, "Inner")
    was, now = "long (timestamp-micros)", "long (timestamp-millis)"
    assert type_changes(old, new) == [TypeChange("a.at", was, now), TypeChange("b.at", was, now)]
    assert [change.new for change in type_changes(old, record("string"))] == ["string", None, None, None]
