"""Does it add up? What a run's numbers must satisfy, as equations; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

ACTIVE = "active"

AlertKind = tuple[str, str]
"""Rule and status, such as ("LIQUIDATE_ONLY", "FIRING")."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """What the simulator says that it has caused."""

    events: int  # distinct events of its log
    typed: Mapping[str, int]  # the valid ones of them by biz_type
    alerts: Mapping[AlertKind, int]
    active: Mapping[str, int]  # conditions that hold now, by rule

    @classmethod
    def from_report(cls, report: Mapping[str, Any]) -> Self:
        """Read the document that `broker-events simulate --report` writes."""
        expected = {
            (rule, status): count
            for rule, counts in report["expected_alerts"].items()
            for status, count in counts.items()
        }
        return cls(
            events=report["log"]["events"],
            typed=report["log"]["by_biz_type"],
            alerts={kind: count for kind, count in expected.items() if kind[1] != ACTIVE},
            active={rule: count for (rule, status), count in expected.items() if status == ACTIVE},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A run's counts. All but `received` and `simulated` are counted from the topics by an independent reader.

    `received` is the bridge's own counter; with `received_exact` false it is a lower bound (a killed bridge takes what
    it counted last with it). `replayed`: raw records from `quarantine replay`, which no bridge has received.
    `distinct`: raw records that repeat no earlier one. `duplicates`: repetitions of typed events, which the router
    has to recognise; a refused one is quarantined again instead.
    """

    received: int = 0
    received_exact: bool = True
    replayed: int = 0
    raw: int = 0
    distinct: int = 0
    duplicates: int = 0
    typed: Mapping[str, int] = field(default_factory=dict)  # by biz_type
    quarantined: int = 0
    alerts: Mapping[AlertKind, int] = field(default_factory=dict)
    active: Mapping[str, int] = field(default_factory=dict)
    simulated: Simulated | None = None


class Check(NamedTuple):
    """One equation: in words, in numbers, and whether it holds."""

    text: str
    numbers: str
    holds: bool


class AlertCount(NamedTuple):
    """Alerts of one rule and status (or `active`): seen, and expected, which is None where nobody knows."""

    rule: str
    status: str
    seen: int
    expected: int | None

    @property
    def holds(self) -> bool:
        return self.expected is None or self.seen == self.expected


def balance(numbers: Numbers) -> list[Check]:
    """Every equation that applies, with the numbers put in."""
    n, typed = numbers, sum(numbers.typed.values())
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
            f"{n.raw:,} = {typed:,} + {n.quarantined:,} + {n.duplicates:,}",
            n.raw == typed + n.quarantined + n.duplicates,
        ),
    ]
    if n.simulated is not None:
        checks += _against_simulator(n, n.simulated)
    return checks


def broken(numbers: Numbers) -> list[Check]:
    """Return the equations that don't hold; an empty list means that all is well."""
    return [check for check in balance(numbers) if not check.holds]


def alert_counts(numbers: Numbers) -> list[AlertCount]:
    """Alerts by rule and status, then what is active by rule; seen beside expected."""
    simulated = numbers.simulated
    seen = dict(numbers.alerts) | {(rule, ACTIVE): count for rule, count in numbers.active.items()}
    if simulated is None:
        return [AlertCount(rule, status, count, None) for (rule, status), count in sorted(seen.items())]
    expected = dict(simulated.alerts) | {(rule, ACTIVE): count for rule, count in simulated.active.items()}
    return [
        AlertCount(rule, status, seen.get((rule, status), 0), expected.get((rule, status), 0))
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
