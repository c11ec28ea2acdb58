"""Which events of a partition have been typed, so that one that is pushed again isn't written again."""

from __future__ import annotations

from typing import Protocol

from broker_events.native import extension


class DuplicateWindow(Protocol):
    """Ids and body hashes (runtime.events.body_hash) of at least the last `size` typed events of one partition.

    A refused event isn't known: when it is pushed again, or replayed, it is judged anew.
    """

    def body(self, event_id: str, /) -> int | None:
        """Return the body hash of the typed event of this id, None where none is known."""

    def remember(self, event_id: str, body: int, /) -> None:
        """Keep an event whose typed record is written."""

    def __len__(self) -> int: ...


def duplicate_window(size: int) -> DuplicateWindow:
    """Return an empty window, the one that native code looks into while it reads an event, if it is there."""
    return PythonDuplicateWindow(size) if extension.native is None else extension.native.DuplicateWindow(size)


class PythonDuplicateWindow:
    """Two generations of at most `size` ids each: when the young one is full it becomes the old one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def body(self, event_id: str, /) -> int | None:
        known = self._young.get(event_id)
        return self._old.get(event_id) if known is None else known

    def remember(self, event_id: str, body: int, /) -> None:
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        if self._size:
            self._young[event_id] = body

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
