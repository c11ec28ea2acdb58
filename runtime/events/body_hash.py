"""Hash of an event's payload. It separates a repeated push of an event from another event with the same id."""

from __future__ import annotations

from typing import Any

from broker_events.native import extension
from broker_events.runtime.events import lossless_json
from broker_events.runtime.events.amounts import exact_parts
from broker_events.runtime.events.lossless_json import Number
from broker_events.schemas.invalid_event import InvalidEvent


def body_hash(value: bytes) -> int:
    """Return a signed 64-bit hash of a payload's content, keyed by a secret of this process (ADR 0016).

    Ignores the envelope, which the brokerage may change on a repeated push. Ignores whitespace, member order, escapes
    and number notation. A value that is not an event has the hash of its bytes.
    """
    native = extension.native
    found = None if native is None else native.body_hash(value)
    return _python_hash(value) if found is None else found


def _python_hash(value: bytes) -> int:
    try:
        payload = lossless_json.parse(value).root["payload"]
        return hash(_canonical(payload)) if isinstance(payload, dict) else hash(value)
    except (InvalidEvent, KeyError, TypeError, RecursionError):
        return hash(value)


def _canonical(value: Any) -> str:  # noqa: ANN401 (any JSON)
    """Return one text for all JSON values with the same content."""
    if isinstance(value, Number):
        return repr(exact_parts(value.literal) or value.literal)
    if isinstance(value, list):
        return "[" + ",".join([_canonical(item) for item in value]) + "]"
    if isinstance(value, dict):
        members = [f"{lossless_json.json_text(name)}:{_canonical(member)}" for name, member in value.items()]
        return "{" + ",".join(sorted(members)) + "}"
    return lossless_json.json_text(value)
