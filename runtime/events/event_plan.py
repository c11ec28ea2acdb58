"""How to read each field of an event's schema. The Python path and the native path share these plans."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Any, NamedTuple

from broker_events.schemas.catalog import Contract, ContractError
from broker_events.schemas.schema_rules import DECIMAL, MAX_ID_BYTES, TIMESTAMP


class FieldKind(IntEnum):  # not Enum: its members are slow dict keys
    """How to convert a JSON value to an Avro value."""

    STRING = auto()
    BOOLEAN = auto()
    INT = auto()
    LONG = auto()
    TIME = auto()
    AMOUNT = auto()
    STRINGS = auto()
    RECORDS = auto()


class Holder(IntEnum):
    """The JSON object that contains a member."""

    ENVELOPE = auto()
    PAYLOAD = auto()
    ITEM = auto()


_NAMED = {"string": FieldKind.STRING, "boolean": FieldKind.BOOLEAN, "int": FieldKind.INT, "long": FieldKind.LONG}


class FieldSource(NamedTuple):
    """A member that can supply a value. `pointer` is its JSON Pointer from the envelope or the array's item."""

    holder: Holder
    member: str
    pointer: str


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """A field. The first of `sources` that is not null supplies the value. `items` is set for RECORDS.

    `is_event_id`: the field is the event's id and must not be empty. `max_bytes`: maximum UTF-8 bytes of each string,
    None for free text. `may_repeat`: the member may occur again with another value; the last one counts.
    """

    name: str
    kind: FieldKind
    nullable: bool
    sources: tuple[FieldSource, ...]
    items: "RecordPlan | None"
    is_event_id: bool
    max_bytes: int | None
    may_repeat: bool


@dataclass(frozen=True, slots=True)
class RecordPlan:
    """A record's fields in schema order, without `extra`. `known`: per holder, the members that are not extra."""

    fields: tuple[FieldPlan, ...]
    known: Mapping[Holder, frozenset[str]]


def plan_event(contract: Contract) -> RecordPlan:
    """Return the plan for a contract's events.

    Raises `ContractError` if the contract has no schema, or if an origin is not a member of the envelope or payload
    (in an array: of the item).
    """
    path = contract.folder / "schema.avsc"
    if contract.schema is None:
        raise ContractError(path, "", "is missing")

    def plan(fields: list[dict[str, Any]], of_items: bool) -> RecordPlan:  # noqa: FBT001  (two callers, both below)
        plans = tuple(plan_field(field, of_items) for field in fields if field.get("from") != "*")
        known = {
            holder: frozenset(source.member for field in plans for source in field.sources if source.holder is holder)
            for holder in Holder
        }
        known[Holder.ENVELOPE] |= {"payload"}
        return RecordPlan(plans, known)

    def plan_field(field: dict[str, Any], of_items: bool) -> FieldPlan:  # noqa: FBT001
        name = field["name"]
        nullable = isinstance(field["type"], list)
        avro_type = field["type"][1] if nullable else field["type"]
        default = f"/{name}" if of_items else f"/payload/{name}"
        origin = field.get("from", default)
        pointers = origin if isinstance(origin, list) else [origin]
        sources = tuple(source(name, pointer, of_items) for pointer in pointers)
        kind = _kind(avro_type)
        if kind is None:
            raise ContractError(path, name, f"events do not support the type {avro_type}")
        items = plan(avro_type["items"]["fields"], of_items=True) if kind is FieldKind.RECORDS else None
        is_event_id = sources[0].holder is Holder.ENVELOPE and sources[0].member == "id"
        max_bytes = None if field.get("free_text") else MAX_ID_BYTES
        return FieldPlan(name, kind, nullable, sources, items, is_event_id, max_bytes, bool(field.get("may_repeat")))

    def source(name: str, pointer: str, of_items: bool) -> FieldSource:  # noqa: FBT001
        steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
        match steps:
            case [member] if of_items:
                return FieldSource(Holder.ITEM, member, pointer)
            case [member] if member != "payload" and not of_items:
                return FieldSource(Holder.ENVELOPE, member, pointer)
            case ["payload", member] if not of_items:
                return FieldSource(Holder.PAYLOAD, member, pointer)
        raise ContractError(
            path, f"{name}.from", f"{pointer} is not a member of {'an item' if of_items else 'the payload'}"
        )

    return plan(contract.schema["fields"], of_items=False)


def _kind(avro_type: Any) -> FieldKind | None:  # noqa: ANN401  (any JSON)
    if isinstance(avro_type, str):
        return _NAMED.get(avro_type)
    match avro_type:
        case {"type": "array", "items": "string"}:
            return FieldKind.STRINGS
        case {"type": "array", "items": {"type": "record"}}:
            return FieldKind.RECORDS
    if avro_type == TIMESTAMP:
        return FieldKind.TIME
    return FieldKind.AMOUNT if avro_type == DECIMAL else None
