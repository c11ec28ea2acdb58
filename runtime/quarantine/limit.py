"""Quarantine limits. An exceeded limit indicates a fault of the source or of this program. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class QuarantineLimit:
    """Counts records and rejected records per batch.

    Exceeded if more than `share` (0 to 1; 1 disables) of the last `records` or more records were rejected. The window
    consists of whole batches and applies once it is full. Also exceeded after each batch that contains a part of
    `consecutive` (0 disables) or more rejected records in a row.
    """

    def __init__(self, share: float, records: int, consecutive: int) -> None:
        self._share = share
        self._records = records
        self._consecutive = consecutive
        self._batches: deque[tuple[int, int]] = deque()
        self._total = 0
        self._rejected = 0
        self._run = 0

    def count(self, total: int, rejected: Sequence[int]) -> str | None:
        """Count a batch of `total` records; `rejected`: ascending indexes of the rejected ones.

        Return a message that names the exceeded limit, or None.
        """
        longest = self._longest_run(total, rejected)
        self._batches.append((total, len(rejected)))
        self._total += total
        self._rejected += len(rejected)
        while self._total - self._batches[0][0] >= self._records:
            old_total, old_rejected = self._batches.popleft()
            self._total -= old_total
            self._rejected -= old_rejected
        if self._consecutive and longest >= self._consecutive:
            return f"{longest} consecutive records were quarantined (QUARANTINE_LIMIT_CONSECUTIVE {self._consecutive})"
        if self._total >= self._records and self._rejected > self._share * self._total:
            return (
                f"{self._rejected} of the last {self._total} records were quarantined "
                f"(QUARANTINE_LIMIT_SHARE {self._share:g})"
            )
        return None

    def _longest_run(self, total: int, rejected: Sequence[int]) -> int:
        """Return the longest run of rejected records that touches this batch. A run at its end continues."""
        longest, expected = 0, 0
        for index in rejected:
            self._run = self._run + 1 if index == expected else 1
            longest = max(longest, self._run)
            expected = index + 1
        if expected != total:
            self._run = 0
        return longest
