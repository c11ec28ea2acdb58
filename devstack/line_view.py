"""The view without a terminal: a line every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from typing import Final, TextIO

from broker_events.devstack.run_snapshot import RunSnapshot, WorkerHealth

EVERY_S: Final = 2.5


class Say:
    """Prints steps with the seconds since the start, from any thread."""

    def __init__(self, started: float, out: TextIO | None = None) -> None:
        """`started`: monotonic time of the start; `out`: standard output by default."""
        self._started = started
        self._out = out or sys.stdout
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        with self._lock:
            self._out.write(f"{time.monotonic() - self._started:6.1f} s  {line}\n")
            self._out.flush()


class LineView(Say):
    """A line of counts every 2.5 s, and one for each change of the phase."""

    def __init__(self, started: float) -> None:
        super().__init__(started)
        self._due = 0.0
        self._phase = ""

    def show(self, picture: RunSnapshot) -> None:
        now = time.monotonic()
        if now < self._due and picture.phase == self._phase:
            return
        self._due, self._phase = now + EVERY_S, picture.phase
        self.say(line(picture))

    def close(self) -> None:
        """Nothing is held back."""


def line(picture: RunSnapshot) -> str:
    """Return the counts as one line."""
    seen = picture.seen
    parts = [
        f"raw {seen.raw:,} ({picture.raw_per_s:.0f}/s)",
        f"typed {sum(seen.typed.values()):,}",
        f"quarantined {sum(seen.quarantined.values()):,}",
        f"duplicates {seen.duplicates:,}",
        f"alerts {sum(seen.alerts.values()):,} ({sum(seen.active.values()):,} active)",
        f"behind {sum(picture.behind.values()):,}",
    ]
    if picture.shows_latency and seen.p99_ms is not None:
        parts.append(f"push to alert p50 {seen.p50_ms} p99 {seen.p99_ms} ms")
    parts += [f"{part.name} {part.doing}" for part in picture.parts if part.health is WorkerHealth.BAD]
    return f"{picture.phase}: " + ", ".join(parts)
