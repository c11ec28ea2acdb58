"""The alerts between the committed offsets and the position of a receiver's group, in lanes by account. Pure.

The alerts of an account are sent one after the other, those of others at the same time. A partition's committed offset
is that of its oldest alert without an outcome. What is finished behind it is remembered with that offset
(`finished_offsets`), so that a restart does not send it again.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

MOST_ALERTS: Final = 1000
MOST_BYTES: Final = 8_000_000
# Of one partition, behind its oldest alert without an outcome: what a note of an offset can hold.
MOST_OFFSETS: Final = 16_384
# Offsets that may be read before a partition is held.
READ_AHEAD: Final = 2000


@dataclass(eq=False, slots=True)
class Waiting(Generic[T]):
    """An alert without an outcome. `size`: its bytes in memory."""

    partition: int
    offset: int
    key: bytes | None
    size: int
    content: T


class Progress(NamedTuple):
    """Next offset of a partition to commit, and the finished offsets after it."""

    offset: int
    finished: frozenset[int]


@dataclass(slots=True)
class _Partition:
    position: int
    finished: set[int]
    unfinished: dict[int, None] = field(default_factory=dict)

    def oldest(self) -> int:
        return next(iter(self.unfinished), self.position)


class Window(Generic[T]):
    """Holds at most about `MOST_ALERTS` alerts and `MOST_BYTES`, however many wait in Kafka."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}
        self._lanes: dict[tuple[int, bytes | None], deque[Waiting[T]]] = {}
        self._ready: deque[Waiting[T]] = deque()
        self._delayed: list[tuple[float, int, int, Waiting[T]]] = []
        self._alerts = 0
        self._bytes = 0

    def assign(self, partition: int, offset: int, finished: frozenset[int]) -> None:
        """Begin a partition at its committed offset."""
        self._partitions[partition] = _Partition(offset, set(finished))

    def held(self) -> list[int]:
        """Return the partitions of which no more may be read now.

        These are all while the window is full, and one whose oldest alert without an outcome is too far behind.
        """
        is_full = self._alerts >= MOST_ALERTS or self._bytes >= MOST_BYTES
        return [
            number
            for number, found in self._partitions.items()
            if is_full or found.position - found.oldest() >= MOST_OFFSETS - READ_AHEAD
        ]

    def is_finished(self, partition: int, offset: int) -> bool:
        """Whether an alert that is read again has its outcome already."""
        return offset in self._partitions[partition].finished

    def add(self, waiting: Waiting[T]) -> None:
        """Put an alert at the end of its account's lane."""
        self.pass_over(waiting.partition, waiting.offset)
        self._partitions[waiting.partition].unfinished[waiting.offset] = None
        self._alerts += 1
        self._bytes += waiting.size
        lane = self._lanes.setdefault((waiting.partition, waiting.key), deque())
        lane.append(waiting)
        if len(lane) == 1:
            self._ready.append(waiting)

    def pass_over(self, partition: int, offset: int) -> None:
        """Advance a partition's position over an offset that nothing is to be sent for."""
        found = self._partitions[partition]
        found.position = max(found.position, offset + 1)

    def note_finished(self, partition: int, offset: int) -> None:
        """Remember that an offset that was passed over has its outcome."""
        self._partitions[partition].finished.add(offset)

    def advance(self, partition: int, position: int) -> None:
        """Advance a partition's position over markers to `position`, the next offset to read."""
        self.pass_over(partition, position - 1)

    def take(self, now_s: float) -> Waiting[T] | None:
        """Return an alert to send now, the first one of its lane, or None.

        It is in flight until `retry` or `finish`.
        """
        while self._delayed and self._delayed[0][0] <= now_s:
            self._ready.append(heapq.heappop(self._delayed)[-1])
        return self._ready.popleft() if self._ready else None

    def take_early(self) -> Waiting[T] | None:
        """Return the alert that is due next, although it is not due yet, or None."""
        return heapq.heappop(self._delayed)[-1] if self._delayed else None

    def put_back(self, waiting: Waiting[T]) -> None:
        """Return an alert that was taken and not sent."""
        self._ready.appendleft(waiting)

    def retry(self, waiting: Waiting[T], due_s: float) -> None:
        """Let an alert be taken again at `due_s`; its lane waits for it."""
        heapq.heappush(self._delayed, (due_s, waiting.partition, waiting.offset, waiting))

    def hurry(self) -> None:
        """Make every delayed alert due, oldest offset first: the receiver accepts requests again."""
        self._ready.extend(waiting for *_, waiting in sorted(self._delayed, key=lambda each: each[1:3]))
        self._delayed.clear()

    def next_due_s(self) -> float | None:
        """Return when the next delayed alert is due, None if none is delayed."""
        return self._delayed[0][0] if self._delayed else None

    def finish(self, waiting: Waiting[T]) -> None:
        """End an alert that was taken: its lane goes on with the next one."""
        self._alerts -= 1
        self._bytes -= waiting.size
        found = self._partitions[waiting.partition]
        del found.unfinished[waiting.offset]
        found.finished.add(waiting.offset)
        lane = self._lanes[waiting.partition, waiting.key]
        lane.popleft()
        if lane:
            self._ready.append(lane[0])
        else:
            del self._lanes[waiting.partition, waiting.key]

    def progress(self) -> Iterator[tuple[int, Progress]]:
        """Yield what to commit of each partition."""
        for number, found in self._partitions.items():
            oldest = found.oldest()
            found.finished = {offset for offset in found.finished if offset > oldest}
            yield number, Progress(oldest, frozenset(found.finished))

    def __len__(self) -> int:
        """Alerts without an outcome."""
        return self._alerts

    def oldest(self) -> Iterator[Waiting[T]]:
        """Yield the first alert of every lane."""
        for lane in self._lanes.values():
            yield lane[0]
