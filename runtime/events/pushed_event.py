"""Parses an event's bytes to its envelope: `{"id", "event_type", "position", "timestamp", "payload": {...}}`."""

from typing import Any

from broker_events.runtime.events import lossless_json
from broker_events.runtime.events.lossless_json import Document
from broker_events.schemas.invalid_event import InvalidEvent, Reason

_TEXT_MEMBERS = ("id", "event_type", "timestamp")


def parse_event(value: bytes | None) -> Document:
    """Parse an event: id (not empty), event_type and timestamp are strings, payload is an object.

    Does not check other members. Raises `InvalidEvent` with no_value, not_utf8, not_json, too_deep, no_envelope,
    duplicate_key, wrong_type, empty_id or no_payload.
    """
    if not value:
        raise InvalidEvent(Reason.NO_VALUE, "", "the record has no value")
    document = lossless_json.parse(value)
    check_envelope(document.root)
    return document


def check_envelope(event: object) -> dict[str, Any]:
    """Return `event`, parsed by `lossless_json`, if it is an envelope. Otherwise raise as `parse_event` does."""
    if not isinstance(event, dict):
        raise InvalidEvent(Reason.NO_ENVELOPE, "", f"expected an object, got {lossless_json.excerpt(event)}")
    for member in _TEXT_MEMBERS:
        if member not in event:
            raise InvalidEvent(Reason.NO_ENVELOPE, f"/{member}", f"expected a member {member}, got none")
    for member in (*_TEXT_MEMBERS, "payload"):
        lossless_json.refuse_ambiguous(event, member, f"/{member}")
    for member in _TEXT_MEMBERS:
        if not isinstance(event[member], str):
            got = lossless_json.excerpt(event[member])
            raise InvalidEvent(Reason.WRONG_TYPE, f"/{member}", f"expected a string, got {got}")
    if not event["id"]:
        raise InvalidEvent(Reason.EMPTY_ID, "/id", "expected a string that is not empty")
    if not isinstance(event.get("payload"), dict):
        got = lossless_json.excerpt(event["payload"]) if "payload" in event else "none"
        raise InvalidEvent(Reason.NO_PAYLOAD, "/payload", f"expected an object, got {got}")
    return event
