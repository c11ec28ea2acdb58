"""Recently typed events of a partition, so that the router drops repeated pushes."""

from __future__ import annotations

from typing import Protocol

from broker_events.native import extension


class DuplicateWindow(Protocol):
    """Ids and body hashes (runtime.events.body_hash) of at least the last `size` typed events of one partition.

    It excludes rejected events: the router validates them again on a repeated push or a replay.
    """

    def body(self, event_id: str, /) -> int | None:
        """Return the body hash of the typed event with this id, None if the window has none."""

    def remember(self, event_id: str, body: int, /) -> None:
        """Add an event whose typed record is written."""

    def __len__(self) -> int: ...


def duplicate_window(size: int) -> DuplicateWindow:
    """Return an empty window, native if possible: native reading accepts no other."""
    return PythonDuplicateWindow(size) if extension.native is None else extension.native.DuplicateWindow(size)


class PythonDuplicateWindow:
    """Two generations of at most `size` ids each, as in native code. A full young generation replaces the old one."""

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
