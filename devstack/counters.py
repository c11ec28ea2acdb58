"""What records amount to: pure counting, fed record by record, whatever they came from."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from broker_events.devstack.balance import AlertKind
from broker_events.runtime.consume.record import KafkaRecord
from broker_events.schemas.headers import RECOVERED_FROM
from broker_events.schemas.models import Alert

OTHER: Final = "other"
RETURNED: Final = "RETURNED"
# A repetition farther back than this is taken for new; more than the router's own windows hold together.
REMEMBERED: Final = 1_000_000
RECENT_ALERTS: Final = 100


class AlertSeen(NamedTuple):
    """An alert as the view shows it: of the account only the last four characters."""

    at: float  # Unix time
    status: str  # FIRING, RESOLVED or RETURNED
    account: str
    what: str
    latency_ms: int


class Latencies:
    """Milliseconds, counted by value: exact percentiles at any length of the run."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, ms: int) -> None:
        self._counts[ms] += 1

    def percentile(self, share: float) -> int | None:
        """Return the smallest value that at least `share` (0 to 1) of all don't exceed; None without any."""
        needed, below = share * self._counts.total(), 0
        for ms in sorted(self._counts):
            below += self._counts[ms]
            if below >= needed:
                return ms
        return None


class Repetitions:
    """Tells raw records apart: new, known duplicate, or repeated without being one.

    `is_typed` says of a record's value whether it gets a typed record: what is refused is so as often as it comes.
    """

    def __init__(self, is_typed: Callable[[bytes], bool], remembered: int = REMEMBERED) -> None:
        self._is_typed = is_typed
        self._remembered = remembered
        self._bodies: OrderedDict[int, int] = OrderedDict()  # hash of the event id -> hash of its first body
        self.distinct = 0
        self.duplicates = 0

    def add(self, event_id: bytes | None, value: bytes, key: bytes | None, *, replayed: bool = False) -> None:
        """Count one raw record. A replayed one is never distinct: it repeats a refused one, whatever its id says."""
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


@dataclass(frozen=True, slots=True)
class Seen:
    """A tally at one moment."""

    raw: int
    replayed: int  # of raw: written by `quarantine replay`
    distinct: int
    duplicates: int
    raw_by_type: dict[str, int]  # by biz_type; `other` is anything undocumented
    typed: dict[str, int]  # by biz_type
    quarantined: dict[str, int]  # by reason
    alerts: dict[AlertKind, int]
    active: dict[str, int]  # by rule
    recent: tuple[AlertSeen, ...]  # newest first
    p50_ms: int | None
    p99_ms: int | None
    max_ms: int | None


class RunCounters:
    """Counts the records of the pipeline's topics.

    `biz_types`: those that have a typed topic. `is_typed` says of a raw value whether it gets a typed record.
    """

    def __init__(self, biz_types: frozenset[str], is_typed: Callable[[bytes], bool]) -> None:
        self._biz_types = biz_types
        self._repetitions = Repetitions(is_typed)
        self._raw: Counter[str] = Counter()
        self._replayed = 0
        self._typed: Counter[str] = Counter()
        self._quarantined: Counter[str] = Counter()
        self._alerts: Counter[AlertKind] = Counter()
        self._active: set[bytes] = set()
        self._recent: deque[AlertSeen] = deque(maxlen=RECENT_ALERTS)
        self._latencies = Latencies()

    def raw(self, record: KafkaRecord) -> None:
        headers = dict(record.headers() or ())
        biz_type = (headers.get("biz_type") or b"").decode("utf-8", "replace")
        self._raw[biz_type if biz_type in self._biz_types else OTHER] += 1
        replayed = RECOVERED_FROM in headers
        self._replayed += replayed
        self._repetitions.add(headers.get("event_id"), record.value() or b"", record.key(), replayed=replayed)

    def typed(self, biz_type: str) -> None:
        self._typed[biz_type] += 1

    def quarantined(self, reason: str) -> None:
        self._quarantined[reason] += 1

    def alert(self, alert: Alert, seen_at: float) -> None:
        """Count an alert that a consumer got at `seen_at` (Unix time)."""
        self._alerts[alert.rule, alert.status] += 1
        latency_ms = max(round((seen_at - alert.event_time.timestamp()) * 1000), 0)
        self._latencies.add(latency_ms)
        status, what = alert.status, alert.subject
        if alert.transfer is not None:
            status, what = RETURNED, f"{alert.transfer.amount.normalize():f} {alert.transfer.currency}"
        self._recent.appendleft(AlertSeen(seen_at, status, alert.account_key[-4:], what, latency_ms))

    def active(self, record: KafkaRecord) -> None:
        key = record.key() or b""
        if record.value() is None:
            self._active.discard(key)
        else:
            self._active.add(key)

    def seen(self) -> Seen:
        """Return the counts as they are now."""
        return Seen(
            raw=self._raw.total(),
            replayed=self._replayed,
            distinct=self._repetitions.distinct,
            duplicates=self._repetitions.duplicates,
            raw_by_type=dict(self._raw),
            typed=dict(self._typed),
            quarantined=dict(self._quarantined),
            alerts=dict(self._alerts),
            active=dict(Counter(key.split(b"/", 1)[0].decode() for key in self._active)),
            recent=tuple(self._recent),
            p50_ms=self._latencies.percentile(0.5),
            p99_ms=self._latencies.percentile(0.99),
            max_ms=self._latencies.percentile(1.0),
        )
