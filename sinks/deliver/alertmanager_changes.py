"""What one assignment of partitions has for an Alertmanager: its changes without an outcome, and its set. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from broker_events.sinks.deliver.alertmanager_set import AlertSet, Entry
from broker_events.sinks.deliver.delivery_record import AlertPlace, Attempts, Outcome
from broker_events.sinks.deliver.retry_rule import Answer
from broker_events.sinks.deliver.window import Progress

MOST_CHANGES: Final = 2000
_MOST_WAIT_S: Final = 1.0


class Change(NamedTuple):
    """A record of alerts that has no outcome yet; `outcome` and `detail` are set if it is not to be sent."""

    place: AlertPlace
    dedup_key: str
    found: Entry | None
    outcome: Outcome | None = None
    detail: str | None = None


class Held(NamedTuple):
    """A record of alerts.active; None: a tombstone, or an alert that the receiver doesn't want."""

    partition: int
    dedup_key: str
    found: Entry | None


class Due(NamedTuple):
    """The alerts to send now, their dedup keys, and the changes that have an outcome when they are accepted."""

    at: datetime
    changes: list[Change]
    keys: list[str]
    alerts: list[dict[str, Any]]
    is_whole: bool


class Finished(NamedTuple):
    """A change that has its outcome, and the requests that led to it."""

    change: Change
    outcome: Outcome
    detail: str | None
    attempts: Attempts


class Assignment:
    """Everything known of the assigned partitions. The next assignment begins with a new one.

    Times of one clock (`now_s`) are in seconds.
    """

    def __init__(
        self, interval: timedelta, progress: Mapping[int, Progress], restored: Sequence[Change | Held] = ()
    ) -> None:
        """`interval`: of the whole set. `restored`: changes that have their outcome, for the set."""
        self._set = AlertSet(interval)
        for change in restored:
            if change.found is not None:
                self._set.note(change.dedup_key, change.found)
                self._set.accepted([change.dedup_key], change.found.raised)
        self.positions = {number: at.offset for number, at in progress.items()}
        self.failures = 0  # in a row
        self.next_whole_s = 0.0
        self._unread = set(progress)  # partitions of alerts.active
        self._behind: set[int] = set()
        self._changes: deque[Change] = deque()
        self._noted = 0  # of the changes, from the left: those that are in the set
        self._attempts = Attempts()  # of the changes that wait
        self._waiting_since_s = 0.0

    def admit(self, prepared: Iterable[Change | Held], ends: Mapping[int, int], now_s: float) -> None:
        """Take records, and per partition of alerts the offset after what was read."""
        for each in prepared:
            if isinstance(each, Held):
                self._set.hold(each.dedup_key, each.found)
            else:
                if not self._changes:
                    self._waiting_since_s = now_s
                self._changes.append(each)
        self.positions |= {number: end for number, end in ends.items() if number in self.positions}
        self._behind |= ends.keys()

    def reached_end(self, partition: int, *, of_active: bool) -> None:
        """Note that all of a partition of alerts, or of alerts.active, has been read."""
        (self._unread if of_active else self._behind).discard(partition)

    @property
    def is_known(self) -> bool:
        """Whether all of alerts.active has been read."""
        return not self._unread

    def waiting(self) -> Sequence[Change]:
        """Return the changes without an outcome."""
        return self._changes

    def progress(self) -> dict[int, Progress]:
        """Return what to commit of each partition."""
        oldest: dict[int, int] = {}
        for change in self._changes:
            oldest.setdefault(change.place.partition, change.place.offset)
        return {number: Progress(oldest.get(number, at), frozenset()) for number, at in self.positions.items()}

    def _is_enough(self, now_s: float) -> bool:
        """Whether to send the changes now. While more is to be read, a later one may end what another has begun."""
        waited_s = now_s - self._waiting_since_s
        return not self._behind or len(self._changes) >= MOST_CHANGES or waited_s > _MOST_WAIT_S

    def due(self, now: datetime, now_s: float) -> Due:
        """Return what to send now."""
        is_whole = now_s >= self.next_whole_s
        changes = [*self._changes] if self._is_enough(now_s) else []
        for change in changes[self._noted :]:
            if change.found is not None:
                self._set.note(change.dedup_key, change.found)
        self._noted = max(self._noted, len(changes))
        self._set.forget(now)
        changed = dict.fromkeys(change.dedup_key for change in changes if change.found is not None)
        keys = [*(self._set.keys() if is_whole else changed)]
        return Due(now, changes, keys, self._set.alerts(keys, now), is_whole)

    def attempted(self, due: Due, answer: Answer) -> None:
        """Count a request for the changes that wait."""
        if due.changes:
            at_us, former = int(due.at.timestamp() * 1_000_000), self._attempts
            first_us = former.first_us or at_us
            self._attempts = Attempts(former.number + 1, first_us, at_us, answer.status, answer.body)

    def finish(self, due: Due, rejected: Collection[str]) -> list[Finished]:
        """Note that the alerts were accepted, but for those with the `rejected` ids. Returns the outcomes."""
        self._set.accepted(due.keys, due.at)
        finished, waiting = [], []
        for change in due.changes:
            self._changes.popleft()
            latest = self._set.latest(change.dedup_key)
            if change.outcome is not None or change.found is None:
                finished.append(Finished(change, change.outcome or "SKIPPED", change.detail, Attempts()))
            elif change.found.alert_id in rejected:
                finished.append(Finished(change, "GIVEN_UP", "the Alertmanager rejects it", self._attempts))
            elif latest == change.found.alert_id:
                finished.append(Finished(change, "DELIVERED", None, self._attempts))
            elif latest is not None:
                detail = "superseded by a later alert before it was sent"
                finished.append(Finished(change, "SKIPPED", detail, Attempts()))
            else:  # it was not in the set, so nobody has been told
                waiting.append(change)
        if due.changes:
            self._changes.extendleft(reversed(waiting))
            self._noted, self._attempts = 0, Attempts()
        return finished
