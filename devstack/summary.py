"""What a run says at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.text import Text

from broker_events.devstack.balance import alert_counts, balance, broken
from broker_events.devstack.run_snapshot import RunSnapshot

_GOOD = ("✓ ", "green")
_REASONS_A_LINE = 4
_BAD = ("✗ ", "bold red")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds since the start of the command until events flowed and were typed; how long they flowed."""

    first_typed_s: float | None
    flowed_s: float


def summary(picture: RunSnapshot, timing: Timing, restarts: Mapping[str, int]) -> list[Text]:
    """Return the lines: equations, alerts, latency, throughput, restarts, verdict."""
    numbers, seen = picture.numbers, picture.seen
    checks = balance(numbers)
    width = max(len(check.text) for check in checks)
    lines = [Text(), Text("Balance", style="bold")]
    lines += [_line(holds=check.holds, text=f"{check.text:<{width}}   {check.numbers}") for check in checks]
    alerts = alert_counts(numbers)
    if alerts:
        compared = numbers.simulated is not None
        lines += [Text(), Text(f"{'Alerts':<32}{'seen':>10}{'expected' if compared else '':>12}", style="bold")]
    for alert in alerts:
        expected = "" if alert.expected is None else f"{alert.expected:,}"
        text = f"{alert.rule:<20}{alert.status:<10}{alert.seen:>10,}{expected:>12}"
        lines.append(_line(holds=alert.holds, text=text))
    lines += [Text(), Text("Run", style="bold")]
    if picture.shows_latency and seen.p50_ms is not None:
        lines.append(_fact("push to alert", f"p50 {seen.p50_ms} ms   p99 {seen.p99_ms} ms   max {seen.max_ms} ms"))
    if seen.raw and timing.flowed_s > 0:
        lines.append(_fact("throughput", f"{seen.raw / timing.flowed_s:,.0f} events/s over {timing.flowed_s:.1f} s"))
    reasons = [f"{reason} {count:,}" for reason, count in sorted(seen.quarantined.items())]
    for first in range(0, len(reasons), _REASONS_A_LINE):
        name = "" if first else "quarantined"
        lines.append(_fact(name, ", ".join(reasons[first : first + _REASONS_A_LINE])))
    if timing.first_typed_s is not None:
        lines.append(_fact("first typed event", f"{timing.first_typed_s:.1f} s after the start"))
    again = ", ".join(f"{name} {count}" for name, count in restarts.items() if count)
    lines.append(_fact("restarts", again or "none"))
    failed = len(broken(numbers))
    verdict = "balanced" if not failed else f"NOT balanced: {failed} of {len(checks)} equations don't hold"
    lines += [Text(), Text(verdict, style="bold red" if failed else "bold green")]
    return lines


def _line(*, holds: bool, text: str) -> Text:
    return Text.assemble("  ", _GOOD if holds else _BAD, text)


def _fact(name: str, value: str) -> Text:
    return Text.assemble("  ", (f"{name:<20}", "dim"), value)
