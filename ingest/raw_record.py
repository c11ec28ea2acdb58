"""Makes the record of the raw topic from an event as received.

The value is the envelope's JSON bytes as received. A push message may carry only the inner payload object. Then the
bridge builds the envelope from the message's fields around the payload, whose bytes stay unchanged. An event without a
usable envelope stays as received; an ERROR header gives the reason, and further headers the message's fields.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from broker_events.ingest.sources.source import Received
from broker_events.native import extension
from broker_events.runtime.events import lossless_json
from broker_events.runtime.events.account_key import account_key
from broker_events.runtime.events.trace_context import TRACEPARENT, pushed_traceparent
from broker_events.schemas.headers import SIMULATED
from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.oversized import ERROR

EVENT_ID: Final = "event_id"
EVENT_TYPE: Final = "event_type"
BIZ_TYPE: Final = "biz_type"
POSITION: Final = "position"
SOURCE: Final = "source"
RECEIVED_AT: Final = "received_at"  # UTC, YYYY-MM-DDThh:mm:ss.ffffffZ
VERSION: Final = "version"  # of the push message, where it has one
TIMESTAMP: Final = "timestamp"  # of the push message; only beside ERROR
FILE: Final = "file"  # path, of an event that came from a file; only beside ERROR
LINE: Final = "line"  # of that file, from 1


class RawRecord(NamedTuple):
    """A record of the raw topic, and the fields of it that the bridge needs ("" where absent).

    `key` is the account key, None without one. Header values are UTF-8; empty ones are left out. `size`: bytes of
    value, key and header values; headers quote the event's id, types and position whatever their length.
    """

    value: bytes
    key: str | None
    headers: list[tuple[str, str | bytes | None]]
    event_id: str
    event_type: str
    biz_type: str
    position: str
    size: int


def to_raw(received: Received, source: str) -> RawRecord:
    """Make the raw record of one event; raises nothing, whatever the bytes are."""
    native = extension.native
    if native is not None:
        beside = received[2:7]  # from event_id to version
        received_at = iso_micros(received.received_at)
        found = native.raw_record(received.payload, beside, source, received_at, received.simulated)
        if found is not None:
            return RawRecord._make(found)
    try:
        return _usable(received, source)
    except InvalidEvent as error:
        fields = (
            (SOURCE, source),
            (RECEIVED_AT, iso_micros(received.received_at)),
            (EVENT_ID, received.event_id),
            (EVENT_TYPE, received.event_type),
            (POSITION, received.position),
            (TIMESTAMP, received.timestamp),
            (VERSION, received.version),
            (FILE, received.file),
            (LINE, str(received.line or "")),
            (SIMULATED, "true" if received.simulated else ""),
            (ERROR, f"{error.reason}: {error.detail}"),
        )
        names = received.event_id, received.event_type, "", received.position
        return record(received.payload, None, fields, names)


def wrap(received: Received) -> bytes:
    """Build the documented envelope around an inner payload; leaves out an empty position or version.

    A simulated event gets a member that says so.
    """
    position = b',"position":' + orjson.dumps(received.position) if received.position else b""
    version = b',"version":' + orjson.dumps(received.version) if received.version else b""
    return b"".join(
        (
            b'{"id":',
            orjson.dumps(received.event_id),
            b',"event_type":',
            orjson.dumps(received.event_type),
            position,
            b',"timestamp":',
            orjson.dumps(received.timestamp),
            version,
            b',"simulated":true' if received.simulated else b"",
            b',"payload":',
            lossless_json.unpadded(received.payload),
            b"}",
        )
    )


def iso_micros(micros: int) -> str:
    """Format microseconds since the epoch as YYYY-MM-DDThh:mm:ss.ffffffZ."""
    seconds, fraction = divmod(micros, 1_000_000)
    return f"{_second(seconds)}.{fraction:06d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _usable(received: Received, source: str) -> RawRecord:
    event = _parse(received.payload)
    if not isinstance(event, dict):
        raise InvalidEvent(Reason.NO_ENVELOPE, "", "not an object")
    if EVENT_TYPE in event and "payload" in event:
        value, payload = received.payload, event["payload"]
        if not isinstance(payload, dict):
            raise InvalidEvent(Reason.NO_PAYLOAD, "/payload", "the envelope's payload is not an object")
        event_id = _text(event, "id") or received.event_id
        event_type = _text(event, EVENT_TYPE) or received.event_type
        position = _text(event, POSITION) or received.position
    elif received.event_type:
        value, payload = wrap(received), event
        event = {}  # its members are the payload's, not the envelope's
        event_id, event_type, position = received.event_id, received.event_type, received.position
    else:
        raise InvalidEvent(
            Reason.NO_ENVELOPE, "", "no members event_type and payload, and the message has no event type"
        )
    biz_type = _text(payload, BIZ_TYPE)
    fields = (
        (SOURCE, source),
        (RECEIVED_AT, iso_micros(received.received_at)),
        (EVENT_ID, event_id),
        (EVENT_TYPE, event_type),
        (BIZ_TYPE, biz_type),
        (POSITION, position),
        (VERSION, received.version),
        (TRACEPARENT, pushed_traceparent(event)),
        (SIMULATED, "true" if received.simulated or event.get(SIMULATED) is True else ""),
    )
    return record(value, account_key(payload), fields, (event_id, event_type, biz_type, position))


def record(
    value: bytes, key: str | None, fields: Iterable[tuple[str, str]], names: tuple[str, str, str, str]
) -> RawRecord:
    """Make a raw record. `fields`: its headers, empty ones are left out. `names`: from `RawRecord.event_id` on."""
    contents = [(name, text.encode("utf-8", "backslashreplace")) for name, text in fields if text]
    size = len(value) + len((key or "").encode("utf-8", "surrogatepass")) + sum(len(content) for _, content in contents)
    return RawRecord(value, key, [*contents], *names, size)


def _parse(value: bytes) -> Any:  # noqa: ANN401 (any JSON)
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        # Slower, but it reports the reason and accepts numbers that no float holds.
        if not value:
            raise InvalidEvent(Reason.NO_VALUE, "", "the payload is empty") from None
        return lossless_json.parse(value).root


def _text(event: dict[str, Any], name: str) -> str:
    value = event.get(name)
    return value if isinstance(value, str) else ""
