"""A bounded queue from the receiver thread to the writer thread."""

import threading
from typing import Final

from broker_events.ingest.sources.source import Received

# About the events of one commit interval at full speed. Bytes are bounded too: one message may have 16 MiB.
MAX_EVENTS: Final = 5_000
MAX_BYTES: Final = 64 * 1024 * 1024


class HandoffQueue:
    """The taker empties it with one lock per batch; the receiver waits while it is full."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: list[Received] = []
        self._bytes = 0
        self._taker_waits = False
        self._taker_wants = 1
        self._closed = False
        self._changed = threading.Condition(threading.Lock())

    def put(self, received: Received) -> bool:
        """Add one event, waiting while the queue is full; False when it was closed instead."""
        with self._changed:
            while self._is_full() and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._events.append(received)
            self._bytes += len(received.payload)
            if self._taker_waits and self._is_enough():
                self._changed.notify_all()
            return True

    def take(self, timeout_s: float, at_least: int = 1) -> list[Received]:
        """Take all events, waiting up to `timeout_s` for `at_least` of them or a full queue.

        The call confirms the events of the previous call as handed on.
        """
        with self._changed:
            self._taker_wants = at_least
            if not self._is_enough():
                self._taker_waits = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._is_enough() or self._closed, timeout_s)
                self._taker_waits = False
            events, self._events, self._bytes = self._events, [], 0
            self._changed.notify_all()
            return events

    def _is_full(self) -> bool:
        return len(self._events) >= self._max_events or self._bytes >= self._max_bytes

    def _is_enough(self) -> bool:
        return len(self._events) >= self._taker_wants or self._is_full()

    def is_empty(self) -> bool:
        return not self._events

    def wait_until_handed_on(self) -> bool:
        """Wait until the taker has handed on every event that was put; False when the queue was closed instead."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._taker_waits and not self._events))
            return not self._closed

    def close(self) -> None:
        """End every wait, and reject further events."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
