"""The summary that a run prints at its end."""

from __future__ import annotations

import textwrap

from rich.text import Text

from broker_events.devstack.balance import alert_counts, balance, broken
from broker_events.devstack.run_snapshot import RunSnapshot

_FACT_WIDTH = 56  # with its name a line has less than 80 columns


def summary(snapshot: RunSnapshot) -> list[Text]:
    """Return the lines: equations, alerts, latency, throughput, restarts, verdict."""
    numbers = snapshot.numbers
    checks, alerts = balance(numbers), alert_counts(numbers)
    width = max(len(check.text) for check in checks)
    lines = [Text(), Text("Balance", style="bold")]
    lines += [_line(holds=check.holds, text=f"{check.text:<{width}}   {check.numbers}") for check in checks]
    if alerts:
        expected = "" if numbers.simulated is None else "expected"
        lines += [Text(), Text(f"{'Alerts':<32}{'seen':>10}{expected:>12}", style="bold")]
    for alert in alerts:
        expected = "" if alert.expected is None else f"{alert.expected:,}"
        text = f"{alert.rule:<20}{alert.status:<10}{alert.seen:>10,}{expected:>12}"
        lines.append(_line(holds=alert.holds, text=text))
    lines += [Text(), Text("Run", style="bold")]
    if snapshot.shows_latency and numbers.latency_ms is not None:
        lines.append(_fact("push to alert", "p50 {} ms   p99 {} ms   max {} ms".format(*numbers.latency_ms)))
    if snapshot.shows_latency and numbers.delivery_ms is not None:
        lines.append(_fact("push to receiver", "p50 {} ms   p99 {} ms   max {} ms".format(*numbers.delivery_ms)))
    if numbers.raw and snapshot.flowed_s > 0:
        rate = numbers.raw / snapshot.flowed_s
        lines.append(_fact("throughput", f"{rate:,.0f} events/s over {snapshot.flowed_s:.1f} s"))
    # The no-break space keeps a reason and its number on one line.
    reasons = ", ".join(f"{reason}\xa0{count:,}" for reason, count in sorted(numbers.quarantined.items()))
    wrapped = textwrap.wrap(reasons, _FACT_WIDTH, break_long_words=False)
    lines += [_fact("" if index else "quarantined", text.replace("\xa0", " ")) for index, text in enumerate(wrapped)]
    if snapshot.first_typed_s is not None:
        lines.append(_fact("first typed event", f"{snapshot.first_typed_s:.1f} s after the start"))
    restarts = ", ".join(f"{part.name} {part.restarts}" for part in snapshot.parts if part.restarts)
    lines.append(_fact("restarts", restarts or "none"))
    failed = len(broken(numbers))
    verdict = "balanced" if not failed else f"NOT balanced: {failed} of {len(checks)} equations do not hold"
    return [*lines, Text(), Text(verdict, style="bold red" if failed else "bold green")]


def _line(*, holds: bool, text: str) -> Text:
    return Text.assemble("  ", ("✓ ", "green") if holds else ("✗ ", "bold red"), text)


def _fact(name: str, value: str) -> Text:
    return Text.assemble("  ", (f"{name:<20}", "dim"), value)
