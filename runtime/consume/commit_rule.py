"""When a worker's open transaction commits. Pure."""

from __future__ import annotations

from typing import Final

# The cost of a commit depends on its partitions, not on its records. During catch-up a transaction may stay open
# longer, up to a fifth of the transaction timeout.
_LONGEST_S: Final = 2.0
_LONGEST_SHARE: Final = 0.2
_SHARE: Final = 0.05
# Share of time spent in commits at low volume. It leaves Kafka time for the readers' commits. The average commit time
# decides, so that commits are evenly spaced.
_TRICKLE_SHARE: Final = 0.25
_SMOOTHING: Final = 0.1


class CommitRule:
    """Commits at once at the end of the source; during catch-up commits take a twentieth of the time."""

    def __init__(self, interval_s: float, most_records: int, timeout_s: float) -> None:
        """`interval_s`: minimum time between commits during catch-up; `most_records`: maximum read per transaction.

        `timeout_s`: transaction timeout.
        """
        self._interval_s = interval_s
        self._longest_s = min(_LONGEST_S, timeout_s * _LONGEST_SHARE)
        self._most_records = most_records
        self._open_s = interval_s
        self._average_s: float | None = None
        self.rest_s = interval_s
        """Seconds between two commits at low volume; the bridge uses it alone."""

    def is_due(self, age_s: float, records: int, *, at_end: bool) -> bool:
        """Whether a transaction of this age and number of records read commits now.

        `at_end`: the last fetch read the source to its end.
        """
        return at_end or records >= self._most_records or age_s >= self._open_s

    def committed(self, took_s: float) -> None:
        """Adjust the interval to the time that a commit took."""
        self._open_s = max(self._interval_s, min(took_s * (1 / _SHARE - 1), self._longest_s))
        counted_s = min(took_s, self._interval_s)  # ignore outliers
        before_s = counted_s if self._average_s is None else self._average_s
        self._average_s = before_s + _SMOOTHING * (counted_s - before_s)
        self.rest_s = min(self._interval_s, self._average_s * (1 / _TRICKLE_SHARE - 1))
