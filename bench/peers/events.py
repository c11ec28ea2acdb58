"""An event's JSON to framed Avro as a Python user would: one pass over the schema's fields, then fastavro.

It does less than the router it is measured beside: members that no field reads are not looked for, so the map `extra`
is always empty, and a bad value is an exception. Needs orjson and fastavro; the job file brings the schemas.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import orjson

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def read_job(path: str) -> dict[str, Any]:
    job: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return job


class Route(NamedTuple):
    """Where events of a type go and how they are encoded: frame, schema, fields."""

    topic: str
    frame: bytes
    schema: Any
    fields: list[Any]


Convert = dict[str, Callable[[str], Any]]


class Typing:
    """`encode(value) -> (topic, framed Avro)` and `record(event) -> record` for all types of a job."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._routes = {
            biz_type: Route(
                route["topic"],
                b"\x00" + route["schema_id"].to_bytes(4, "big"),
                fastavro.parse_schema(_without_logical_types(route["schema"])),
                _plan(route["schema"]["fields"], of_items=False),
            )
            for biz_type, route in job["routes"].items()
        }

    def encode(self, value: bytes) -> tuple[str, bytes]:
        event = orjson.loads(value)
        payload = event["payload"]
        route = self._routes[payload["biz_type"]]
        out = io.BytesIO()
        out.write(route.frame)
        fastavro.schemaless_writer(out, route.schema, _record(route.fields, event, payload, _NUMBERS))
        return route.topic, out.getvalue()

    def record(self, event: dict[str, Any]) -> dict[str, Any]:
        """Datetimes and Decimals, as serializers take them."""
        payload = event["payload"]
        return _record(self._routes[payload["biz_type"]].fields, event, payload, _OBJECTS)


def _plan(fields: list[Any], *, of_items: bool) -> list[Any]:
    """(name, [(in the payload or item, member)], kind, plan of an array's items) for each field."""
    plan = []
    for field in fields:
        origin = field.get("from", f"{'' if of_items else '/payload'}/{field['name']}")
        if origin == "*":
            continue
        pointers = [pointer.split("/")[1:] for pointer in (origin if isinstance(origin, list) else [origin])]
        members = [(of_items or len(pointer) > 1, pointer[-1]) for pointer in pointers]
        kind = field["type"][1] if isinstance(field["type"], list) else field["type"]
        name = kind if isinstance(kind, str) else kind.get("logicalType", kind["type"])
        items = kind["items"]["fields"] if name == "array" and isinstance(kind["items"], dict) else None
        plan.append((field["name"], members, name, None if items is None else _plan(items, of_items=True)))
    return plan


def _record(plan: list[Any], event: dict[str, Any], holder: dict[str, Any], convert: Convert) -> dict[str, Any]:
    record: dict[str, Any] = {"extra": {}}
    for name, members, kind, items in plan:
        value = None
        for inside, member in members:
            value = (holder if inside else event).get(member)
            if value is not None:
                break
        if value is not None:
            if kind in convert:
                value = convert[kind](value)
            elif items is not None:
                value = [_record(items, event, item, convert) for item in value]
        record[name] = value
    return record


def _unscaled(text: str) -> bytes:
    number = int(Decimal(text).scaleb(18))
    magnitude = number if number >= 0 else ~number
    return number.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)


def _microseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND


_NUMBERS: Convert = {"timestamp-micros": _microseconds, "decimal": _unscaled}
_OBJECTS: Convert = {"timestamp-micros": datetime.fromisoformat, "decimal": Decimal}


def _without_logical_types(schema: Any) -> Any:  # noqa: ANN401 (any JSON)
    """Return the schema for ints and bytes: fastavro is at its fastest without datetimes and Decimals."""
    if isinstance(schema, list):
        return [_without_logical_types(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if "logicalType" in schema:
        return schema["type"]
    return {key: _without_logical_types(part) for key, part in schema.items() if key not in ("from", "doc", "default")}
