"""Masked records hide what is personal, in every depth, and keep the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from broker_events.runtime.events.record_json import json_line
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.field_classes import CLASSES
from broker_events.schemas.masking import HIDDEN, mask, masked
from broker_events.schemas.models import FIELD_CLASSES, RECORDS, Header, QuarantinedEvent, Record
from broker_events.schemas.schema_rules import records

CATALOG = load_catalog()
SAMPLES = sorted(next(iter(CATALOG.events.values())).folder.parent.glob("*/samples/accept/*.record.json"))


def typed(path: Path) -> Record:
    schema = next(one.schema for one in CATALOG.events.values() if one.folder == path.parents[2])
    assert schema is not None
    return RECORDS[f"{schema['namespace']}.{schema['name']}"].model_validate_json(path.read_bytes())


def test_every_field_of_every_record_has_a_class() -> None:
    for contract in CATALOG.contracts.values():
        for _, record in records(contract.schema):
            classes = {field["name"]: field["class"] for field in record["fields"]}
            assert dict(FIELD_CLASSES[record["name"]]) == classes
            assert set(classes.values()) <= set(CLASSES)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parents[2].name}-{path.stem}")
def test_no_personal_value_of_a_sample_is_left(path: Path) -> None:
    record = typed(path)
    classes = FIELD_CLASSES[type(record).__name__]
    shown = masked(record)
    assert list(shown) == list(type(record).model_fields)
    for name, field_class in classes.items():
        value = getattr(record, name)
        if field_class in {"public", "internal"}:
            assert shown[name] == value or shown[name] == list(value)
        elif value and not isinstance(value, tuple):
            assert shown[name] != value
            assert str(shown[name]).startswith(HIDDEN)
    text = json_line(shown)
    account = str(record.model_dump()["account_id"] or "")
    assert not account or account not in text


def test_records_in_fields_lists_and_maps() -> None:
    header = Header(name="source", value=b"\x00SIMULATOR")
    event: Any = dict.fromkeys(QuarantinedEvent.model_fields)
    event |= {"reason": "not_json", "stage": "router", "topic": "t", "partition": 0, "offset": 1, "worker": "router"}
    shown = masked(QuarantinedEvent(**event | {"headers": (header, header), "key": b"J6HA4E"}))
    assert shown["headers"] == [{"name": "source", "value": HIDDEN}] * 2
    assert (shown["key"], shown["value"], shown["reason"]) == (HIDDEN, None, "not_json")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("12345678", "…5678"),
        ("1234567", HIDDEN),
        ("R01 account closed", HIDDEN),
        (b"12345678", HIDDEN),
        ({"/payload/ssn": '"1"'}, HIDDEN),
        ({}, {}),
        (None, None),
        (0, HIDDEN),
        (False, HIDDEN),
    ],
)
def test_what_remains_of_a_value(value: object, expected: object) -> None:
    assert mask(value) == expected
    assert mask(value, "secret") == (expected if not value and value not in (0, False) else HIDDEN)


def test_a_shown_class_is_a_choice() -> None:
    record = typed(next(path for path in SAMPLES if path.parents[2].name == "transfer"))
    everything = masked(record, frozenset(CLASSES))
    assert json.loads(json_line(everything)) == json.loads(json_line(record.model_dump()))
