"""What stands beside a committed offset: a small JSON object in its metadata. Pure.

Tools such as kafka-consumer-groups write an offset without one: whoever moves an offset with them is told apart from a
worker, which commits it in the transaction of what it has written.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, TypeVar

M = TypeVar("M")


class OffsetNote(NamedTuple):
    """Every member is optional; None is left out. Unknown ones, of another version, are ignored."""

    topic_id: str | None = None
    """Of the topic that the offset is of (KIP-516): one that is deleted and created again has another."""
    moved_by: str | None = None
    """The user who has set this offset with `broker-events offsets set`; a worker's next commit has none."""
    reason: str | None = None
    """What that user gave as the reason."""
    failed_offset: int | None = None
    """Of a record at or behind the offset that has stopped a worker."""
    attempts: int | None = None
    """How often it has."""

    def encode(self) -> str:
        return json.dumps({name: value for name, value in self._asdict().items() if value is not None})


def parse_note(metadata: str | None) -> OffsetNote:
    """The note in an offset's metadata; one without members where there is none, or where something else stands."""
    try:
        found: Any = json.loads(metadata or "{}")
    except ValueError:
        return OffsetNote()
    members = found if isinstance(found, dict) else {}

    def member(name: str, kind: type[M]) -> M | None:
        value = members.get(name)
        return value if isinstance(value, kind) else None

    texts = (member("topic_id", str), member("moved_by", str), member("reason", str))
    return OffsetNote(*texts, member("failed_offset", int), member("attempts", int))
