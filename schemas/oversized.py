"""The marker that stands in the raw topic for an event that no record can hold. Pure.

A marker is a raw record with these headers, and a JSON object without `payload` as its value, so it can't be typed:
`{"id", "event_type", "position", "timestamp", "too_large": {"bytes", "sha256", "file", "line", "begins"}}`. A member
is left out where it could not be read within bounds. The event itself is not in Kafka.
"""

from collections.abc import Iterable
from typing import Final

from broker_events.schemas.invalid_event import InvalidEvent, Reason

CONTENT_BYTES: Final = "content_bytes"
"""Header: size of the event as received, decimal."""
CONTENT_SHA256: Final = "content_sha256"
"""Header: SHA-256 of the event as received, hexadecimal. What has it is a marker."""
ERROR: Final = "error"
"""Header of every raw record without a usable envelope: `<reason>: <detail>`."""


def marked(headers: Iterable[tuple[str, bytes | None]] | None) -> InvalidEvent | None:
    """What a marker says of its event; None where the headers are not those of a marker."""
    found = dict(headers or ())
    if found.get(CONTENT_SHA256) is None:
        return None
    detail = (found.get(ERROR) or b"").decode("utf-8", "replace")
    return InvalidEvent(Reason.TOO_LARGE, "", detail.removeprefix(f"{Reason.TOO_LARGE}: "))
