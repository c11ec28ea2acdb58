"""Reads an event field by field in Python.

It is the reference for the native path and reports why an event is rejected.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from broker_events.runtime.events.account_key import KEY_MEMBERS, utf8_bytes
from broker_events.runtime.events.amounts import parse_amount, scaled
from broker_events.runtime.events.event_plan import FieldKind, FieldPlan, Holder, RecordPlan
from broker_events.runtime.events.lossless_json import Number, excerpt, json_text, pointer_token, refuse_ambiguous
from broker_events.runtime.events.times import parse_time
from broker_events.schemas.invalid_event import InvalidEvent, Reason

_BITS = {FieldKind.INT: 31, FieldKind.LONG: 63}
_INTEGER_DIGITS = 19


def read_record(plan: RecordPlan, event: dict[str, Any], right: int = 0) -> dict[str, Any]:
    """Return the record of an envelope that `lossless_json` parsed and `check_envelope` accepted.

    Values are in storage form: times as int microseconds, amounts as bytes (two's complement of value * 10**18).
    `extra` holds the members that no field reads, as JSON text by JSON Pointer: of the envelope, the payload, then of
    array items. It also holds a field's unused source if its value differs from the used one.

    `right`: number of leading fields known to be valid. The search for the first problem starts after them.

    Raises `InvalidEvent` for the first problem in the order of the schema: missing_field, wrong_type, empty_id,
    too_large, duplicate_key, bad_amount, bad_time; too_deep for an unknown member that is nested too deeply.
    """
    nested: dict[str, str] = {}
    holders = {Holder.ENVELOPE: event, Holder.PAYLOAD: event["payload"]}
    try:
        if right:
            _read_fields(plan.fields[right:], holders, "", {})
        record, kept = _read_fields(plan.fields, holders, "", nested)
        for member in KEY_MEMBERS:
            if member not in plan.known[Holder.PAYLOAD]:
                refuse_ambiguous(event["payload"], member, f"/payload/{member}")
        extra = {
            **_unread(event, plan.known[Holder.ENVELOPE], kept, ""),
            **_unread(event["payload"], plan.known[Holder.PAYLOAD], kept, "/payload"),
            **nested,
        }
    except RecursionError as error:
        raise InvalidEvent(Reason.TOO_DEEP, "", "an unknown member is nested too deeply") from error
    return {**record, "extra": extra}


def _read_fields(
    fields: Iterable[FieldPlan], holders: Mapping[Holder, dict[str, Any]], base: str, nested: dict[str, str]
) -> tuple[dict[str, Any], set[str]]:
    """Return the values and the pointers of the members they keep. Unread members of items go to `nested`."""
    record: dict[str, Any] = {}
    kept: set[str] = set()
    for field in fields:
        found = None
        for holder, member, place in field.sources:
            pointer = base + place
            if not field.may_repeat:
                refuse_ambiguous(holders[holder], member, pointer)
            value = holders[holder].get(member)
            if value is None:
                continue
            if found is None:
                found = value
                record[field.name] = _READERS[field.kind](field, value, pointer, nested)
                kept.add(pointer)
            elif json_text(value) == json_text(found):
                kept.add(pointer)
        if found is None and field.nullable:
            record[field.name] = None
        elif found is None:
            raise InvalidEvent(Reason.MISSING_FIELD, base + field.sources[0].pointer, _expected(field.kind, "none"))
    return record, kept


def _read_text(field: FieldPlan, value: Any, pointer: str, _: dict[str, str]) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise _wrong_type(field.kind, value, pointer)
    if field.is_event_id and not value:
        raise InvalidEvent(Reason.EMPTY_ID, pointer, "expected a string that is not empty")
    return _bounded(field, value, pointer)


def _bounded(field: FieldPlan, text: str, pointer: str) -> str:
    if field.max_bytes is not None and (size := utf8_bytes(text)) > field.max_bytes:
        raise InvalidEvent(Reason.TOO_LARGE, pointer, f"expected at most {field.max_bytes} bytes, got {size}")
    return text


def _read_boolean(field: FieldPlan, value: Any, pointer: str, _: dict[str, str]) -> bool:  # noqa: ANN401
    if not isinstance(value, bool):
        raise _wrong_type(field.kind, value, pointer)
    return value


def _read_integer(field: FieldPlan, value: Any, pointer: str, _: dict[str, str]) -> int:  # noqa: ANN401
    if isinstance(value, Number):
        integer, bits = scaled(value.literal, 0, _INTEGER_DIGITS), _BITS[field.kind]
        if integer is not None and -(1 << bits) <= integer < 1 << bits:
            return integer
    raise _wrong_type(field.kind, value, pointer)


def _read_time(field: FieldPlan, value: Any, pointer: str, _: dict[str, str]) -> int:  # noqa: ANN401
    if not isinstance(value, str):
        raise _wrong_type(field.kind, value, pointer)
    try:
        return parse_time(value)
    except ValueError as error:
        raise InvalidEvent(Reason.BAD_TIME, pointer, f"{error}: {excerpt(value)}") from error


def _read_amount(field: FieldPlan, value: Any, pointer: str, _: dict[str, str]) -> bytes:  # noqa: ANN401
    if not isinstance(value, str | Number):
        raise _wrong_type(field.kind, value, pointer)
    try:
        return parse_amount(value.literal if isinstance(value, Number) else value)
    except ValueError as error:
        raise InvalidEvent(Reason.BAD_AMOUNT, pointer, f"{error}: {excerpt(value)}") from error


def _read_texts(field: FieldPlan, value: Any, pointer: str, _: dict[str, str]) -> list[str]:  # noqa: ANN401
    if not isinstance(value, list):
        raise _wrong_type(field.kind, value, pointer)
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise _wrong_type(FieldKind.STRING, item, f"{pointer}/{index}")
        _bounded(field, item, f"{pointer}/{index}")
    return value


def _read_records(field: FieldPlan, value: Any, pointer: str, nested: dict[str, str]) -> list[dict[str, Any]]:  # noqa: ANN401
    if not isinstance(value, list):
        raise _wrong_type(field.kind, value, pointer)
    return [_read_item(field.items, item, f"{pointer}/{index}", nested) for index, item in enumerate(value)]


_READERS: dict[FieldKind, Callable[[FieldPlan, Any, str, dict[str, str]], Any]] = {
    FieldKind.STRING: _read_text,
    FieldKind.BOOLEAN: _read_boolean,
    FieldKind.INT: _read_integer,
    FieldKind.LONG: _read_integer,
    FieldKind.TIME: _read_time,
    FieldKind.AMOUNT: _read_amount,
    FieldKind.STRINGS: _read_texts,
    FieldKind.RECORDS: _read_records,
}


def _read_item(plan: RecordPlan | None, item: Any, pointer: str, nested: dict[str, str]) -> dict[str, Any]:  # noqa: ANN401
    if plan is None or not isinstance(item, dict):
        raise _wrong_type(None, item, pointer)
    of_items: dict[str, str] = {}
    record, kept = _read_fields(plan.fields, {Holder.ITEM: item}, pointer, of_items)
    nested.update(_unread(item, plan.known[Holder.ITEM], kept, pointer))
    nested.update(of_items)
    return record


def _unread(members: dict[str, Any], known: frozenset[str], kept: set[str], base: str) -> dict[str, str]:
    """Return members without a field, null ones included, and known members whose value no field took."""
    unread = {}
    for name, value in members.items():
        pointer = f"{base}/{pointer_token(name)}"
        if name not in known or (value is not None and pointer not in kept and pointer != "/payload"):
            unread[pointer] = json_text(value)
    return unread


_EXPECTED = {
    FieldKind.STRING: "a string",
    FieldKind.BOOLEAN: "true or false",
    FieldKind.INT: "an integer of 32 bits",
    FieldKind.LONG: "an integer of 64 bits",
    FieldKind.TIME: "a string with a time",
    FieldKind.AMOUNT: "a string or number with an amount",
    FieldKind.STRINGS: "an array of strings",
    FieldKind.RECORDS: "an array of objects",
    None: "an object",
}


def _expected(kind: FieldKind | None, got: str) -> str:
    return f"expected {_EXPECTED[kind]}, got {got}"


def _wrong_type(kind: FieldKind | None, value: Any, pointer: str) -> InvalidEvent:  # noqa: ANN401  (any JSON)
    return InvalidEvent(Reason.WRONG_TYPE, pointer, _expected(kind, excerpt(value)))
