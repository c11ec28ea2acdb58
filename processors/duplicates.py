"""Which events of a partition have been typed, so that one that is pushed again isn't written again."""

from __future__ import annotations

from enum import Enum


class Seen(Enum):
    """What is known of an event id: not typed yet, typed with the same body, typed with another body."""

    NEW = 0
    DUPLICATE = 1
    CONFLICT = 2


class DuplicateWindow:
    """Ids and body hashes of at least the last `size` typed events of one partition.

    Two generations of at most `size` ids each: when the young one is full it becomes the old one. A refused event isn't
    known: when it is pushed again, or replayed, it is judged anew. Bodies are compared by a 64-bit hash.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def check(self, event_id: str, body: int) -> Seen:
        """Look up an event by its id and body hash."""
        known = self._young.get(event_id)
        if known is None:
            known = self._old.get(event_id)
            if known is None:
                return Seen.NEW
        return Seen.DUPLICATE if known == body else Seen.CONFLICT

    def __contains__(self, event_id: str) -> bool:
        """Whether an event of this id is known, whatever its body."""
        return event_id in self._young or event_id in self._old

    def remember(self, event_id: str, body: int) -> None:
        """Keep an event whose typed record is written."""
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        if self._size:
            self._young[event_id] = body

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


def body_hash(value: bytes) -> int:
    """Hash of an event's body: its JSON text from the payload on.

    A broker that pushes an event again may stamp the envelope anew. The hash is keyed anew in every process.
    """
    start = max(value.find(b'"payload"'), 0)
    # With an escape before it that may be a later string, and the payload's own name the escaped one.
    return hash(value if value.find(b"\\", 0, start) >= 0 else value[start:])
