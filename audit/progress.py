"""Progress of a long task: one log line every five seconds."""

from __future__ import annotations

import logging
import time
from typing import Final

log = logging.getLogger(__name__)

_REPORT_EVERY_S: Final = 5.0


class Progress:
    """Counts the records that a task has read. `work`: the words before the count in the log line.

    One number: counts per topic would look like results, but include records that are read for comparison only.
    """

    def __init__(self, work: str) -> None:
        self._work = work
        self._count = 0
        self._began = time.monotonic()
        self._due = self._began + _REPORT_EVERY_S

    def add(self, count: int) -> None:
        self._count += count
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _REPORT_EVERY_S
            log.info("%s: %s records read so far", self._work, f"{self._count:,}")

    def done(self) -> None:
        """Log the total and the time taken."""
        took_s = time.monotonic() - self._began
        log.info("%s: done, %s records read in %.2f s", self._work, f"{self._count:,}", took_s)
