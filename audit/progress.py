"""Progress of a long task: one log line every five seconds."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Final

log = logging.getLogger(__name__)

_REPORT_EVERY_S: Final = 5.0


class Progress:
    """Counts what was done. `work`: the words before the counts in the log line."""

    def __init__(self, work: str) -> None:
        self._work = work
        self._counts: Counter[str] = Counter()
        self._began = time.monotonic()
        self._due = self._began + _REPORT_EVERY_S

    def add(self, what: str, count: int) -> None:
        self._counts[what] += count
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _REPORT_EVERY_S
            log.info("%s", self)

    def done(self) -> None:
        """Log the totals and the time taken."""
        log.info("%s in %.2f s", self, time.monotonic() - self._began)

    def __str__(self) -> str:
        counts = ", ".join(f"{number:,} {name}" for name, number in self._counts.items())
        return f"{self._work} {counts or 'nothing'}"
