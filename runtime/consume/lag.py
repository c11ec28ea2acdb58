"""How long the oldest unread record of a partition has waited, from offsets alone. Pure: the caller has the clock."""

from __future__ import annotations

from collections import deque
from typing import Final

# After the last record of a transaction stands its marker, which nobody reads.
MARKER: Final = 1
_MOST_ENDS: Final = 1000


class PartitionLag:
    """When the end of a partition was first seen where; `seconds` looks up what lies behind the reader's position.

    As exact as it is asked often. What was unread before the first look has no such time: until that is read, the age
    of the newest record that was read stands for it, which is its upper bound.
    """

    def __init__(self) -> None:
        self._ends: deque[tuple[int, float]] = deque()
        self._from_before = True

    def seconds(self, position: int, end: int, newest_read_s: float | None, now_s: float) -> float:
        """Seconds that the oldest unread record has waited, 0 where there is none.

        `position`: next offset to read; `end`: offset after the last one; `newest_read_s`: time (Unix seconds) of the
        last record read, None before the first.
        """
        if not self._ends or end > self._ends[-1][0]:
            if len(self._ends) >= _MOST_ENDS:  # far behind: every other look is exact enough
                self._ends = deque(list(self._ends)[::2])
            self._ends.append((end, now_s))
        while self._ends and self._ends[0][0] <= position + MARKER:
            self._ends.popleft()
            self._from_before = False
        if not self._ends:
            return 0.0
        since_s = self._ends[0][1]
        if self._from_before and newest_read_s is not None:
            since_s = newest_read_s
        return max(now_s - since_s, 0.0)
