"""When so much goes into quarantine that something must be wrong with the source or with this program. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class QuarantineLimit:
    """Counts records and the refused ones among them, batch by batch.

    Exceeded while more than `share` (0 to 1; 1 is off) of at least the last `records` records were refused, in whole
    batches and only once there have been so many. Exceeded as well after each batch that has a part of `consecutive`
    (0 is off) or more refused ones in a row.
    """

    def __init__(self, share: float, records: int, consecutive: int) -> None:
        self._share = share
        self._records = records
        self._consecutive = consecutive
        self._batches: deque[tuple[int, int]] = deque()
        self._total = 0
        self._refused = 0
        self._row = 0

    def count(self, total: int, refused: Sequence[int]) -> str | None:
        """Count a batch of `total` records; `refused`: which of them were, by index, ascending.

        Return which limit is exceeded, in words, or None.
        """
        longest = self._longest_row(total, refused)
        self._batches.append((total, len(refused)))
        self._total += total
        self._refused += len(refused)
        while self._total - self._batches[0][0] >= self._records:
            old_total, old_refused = self._batches.popleft()
            self._total -= old_total
            self._refused -= old_refused
        if self._consecutive and longest >= self._consecutive:
            return f"{longest} records in a row went to quarantine (QUARANTINE_LIMIT_CONSECUTIVE {self._consecutive})"
        if self._total >= self._records and self._refused > self._share * self._total:
            return (
                f"{self._refused} of the last {self._total} records went to quarantine "
                f"(QUARANTINE_LIMIT_SHARE {self._share:g})"
            )
        return None

    def _longest_row(self, total: int, refused: Sequence[int]) -> int:
        """Longest row of refused records that has some in this batch; one at its end goes on with the next batch."""
        longest, expected = 0, 0
        for index in refused:
            self._row = self._row + 1 if index == expected else 1
            longest = max(longest, self._row)
            expected = index + 1
        if expected != total:
            self._row = 0
        return longest
