"""Proposes the contract of a new event type from one of its events. People then correct types and docs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from broker_events.schemas.field_classes import FieldClass, class_within
from broker_events.schemas.schema_rules import COMMON_FIELDS, DECIMAL, TIMESTAMP, Json

_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}(Z|[+-][0-9]{2}:?[0-9]{2})")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_AMOUNT: Final = re.compile(r"(^|_)(amount|balance|cost|fee|interest|net|price|quantity|rate|tax|total|value)$")
_CODE_NAME: Final = re.compile(r"(^|_)(code|codes|currency|direction|market|status|type)$")
_PROPERTIES: Final = ("name", "type", "default", "from", "class", "doc")
_CODE: Final = re.compile(r"[A-Z][A-Z_]{1,30}")
# Payload members that the common fields hold.
_COMMON: Final = {"biz_type", "account_id", "account"}
_REJECTED: Final = {
    "wrong_type--account-is-a-number": ("account", 93),
    "bad_time--timestamp-is-a-word": ("timestamp", "yesterday"),
}


class Proposal(NamedTuple):
    """The files of the folder by their path in it, and the payload members that have no field (they go to `extra`)."""

    files: dict[str, str]
    without_field: list[str]


def propose(name: str, event: Json, account_key: list[str], common: list[Json], extra: Json) -> Proposal:
    """Return the contract `name` for events like `event` (parsed JSON with an envelope).

    `account_key`: the members that give the key. `common`, `extra`: the first fields and the last of event schemas.
    Contains no accepted sample: the event is written as it is, and only the router's conversion gives its record.
    """
    payload = event["payload"]
    title = "".join(part.capitalize() for part in name.split("-"))
    fields, without = _fields(payload, _COMMON, title)
    schema = {
        "type": "record",
        "name": title,
        "namespace": "broker.events.v1",
        "doc": f"An event of type {payload['biz_type']}.",
    }
    return Proposal(
        {
            "contract.toml": _metadata(name, event, account_key),
            "schema.avsc": _schema_text(schema, [*common, *fields, extra]),
            **{f"samples/reject/{case}.json": _rejected(event, account_key[0], case) for case in _REJECTED},
        },
        without,
    )


def _metadata(name: str, event: Json, account_key: list[str]) -> str:
    return f"""owner = "broker-events"
channel = "where to ask the owner: a URL or the name of a chat channel"
version = "1.0.0"
description = "An event of type {event["payload"]["biz_type"]}."
source = "the brokerage's document that describes the event"
biz_type = {json.dumps(event["payload"]["biz_type"])}
event_type = {json.dumps(event["event_type"])}
account_key = {json.dumps(account_key)}

[[topics]]
name = "event.{name}"
key = "account key"
key_class = "personal"
cleanup = "delete"
retention_days = 30
promises = ["latency-derived", "retention-days", "order-account", "deduplication-event"]
"""


def _schema_text(schema: Json, fields: list[Json]) -> str:
    """One field per line, as in the other contracts."""
    head = json.dumps(schema, indent=2, ensure_ascii=False).removesuffix("\n}")
    lines = ",\n".join(f"    {json.dumps(field, ensure_ascii=False)}" for field in fields)
    return f'{head},\n  "fields": [\n{lines}\n  ]\n}}\n'


def _rejected(event: Json, account: str, case: str) -> str:
    member, value = _REJECTED[case]
    changed = (
        {**event, member: value} if member in event else {**event, "payload": {**event["payload"], account: value}}
    )
    return json.dumps(changed, indent=2, ensure_ascii=False) + "\n"


def _fields(
    members: Mapping[str, Any], skip: set[str], title: str, prefix: str = "/payload/"
) -> tuple[list[Json], list[str]]:
    """Return the fields for these JSON members, and the names of members without a field."""
    taken = {name for name, _, _ in COMMON_FIELDS} | {"extra"} if prefix == "/payload/" else set[str]()
    fields: list[Json] = []
    without: list[str] = []
    for member, value in members.items():
        if member in skip:
            continue
        name = _field_name(member)
        avro_type = _avro_type(name, value, title)
        if avro_type is None or not name.isidentifier() or name in taken:
            without.append(member)
            continue
        origin = prefix + member.replace("~", "~0").replace("/", "~1")
        taken.add(name)
        for field in _with_text(name, avro_type, value):
            if field["name"] != member:
                field["from"] = origin
            fields.append({key: field[key] for key in _PROPERTIES if key in field})
    return fields, without


def _with_text(name: str, avro_type: Any, value: object) -> Iterator[Json]:  # noqa: ANN401  (any JSON)
    doc = f"{name.replace('_', ' ').capitalize()}."
    field_class = _field_class(name, avro_type)
    if isinstance(value, str) and _CODE.fullmatch(value):
        doc += f" Observed values: {value}."
    yield {"name": name, "type": ["null", avro_type], "default": None, "class": field_class, "doc": doc}
    if avro_type == TIMESTAMP:
        yield {
            "name": f"{name}_text",
            "type": ["null", "string"],
            "default": None,
            "class": field_class,
            "doc": f"{name} as received, with all digits and the UTC offset.",
        }


def _field_class(name: str, avro_type: Any) -> FieldClass:  # noqa: ANN401  (any JSON)
    """Return `personal` for text, which may hold anything, unless the name says that it is a code."""
    inner = class_within(avro_type, {})
    if inner is not None:
        return inner
    is_text = avro_type == "string" or (isinstance(avro_type, dict) and avro_type["type"] == "array")
    return "personal" if is_text and not _CODE_NAME.search(name) else "internal"


def _field_name(member: str) -> str:
    """Return the member's name in snake_case."""
    return re.sub(r"\W", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", member)).lower()


def _avro_type(name: str, value: object, title: str) -> Any:  # noqa: ANN401  (any JSON)
    """Return the type of a value, None if one event cannot tell it."""
    avro_type: Any = None
    match value:
        case bool():
            avro_type = "boolean"
        case int() | float():
            avro_type = DECIMAL if isinstance(value, float) or _AMOUNT.search(name) else "long"
        case str() if _TIME.fullmatch(value):
            avro_type = TIMESTAMP
        case str():
            is_amount = _NUMBER.fullmatch(value) and (_AMOUNT.search(name) or "." in value)
            avro_type = DECIMAL if is_amount else "string"
        case [str(), *_]:
            avro_type = {"type": "array", "items": "string"}
        case [dict() as item, *_]:
            record = title + "".join(part.capitalize() for part in name.split("_"))
            if fields := _fields(item, set(), record, "/")[0]:
                doc = f"An item of {name}."
                items = {"type": "record", "name": record, "doc": doc, "fields": fields}
                avro_type = {"type": "array", "items": items}
    return avro_type
