"""When a worker's open transaction commits. Pure."""

from __future__ import annotations

from typing import Final

# What a commit costs the broker depends on its partitions far more than on its records. While a worker catches up,
# nobody waits for a single record: a transaction may stay open longer, but not near to where the broker ends it.
_LONGEST_S: Final = 2.0
_LONGEST_SHARE: Final = 0.2
_SHARE: Final = 0.05
# Of a source that trickles: seldom enough that the cluster has time for the readers' own commits, and evenly, so that
# these have ended when the next one comes: what counts is what commits take on average.
_TRICKLE_SHARE: Final = 0.25
_SMOOTHING: Final = 0.1


class CommitRule:
    """At once when the source is read to its end; while catching up, so that commits are a twentieth of the time."""

    def __init__(self, interval_s: float, most_records: int, timeout_s: float) -> None:
        """`interval_s`: how long a transaction stays open at least while catching up; `most_records`: read in one.

        `timeout_s`: after which the broker aborts one.
        """
        self._interval_s = interval_s
        self._longest_s = min(_LONGEST_S, timeout_s * _LONGEST_SHARE)
        self._most_records = most_records
        self._open_s = interval_s
        self._average_s: float | None = None
        self.rest_s = interval_s
        """Between two commits of a source whose events come one by one, for whoever has no batches to go by."""

    def is_due(self, age_s: float, records: int, *, at_end: bool) -> bool:
        """Whether a transaction of this age, with so many records read, commits now.

        `at_end`: nothing more was there to read when the last records came.
        """
        return at_end or records >= self._most_records or age_s >= self._open_s

    def committed(self, took_s: float) -> None:
        """A commit took so long: the next ones come accordingly."""
        self._open_s = max(self._interval_s, min(took_s * (1 / _SHARE - 1), self._longest_s))
        counted_s = min(took_s, self._interval_s)  # more says nothing of the next ones
        before_s = counted_s if self._average_s is None else self._average_s
        self._average_s = before_s + _SMOOTHING * (counted_s - before_s)
        self.rest_s = min(self._interval_s, self._average_s * (1 / _TRICKLE_SHARE - 1))
