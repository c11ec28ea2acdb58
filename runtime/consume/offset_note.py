"""The note of a committed offset: a small JSON object in its metadata. Pure.

Tools such as kafka-consumer-groups write offsets without a note. This distinguishes them from a worker, which commits
its offsets in the transaction of its outputs.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, TypeVar

M = TypeVar("M")


class OffsetNote(NamedTuple):
    """Every member is optional; None is omitted. Unknown members of other versions are ignored."""

    topic_id: str | None = None
    """Id of the offset's topic (KIP-516): a recreated topic has another id."""
    moved_by: str | None = None
    """The user who has set this offset with `broker-events offsets set`; a worker's next commit has none."""
    reason: str | None = None
    """What that user gave as the reason."""
    failed_offset: int | None = None
    """Offset of a record at or behind this offset that has stopped a worker."""
    attempts: int | None = None
    """How often that record has stopped a worker."""
    finished: str | None = None
    """Offsets behind this one that are finished (sinks.deliver.finished_offsets)."""

    def encode(self) -> str:
        return json.dumps({name: value for name, value in self._asdict().items() if value is not None})


def parse_note(metadata: str | None) -> OffsetNote:
    """Return the note in an offset's metadata; an empty one for any other text."""
    try:
        found: Any = json.loads(metadata or "{}")
    except ValueError:
        return OffsetNote()
    members = found if isinstance(found, dict) else {}

    def member(name: str, kind: type[M]) -> M | None:
        value = members.get(name)
        return value if isinstance(value, kind) else None

    texts = (member("topic_id", str), member("moved_by", str), member("reason", str))
    return OffsetNote(*texts, member("failed_offset", int), member("attempts", int), member("finished", str))
