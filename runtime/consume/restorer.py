"""Restores a processor's state in a thread, while the source serves its group: a restore takes as long as it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from broker_events.runtime.consume.failed_record import Attempts
from broker_events.runtime.consume.record import TopicPartition

Offsets = Mapping[TopicPartition, int]
Restore = Callable[[Offsets, set[TopicPartition], set[TopicPartition]], None]


class Assignment(NamedTuple):
    """Assigned partitions with the next offset to process, and what their group has committed of them."""

    positions: dict[TopicPartition, int]
    unknown: dict[TopicPartition, int]
    """Partitions without a committed offset, and where they begin."""
    foreign: set[TopicPartition]
    attempts: dict[TopicPartition, Attempts]


class Restorer:
    """One restore after another: an assignment that comes during a restore waits for its end.

    So the work of a restore is never lost: what the next assignment still has at the same offset is not read again.
    """

    def __init__(self, restore: Restore) -> None:
        """`restore(positions, unmoved, foreign)`: see Processor.restore. No other call to the processor comes then."""
        self._restore = restore
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._running: Assignment | None = None
        self._waiting: Assignment | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a restore runs, or has ended and `finished` did not return it yet."""
        return self._running is not None

    def begin(self, assignment: Assignment, unmoved: set[TopicPartition]) -> None:
        """Restore this assignment, now or after the running restore, which decides then what is `unmoved`."""
        if self._running is not None:
            self._waiting = assignment
            return
        self._running = assignment
        self._thread = threading.Thread(target=self._run, args=(assignment, unmoved), name="restore", daemon=True)
        self._thread.start()

    def revoke(self) -> None:
        """Drop an assignment that waits. A running restore goes on."""
        self._waiting = None

    def finished(self) -> Assignment | None:
        """Return the assignment whose state the processor has now. Raises the error of a restore.

        None while a restore runs, or if the next one has just begun.
        """
        if self._running is None or self._thread is None or self._thread.is_alive():
            return None
        done, waiting = self._running, self._waiting
        self._running = self._waiting = self._thread = None
        if self._error is not None:
            raise self._error
        if waiting is None:
            return done
        self.begin(waiting, unmoved(waiting.positions, done.positions))
        return None

    def wait(self, timeout_s: float) -> None:
        """Wait for the running restore."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def end(self, timeout_s: float) -> None:
        """Wait for a restore that a stop ends. Raises its error: Stopped, if it was ended early."""
        self.revoke()
        self.wait(timeout_s)
        self.finished()

    def _run(self, assignment: Assignment, unmoved: set[TopicPartition]) -> None:
        try:
            self._restore(assignment.positions, unmoved, assignment.foreign - unmoved)
        except BaseException as error:  # noqa: BLE001 (`finished` raises it)
            self._error = error


def unmoved(positions: Offsets, held: Offsets) -> set[TopicPartition]:
    """Return the partitions whose state at `held` is valid at `positions`: nothing has processed them since."""
    return {tp for tp, offset in positions.items() if held.get(tp) == offset}
