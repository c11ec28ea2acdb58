"""Recently typed events of a partition, so that the router drops repeated pushes."""

from __future__ import annotations

from collections import OrderedDict
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
    """The last `size` ids."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._bodies: OrderedDict[str, int] = OrderedDict()

    def body(self, event_id: str, /) -> int | None:
        return self._bodies.get(event_id)

    def remember(self, event_id: str, body: int, /) -> None:
        self._bodies[event_id] = body
        self._bodies.move_to_end(event_id)
        if len(self._bodies) > self._size:
            self._bodies.popitem(last=False)

    def __len__(self) -> int:
        return len(self._bodies)
