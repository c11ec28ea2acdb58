"""Hash of an event's body, by which an event that is pushed again is told from another one under its id."""

from __future__ import annotations

from typing import Any

from broker_events.native import extension
from broker_events.runtime.events import lossless_json
from broker_events.runtime.events.amounts import exact_parts
from broker_events.runtime.events.lossless_json import Number
from broker_events.schemas.invalid_event import InvalidEvent


def body_hash(value: bytes) -> int:
    """64 bits, signed, of what an event's payload means, under a secret of this process (docs/adr/0016-same-event.md).

    Not of the envelope, which a broker may stamp anew. Members may be in any order, with any blanks; a text is its
    characters, a number its exact value. What is no event has the hash of its bytes.
    """
    native = extension.native
    found = None if native is None else native.body_hash(value)
    return _plain_hash(value) if found is None else found


def _plain_hash(value: bytes) -> int:
    try:
        payload = lossless_json.parse(value).root["payload"]
        return hash(_canonical(payload)) if isinstance(payload, dict) else hash(value)
    except (InvalidEvent, KeyError, TypeError, RecursionError):
        return hash(value)


def _canonical(value: Any) -> str:  # noqa: ANN401 (any JSON)
    """One text for all that mean the same."""
    if isinstance(value, Number):
        return repr(exact_parts(value.literal) or value.literal)
    if isinstance(value, list):
        return "[" + ",".join([_canonical(item) for item in value]) + "]"
    if isinstance(value, dict):
        members = [f"{lossless_json.json_text(name)}:{_canonical(member)}" for name, member in value.items()]
        return "{" + ",".join(sorted(members)) + "}"
    return lossless_json.json_text(value)
