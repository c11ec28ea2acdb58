"""The marker that replaces an event too large for a Kafka record in the raw topic. Pure.

A marker is a raw record with these headers. Its value is a JSON object without `payload`, so it is never typed:
`{"id", "event_type", "position", "timestamp", "too_large": {"bytes", "sha256", "file", "line", "begins"}}`. A member
that could not be read within the limits is absent. The event itself is not in Kafka.
"""

from collections.abc import Iterable
from typing import Final

from broker_events.schemas.invalid_event import InvalidEvent, Reason

CONTENT_BYTES: Final = "content_bytes"
"""Header: size of the event as received, decimal."""
CONTENT_SHA256: Final = "content_sha256"
"""Header: SHA-256 of the event as received, hexadecimal. Only markers have it."""
ERROR: Final = "error"
"""Header of every raw record without a usable envelope: `<reason>: <detail>`."""


def marked(headers: Iterable[tuple[str, bytes | None]] | None) -> InvalidEvent | None:
    """Return why the event was replaced by a marker, None if the headers are not those of a marker."""
    found = dict(headers or ())
    if found.get(CONTENT_SHA256) is None:
        return None
    detail = (found.get(ERROR) or b"").decode("utf-8", "replace")
    return InvalidEvent(Reason.TOO_LARGE, "", detail.removeprefix(f"{Reason.TOO_LARGE}: "))
