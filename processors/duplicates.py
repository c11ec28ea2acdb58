"""Which events of a partition have been seen, so that one that is pushed again isn't written again."""

from __future__ import annotations

from enum import Enum


class Seen(Enum):
    """What is known of an event id: never seen, seen with the same body, seen with another body."""

    NEW = 0
    DUPLICATE = 1
    CONFLICT = 2


class DuplicateWindow:
    """Ids and body hashes of at least the last `size` events of one partition.

    Two generations of at most `size` ids each: when the young one is full it becomes the old one. The first body of an
    id is the one that counts. The body is the event from its payload on: a broker that pushes an event again may stamp
    the envelope anew. Bodies are compared by Python's 64-bit hash, which is keyed anew in every process.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def check(self, event_id: str, value: bytes) -> Seen:
        """Look an event up by its id and JSON text, and remember it if it is new."""
        body = value[max(value.find(b'"payload"'), 0) :]
        known = self._young.get(event_id)
        if known is None:
            known = self._old.get(event_id)
            if known is None:
                self._remember(event_id, hash(body))
                return Seen.NEW
        return Seen.DUPLICATE if known == hash(body) else Seen.CONFLICT

    def _remember(self, event_id: str, body: int) -> None:
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        if self._size:
            self._young[event_id] = body

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
