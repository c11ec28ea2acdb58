"""The numbers of a run, and the equations that they must satisfy. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

ACTIVE = "active"

AlertKind = tuple[str, str]
"""Rule and status, such as ("LIQUIDATE_ONLY", "FIRING")."""


class AlertSeen(NamedTuple):
    """An alert as the view shows it: `text` has only the last four characters of the account."""

    at: float  # Unix time
    status: str  # FIRING, RESOLVED or RETURNED
    text: str
    latency_ms: int


@dataclass(frozen=True, slots=True)
class Simulated:
    """What the simulator reports that it has caused."""

    events: int  # distinct events of its log
    typed: Mapping[str, int]  # the valid ones of them by biz_type
    alerts: Mapping[AlertKind, int]
    active: Mapping[str, int]  # conditions that hold now, by rule

    @classmethod
    def from_report(cls, report: Mapping[str, Any]) -> Self:
        """Read the document that `broker-events simulate --report` writes."""
        log, expected = report["log"], report["expected_alerts"].items()
        alerts = {(rule, status): count for rule, counts in expected for status, count in counts.items()}
        active = {rule: alerts.pop((rule, ACTIVE)) for rule, counts in expected if ACTIVE in counts}
        return cls(log["events"], log["by_biz_type"], alerts, active)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Counts of a run. An independent reader counts all but `received` and `simulated` from the topics.

    `received` is the bridge's own counter. It is a lower bound with `received_exact` false: a killed bridge loses the
    counts after the last scrape. `replayed`: raw records from `quarantine replay`. `distinct`: raw records that do not
    repeat an earlier one. `duplicates`: repetitions of typed events, which the router drops. It quarantines a repeated
    rejected event again.
    """

    received: int = 0
    received_exact: bool = True
    replayed: int = 0
    raw: int = 0
    distinct: int = 0
    duplicates: int = 0
    typed: Mapping[str, int] = field(default_factory=dict)  # by biz_type
    quarantined: Mapping[str, int] = field(default_factory=dict)  # by reason
    alerts: Mapping[AlertKind, int] = field(default_factory=dict)
    active: Mapping[str, int] = field(default_factory=dict)  # by rule
    recent: tuple[AlertSeen, ...] = ()  # newest first
    latency_ms: tuple[int, int, int] | None = None  # p50, p99 and maximum from event time to alert
    simulated: Simulated | None = None
    delivered: int | None = None  # alerts that the run's own receiver has accepted; None without one
    delivery_ms: tuple[int, int, int] | None = None  # p50, p99 and maximum from event time to the receiver
    uncounted: frozenset[str] = frozenset()  # rules as data that are on: the simulator does not count their alerts

    @property
    def all_typed(self) -> int:
        return sum(self.typed.values())

    @property
    def all_quarantined(self) -> int:
        return sum(self.quarantined.values())


class Check(NamedTuple):
    """One equation: in words, in numbers, and whether it holds."""

    text: str
    numbers: str
    holds: bool


class AlertCount(NamedTuple):
    """Alerts of one rule and status (or `active`): seen and expected. `expected` is None without a simulator."""

    rule: str
    status: str
    seen: int
    expected: int | None

    @property
    def holds(self) -> bool:
        return self.expected is None or self.seen == self.expected


def balance(numbers: Numbers) -> list[Check]:
    """Return every equation that applies, with its numbers."""
    n = numbers
    written = n.received + n.replayed
    sign = "=" if n.received_exact else "<="
    checks = [
        Check(
            f"received + replayed {sign} raw",
            f"{n.received:,} + {n.replayed:,} {sign} {n.raw:,}",
            written == n.raw if n.received_exact else written <= n.raw,
        ),
        Check(
            "raw = typed + quarantined + duplicates",
            f"{n.raw:,} = {n.all_typed:,} + {n.all_quarantined:,} + {n.duplicates:,}",
            n.raw == n.all_typed + n.all_quarantined + n.duplicates,
        ),
    ]
    if n.delivered is not None:
        alerts = sum(n.alerts.values())
        checks.append(Check("alerts = delivered", f"{alerts:,} = {n.delivered:,}", alerts == n.delivered))
    if n.simulated is not None:
        checks += _against_simulator(n, n.simulated)
    return checks


def broken(numbers: Numbers) -> list[Check]:
    """Return the equations that do not hold."""
    return [check for check in balance(numbers) if not check.holds]


def alert_counts(numbers: Numbers) -> list[AlertCount]:
    """Return the seen and expected alerts of each rule and status."""
    simulated = numbers.simulated
    seen = dict(numbers.alerts) | {(rule, ACTIVE): count for rule, count in numbers.active.items()}
    if simulated is None:
        return [AlertCount(rule, status, count, None) for (rule, status), count in sorted(seen.items())]
    expected = dict(simulated.alerts) | {(rule, ACTIVE): count for rule, count in simulated.active.items()}
    return [
        AlertCount(
            rule,
            status,
            seen.get((rule, status), 0),
            None if rule in numbers.uncounted else expected.get((rule, status), 0),
        )
        for rule, status in sorted({*seen, *expected})
    ]


def _against_simulator(n: Numbers, simulated: Simulated) -> list[Check]:
    kinds = {*n.typed, *simulated.typed}
    differing = [kind for kind in sorted(kinds) if n.typed.get(kind, 0) != simulated.typed.get(kind, 0)]
    in_words = ", ".join(f"{kind} {n.typed.get(kind, 0):,} of {simulated.typed.get(kind, 0):,}" for kind in differing)
    alerts = alert_counts(n)
    wrong = ", ".join(f"{a.rule} {a.status} {a.seen:,} of {a.expected:,}" for a in alerts if not a.holds)
    return [
        Check("the simulator pushed something", f"{simulated.events:,} events", simulated.events > 0),
        Check(
            "simulated = raw without repetitions",
            f"{simulated.events:,} = {n.distinct:,}",
            simulated.events == n.distinct,
        ),
        Check("typed as simulated, type by type", in_words or f"{len(kinds)} types", not differing),
        Check(
            "alerts as simulated",
            wrong or f"{sum(n.alerts.values()):,} alerts, {sum(n.active.values()):,} active",
            not wrong,
        ),
    ]
