"""The view without a terminal: one line every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from typing import Final, TextIO

from broker_events.devstack.run_snapshot import Health, RunSnapshot

EVERY_S: Final = 2.5


class LineView:
    """Prints steps with the seconds since the start, then counts every 2.5 s and at each change of the phase."""

    def __init__(self, started: float, out: TextIO | None = None) -> None:
        """`started`: monotonic time of the start; `out`: standard output by default."""
        self._started = started
        self._out = out or sys.stdout
        self._lock = threading.Lock()
        self._due = 0.0
        self._phase = ""

    def say(self, line: str) -> None:
        """Print a step. Any thread may call this."""
        with self._lock:
            self._out.write(f"{time.monotonic() - self._started:6.1f} s  {line}\n")
            self._out.flush()

    def show(self, snapshot: RunSnapshot) -> None:
        """Show the counts. The run calls this several times per second."""
        now = time.monotonic()
        if now >= self._due or snapshot.phase != self._phase:
            self._due, self._phase = now + EVERY_S, snapshot.phase
            self.say(line(snapshot))

    def close(self) -> None:
        """Stop showing."""


def line(snapshot: RunSnapshot) -> str:
    """Return the counts as one line."""
    n = snapshot.numbers
    parts = [
        f"raw {n.raw:,} ({snapshot.per_s.get('raw', 0):.0f}/s)",
        f"typed {n.all_typed:,}",
        f"quarantined {n.all_quarantined:,}",
        f"duplicates {n.duplicates:,}",
        f"alerts {sum(n.alerts.values()):,} ({sum(n.active.values()):,} active)",
        *([] if n.delivered is None else [f"delivered {n.delivered:,}"]),
        f"behind {sum(snapshot.behind.values()):,}",
    ]
    if snapshot.shows_latency and n.latency_ms is not None:
        p50, p99, _ = n.latency_ms
        parts.append(f"push to alert p50 {p50} p99 {p99} ms")
    parts += [f"{part.name} {part.doing}" for part in snapshot.parts if part.health is Health.BAD]
    return f"{snapshot.phase}: {', '.join(parts)}"
