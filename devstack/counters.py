"""Count the records of the pipeline's topics. No I/O."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Final

from broker_events.devstack.balance import AlertKind, AlertSeen, Numbers
from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.events.amounts import for_people
from broker_events.schemas.headers import RECOVERED_FROM
from broker_events.schemas.models import Alert

RETURNED: Final = "RETURNED"
# A repetition of an older event counts as new. This is more than the windows of all routers hold.
REMEMBERED: Final = 1_000_000
RECENT_ALERTS: Final = 100


def percentile(counts: Counter[int], share: float) -> int:
    """Return the smallest value that at least `share` (0 to 1) of the counted values do not exceed."""
    needed, below = share * counts.total(), 0
    for value in sorted(counts):
        below += counts[value]
        if below >= needed:
            return value
    raise ValueError("no values")


def in_words(alert: Alert) -> str:
    """Say what the alert is about, with the last four characters of the account."""
    account = f"account …{alert.account_key[-4:]}"
    if alert.transfer is not None:
        return f"transfer of {for_people(alert.transfer.amount)} {alert.transfer.currency} came back, {account}"
    return f"{account} liquidate-only{'' if alert.status == 'FIRING' else ' lifted'}, {alert.subject} market"


class Repetitions:
    """Tells raw records apart: new, duplicate of a typed event, or repetition of a rejected one.

    `is_typed` returns whether the router types a record's value. It rejects a repeated invalid event each time.
    """

    def __init__(self, is_typed: Callable[[bytes], bool], remembered: int = REMEMBERED) -> None:
        self._is_typed = is_typed
        self._remembered = remembered
        self._bodies: OrderedDict[int, int] = OrderedDict()  # hash of the event id -> hash of its first body
        self.distinct = 0
        self.duplicates = 0

    def add(self, event_id: bytes | None, value: bytes, key: bytes | None, *, replayed: bool = False) -> None:
        """Count one raw record. A replayed one is never distinct: it repeats a rejected one."""
        new = 0 if replayed else 1
        if event_id is None:
            self.distinct += new
            return
        name, body = hash(event_id), hash(value)
        first = self._bodies.get(name)
        if first == body:
            if key is not None and self._is_typed(value):
                self.duplicates += 1
            return
        self.distinct += new
        if first is None:
            self._bodies[name] = body
            if len(self._bodies) > self._remembered:
                self._bodies.popitem(last=False)


class RunCounters:
    """Counts records by topic. `is_typed` is that of `Repetitions`."""

    def __init__(self, is_typed: Callable[[bytes], bool]) -> None:
        self._repetitions = Repetitions(is_typed)
        self._raw = self._replayed = 0
        self._typed: Counter[str] = Counter()
        self._quarantined: Counter[str] = Counter()
        self._alerts: Counter[AlertKind] = Counter()
        self._active: set[bytes] = set()
        self._recent: deque[AlertSeen] = deque(maxlen=RECENT_ALERTS)
        self._latencies: Counter[int] = Counter()  # by milliseconds

    def raw(self, record: KafkaRecord) -> None:
        headers = dict(record.headers() or ())
        replayed = RECOVERED_FROM in headers
        self._raw += 1
        self._replayed += replayed
        self._repetitions.add(headers.get("event_id"), record.value() or b"", record.key(), replayed=replayed)

    def typed(self, biz_type: str) -> None:
        self._typed[biz_type] += 1

    def quarantined(self, reason: str) -> None:
        self._quarantined[reason] += 1

    def alert(self, alert: Alert, seen_at: float) -> None:
        """Count an alert that a consumer received at `seen_at` (Unix time)."""
        self._alerts[alert.rule, alert.status] += 1
        latency_ms = max(round((seen_at - alert.event_time.timestamp()) * 1000), 0)
        self._latencies[latency_ms] += 1
        status = alert.status if alert.transfer is None else RETURNED
        self._recent.appendleft(AlertSeen(seen_at, status, in_words(alert), latency_ms))

    def active(self, record: KafkaRecord) -> None:
        key = record.key() or b""
        if record.value() is None:
            self._active.discard(key)
        else:
            self._active.add(key)

    def numbers(self) -> Numbers:
        """Return the counts of now."""
        latencies = self._latencies
        return Numbers(
            raw=self._raw,
            replayed=self._replayed,
            distinct=self._repetitions.distinct,
            duplicates=self._repetitions.duplicates,
            typed=dict(self._typed),
            quarantined=dict(self._quarantined),
            alerts=dict(self._alerts),
            active=dict(Counter(key.split(b"/", 1)[0].decode() for key in self._active)),
            recent=tuple(self._recent),
            latency_ms=(percentile(latencies, 0.5), percentile(latencies, 0.99), max(latencies)) if latencies else None,
        )
