"""The alerts that an Alertmanager is to know now, and their JSON for its API v2. Pure.

An Alertmanager keeps its alerts in memory and forgets them when it is killed. So it gets the whole set again and again:
a condition with a lease while it holds, an occurrence for an hour, and what has ended for a quarter of an hour. These
times begin when an Alertmanager accepts the alert.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from broker_events.schemas.models import Alert

OCCURRENCE: Final = timedelta(hours=1)
RESOLVED_AGAIN: Final = timedelta(minutes=15)
LEASE_INTERVALS: Final = 4

_LEAST: Final = timedelta(milliseconds=1)
_ACCOUNT_CHARS: Final = 4
_HASH_CHARS: Final = 16


class Entry(NamedTuple):
    """One alert, as an Alertmanager needs it. `since`: when it began to hold; `raised`: time of its record."""

    labels: Mapping[str, str]
    summary: str
    alert_id: str
    is_resolved: bool
    since: datetime
    raised: datetime


def entry(alert: Alert, raised_ms: int, more: Mapping[str, str], pipeline: str) -> Entry:
    """Return the entry of an alert; `more`: the receiver's labels. The last four characters of the account are in it.

    The labels identify it: they are the same for FIRING and RESOLVED.
    """
    restriction = alert.restriction
    labels = dict(more) | {
        "alertname": alert.rule,
        "severity": alert.severity,
        "market" if restriction is not None else "subject": alert.subject,
        "account": f"…{alert.account_key[-_ACCOUNT_CHARS:]}",
        "condition": hashlib.sha256(alert.dedup_key.encode()).hexdigest()[:_HASH_CHARS],
        "pipeline": pipeline,
    }
    evidence = restriction or alert.condition
    since = alert.event_time if evidence is None else evidence.since
    raised = datetime.fromtimestamp(raised_ms / 1000, UTC)
    return Entry(labels, alert.summary, alert.alert_id, alert.status == "RESOLVED", since, raised)


class AlertSet:
    """The set of the assigned partitions: what alerts.active holds, and the latest alert of each dedup key."""

    def __init__(self, interval: timedelta) -> None:
        """`interval`: time between two sendings of the whole set; a lease lasts four of them."""
        self._lease = interval * LEASE_INTERVALS
        self._active: dict[str, Entry] = {}
        self._recent: dict[str, tuple[Entry, datetime | None]] = {}  # and when it was first accepted

    def hold(self, dedup_key: str, found: Entry | None) -> None:
        """Enter a record of alerts.active; None is a tombstone."""
        if found is None:
            self._active.pop(dedup_key, None)
        else:
            self._active[dedup_key] = found

    def note(self, dedup_key: str, found: Entry) -> None:
        """Enter a record of alerts. It stays until it is `accepted`, and for a time after that."""
        self._recent[dedup_key] = found, None

    def accepted(self, dedup_keys: Iterable[str], at: datetime) -> None:
        """Note that an Alertmanager took the alerts of these keys."""
        for key in dedup_keys:
            found = self._recent.get(key)
            if found is not None and found[1] is None:
                self._recent[key] = found[0], at

    def latest(self, dedup_key: str) -> str | None:
        """Return the id of the latest alert of a dedup key, None if there is none."""
        found = self._recent.get(dedup_key)
        return None if found is None else found[0].alert_id

    def forget(self, now: datetime) -> None:
        """Drop what no longer has to be sent."""
        self._recent = {
            key: (found, at) for key, (found, at) in self._recent.items() if at is None or now < at + _kept(found)
        }

    def keys(self) -> Iterator[str]:
        """Yield every dedup key to be sent."""
        yield from self._active
        yield from self._recent.keys() - self._active

    def alerts(self, keys: Iterable[str], now: datetime) -> list[dict[str, Any]]:
        """Return the present alerts of these dedup keys for POST /api/v2/alerts."""
        return [found for key in keys if (found := self._alert(key, now)) is not None]

    def _alert(self, dedup_key: str, now: datetime) -> dict[str, Any] | None:
        active, recent = self._active.get(dedup_key), self._recent.get(dedup_key)
        if recent is not None and recent[0].is_resolved and (active is None or active.raised <= recent[0].raised):
            return _json(recent[0], min(recent[0].raised, now))
        if active is not None:
            return _json(active, now + self._lease)
        if recent is None or recent[0].is_resolved:
            return None
        # An occurrence, or a condition whose record in alerts.active is still to come.
        return _json(recent[0], min(now + self._lease, (recent[1] or now) + OCCURRENCE))

    def __len__(self) -> int:
        return len(self._active | self._recent)


def _kept(found: Entry) -> timedelta:
    return RESOLVED_AGAIN if found.is_resolved else OCCURRENCE


def _json(found: Entry, ends: datetime) -> dict[str, Any]:
    """An Alertmanager rejects an alert that doesn't start before it ends."""
    return {
        "labels": found.labels,
        "annotations": {"summary": found.summary, "alert_id": found.alert_id},
        "startsAt": _text(min(found.since, ends - _LEAST)),
        "endsAt": _text(ends),
    }


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
