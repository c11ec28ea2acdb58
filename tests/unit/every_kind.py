"""A contract with every kind of field that an event can have, more than the broker's events need."""

from pathlib import Path
from typing import Any

from broker_events.schemas.catalog import Contract, Lifecycle
from broker_events.schemas.schema_rules import COMMON_FIELDS, DECIMAL, EXTRA_TYPE, TIMESTAMP


def nullable(avro_type: Any) -> list[Any]:
    return ["null", avro_type]


def field(name: str, avro_type: Any, origin: str | list[str] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "type": avro_type, "doc": "."}
    if isinstance(avro_type, list):
        made["default"] = None
    if origin is not None:
        made["from"] = origin
    return made


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def record(name: str, *fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "doc": ".", "fields": list(fields)}


LEG = record(
    "Leg",
    field("code", "string", ["/code", "/legacy_code"]),
    field("at", nullable(TIMESTAMP)),
    field("at_text", nullable("string"), "/at"),
    field("shares", nullable(array(record("Share", field("of", "string"), field("rate", DECIMAL))))),
)
SCHEMA: dict[str, Any] = {
    **record(
        "EveryKind",
        *(field(name, avro_type, origin) for name, avro_type, origin in COMMON_FIELDS),
        field("flag", "boolean"),
        field("maybe_flag", nullable("boolean")),
        field("small", nullable("int")),
        field("large", nullable("long")),
        field("amount", DECIMAL, ["/payload/amount", "/payload/quantity", "/payload/size"]),
        field("fee", nullable(DECIMAL)),
        field("made", nullable(TIMESTAMP)),
        field("made_text", nullable("string"), "/payload/made"),
        field("odd", nullable("string"), "/payload/a~1b~0'\\c"),
        field("trace", nullable("string"), "/trace"),
        {**field("remark", nullable("string")), "free_text": True, "may_repeat": True},
        field("codes", array("string")),
        field("maybe_codes", nullable(array("string"))),
        field("legs", nullable(array(LEG))),
        field("extra", EXTRA_TYPE, "*"),
    ),
    "namespace": "test",
}


def contract(schema: dict[str, Any] = SCHEMA) -> Contract:
    return Contract(
        name="every-kind",
        folder=Path("every-kind"),
        owner="me",
        channel=".",
        version="1.0.0",
        lifecycle=Lifecycle(status="active"),
        description=".",
        source=".",
        biz_type="EVERY_KIND",
        event_type="TEST",
        account_key=None,
        value_class="personal",
        topics=(),
        schema=schema,
        schema_text="",
    )


def event(**payload: Any) -> dict[str, Any]:
    """An event of the contract; a member of value ... is left out."""
    return {
        "id": "event_1",
        "event_type": "TEST",
        "timestamp": "2025-03-29T07:02:33.200962333Z",
        "payload": {
            name: value
            for name, value in {
                "biz_type": "EVERY_KIND",
                "flag": True,
                "amount": "1000.00",
                "codes": ["A", "B"],
                **payload,
            }.items()
            if value is not ...
        },
    }
