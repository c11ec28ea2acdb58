"""Makes the marker that replaces an event too large for a record (see `schemas.oversized`). Pure."""

import hashlib
import json
import re
from typing import Any, Final

from broker_events.ingest import raw_record
from broker_events.ingest.raw_record import RawRecord, iso_micros
from broker_events.ingest.sources.source import Received
from broker_events.runtime.events.account_key import account_key
from broker_events.schemas.headers import SIMULATED
from broker_events.schemas.invalid_event import Reason
from broker_events.schemas.oversized import CONTENT_BYTES, CONTENT_SHA256, ERROR

HEAD_BYTES: Final = 64 * 1024
"""Bytes of the event that are searched for its id, types, position and account."""
# The marker leaves out a longer id, account or position.
_TEXT_BYTES: Final = 4096
_SHOWN_BYTES: Final = 256

_GAP: Final = re.compile(r"[ \t\n\r]*")
# Numbers stay text, so a million digits cost no conversion.
_JSON: Final = json.JSONDecoder(parse_int=str, parse_float=str)


def to_marker(received: Received, source: str, limit: int) -> RawRecord:
    """Make the marker of an event of more than `limit` bytes; raises nothing, whatever the bytes are.

    Its key is the account key by the payload's members in the first 64 KiB; None where they name no account.
    """
    head = received.payload[:HEAD_BYTES]
    size, digest = received.whole or (len(received.payload), hashlib.sha256(received.payload).hexdigest())
    event = _members(head.decode("utf-8", "backslashreplace"), 0)
    payload = event.get("payload") if "event_type" in event or not received.event_type else event
    payload = payload if isinstance(payload, dict) else {}
    if payload is event:
        event = {}
    event_id = _bounded(event.get("id")) or _bounded(received.event_id)
    event_type = _bounded(event.get("event_type")) or _bounded(received.event_type)
    biz_type = _bounded(payload.get("biz_type"))
    position = _bounded(received.position) or _bounded(event.get("position"))
    timestamp = _bounded(event.get("timestamp")) or _bounded(received.timestamp)
    place = f"line {received.line} of {received.file}" if received.file else "at the brokerage"
    detail = (
        f"{size} bytes, SHA-256 {digest}; a raw record holds {limit} (PIPELINE_MAX_MESSAGE_BYTES). "
        f"The event is not in Kafka, it is {place}"
    )
    about = {
        "bytes": size,
        "sha256": digest,
        "file": received.file,
        "line": received.line,
        "begins": head[:_SHOWN_BYTES].decode("utf-8", "backslashreplace"),
    }
    members: dict[str, object] = {
        "id": event_id,
        "event_type": event_type,
        "position": position,
        "timestamp": timestamp,
    }
    members |= {"too_large": {name: content for name, content in about.items() if content}}
    fields = (
        (raw_record.SOURCE, source),
        (raw_record.RECEIVED_AT, iso_micros(received.received_at)),
        (raw_record.EVENT_ID, event_id),
        (raw_record.EVENT_TYPE, event_type),
        (raw_record.BIZ_TYPE, biz_type),
        (raw_record.POSITION, position),
        (raw_record.VERSION, _bounded(received.version)),
        (raw_record.FILE, received.file),
        (raw_record.LINE, str(received.line or "")),
        (SIMULATED, "true" if received.simulated else ""),
        (CONTENT_BYTES, str(size)),
        (CONTENT_SHA256, digest),
        (ERROR, f"{Reason.TOO_LARGE}: {detail}"),
    )
    value = json.dumps({name: content for name, content in members.items() if content}).encode()
    key = _bounded(account_key(payload)) or None
    return raw_record.record(value, key, fields, (event_id, event_type, biz_type, position))


def _bounded(text: object) -> str:
    """Return the text; empty where it is no text, too long, or not valid UTF-8."""
    try:
        return text if isinstance(text, str) and len(text.encode()) <= _TEXT_BYTES else ""
    except UnicodeEncodeError:
        return ""


def _members(text: str, at: int, *, depth: int = 0) -> dict[str, Any]:
    """Return the members of the JSON object at `at` up to where the text ends, also of a `payload` that is cut off."""
    found: dict[str, Any] = {}
    try:
        at = _after(text, at, "{")
        while True:
            name, at = _JSON.raw_decode(text, _after(text, at))
            at = _after(text, _after(text, at, ":"))
            if name == "payload" and depth == 0:
                found[name] = _members(text, at, depth=1)
            found[name], at = _JSON.raw_decode(text, at)
            at = _after(text, at, ",")
    except (ValueError, TypeError, RecursionError):  # end of the text, or no JSON
        return found


def _after(text: str, at: int, sign: str = "") -> int:
    """Return the index after white space and then this sign; raises ValueError for another sign."""
    gap = _GAP.match(text, at)
    at = at if gap is None else gap.end()
    if not text.startswith(sign, at):
        raise ValueError(at)
    return at + len(sign)
