"""What to do for each field of an event's schema: the common ground of the plain reading and the fast one."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Any, NamedTuple

from broker_events.schemas.catalog import Contract, ContractError
from broker_events.schemas.schema_rules import DECIMAL, MAX_ID_BYTES, TIMESTAMP


class FieldKind(IntEnum):  # not Enum, whose members take long as keys of a dict
    """How a JSON value becomes an Avro value."""

    STRING = auto()
    BOOLEAN = auto()
    INT = auto()
    LONG = auto()
    TIME = auto()
    AMOUNT = auto()
    STRINGS = auto()
    RECORDS = auto()


class Holder(IntEnum):
    """The JSON object that a member is read from."""

    ENVELOPE = auto()
    PAYLOAD = auto()
    ITEM = auto()


_NAMED = {"string": FieldKind.STRING, "boolean": FieldKind.BOOLEAN, "int": FieldKind.INT, "long": FieldKind.LONG}


class FieldSource(NamedTuple):
    """A member that a value may come from; `pointer` is its JSON Pointer from the envelope, or the array's item."""

    holder: Holder
    member: str
    pointer: str


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """A field: the first of `sources` that is there and not null gives the value. `items` is set for RECORDS.

    `is_event_id`: this is the event's identity, which must not be empty. `max_bytes`: how many bytes of UTF-8 each of
    its strings may have, None for free text. `may_repeat`: the member may come again with another value, and the last
    one counts.
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
    """A record's fields in schema order, without `extra`; `known`: the members of each holder that are not extra."""

    fields: tuple[FieldPlan, ...]
    known: Mapping[Holder, frozenset[str]]


def plan_event(contract: Contract) -> RecordPlan:
    """Plan the events of a contract.

    Raises `ContractError` for a contract without a schema, and for an origin that is neither a member of the envelope
    nor of the payload (or, within an array, of the item).
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
            raise ContractError(path, name, f"no event can have the type {avro_type}")
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
            path, f"{name}.from", f"{pointer} is no member of {'an item' if of_items else 'the payload'}"
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
