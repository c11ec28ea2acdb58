"""What a run looks like at one moment: all that the views and the summary show, and nothing of how it came about."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from broker_events.devstack.balance import Numbers
from broker_events.devstack.counters import Seen

RATE_WINDOW_S: Final = 4.0


class WorkerHealth(Enum):
    WELL = "well"
    BUSY = "busy"  # starting, reconnecting, stopped: nothing that needs anybody
    BAD = "bad"


class PartView(NamedTuple):
    """A process: its name, a word on what it does, how that is meant, and how often it was started again."""

    name: str
    doing: str
    health: WorkerHealth
    restarts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSnapshot:
    """`behind`: events that each stage has yet to deal with, by its name."""

    elapsed_s: float
    phase: str
    folder: Path
    exports: tuple[str, ...]  # lines for the shell of another terminal that is to reach the cluster
    parts: tuple[PartView, ...]
    seen: Seen
    numbers: Numbers
    topics: Mapping[str, str]  # biz_type -> typed topic, without the prefix
    raw_per_s: float
    typed_per_s: Mapping[str, float]  # by biz_type
    behind: Mapping[str, int]
    projector_lag_s: float
    shows_latency: bool


class Display(Protocol):
    """How a run shows itself."""

    def say(self, line: str) -> None:
        """Show a step of the start or the end; from any thread."""

    def show(self, picture: RunSnapshot) -> None:
        """Show how it is now; called several times a second."""

    def close(self) -> None:
        """Show no more; what is printed from now on stays."""


class Rates:
    """Counts into events per second over the last few seconds."""

    def __init__(self) -> None:
        self._history: deque[tuple[float, Mapping[str, int]]] = deque()

    def add(self, at: float, counts: Mapping[str, int]) -> dict[str, float]:
        """Take the counts at a time (s) and return the rate of each."""
        self._history.append((at, counts))
        while len(self._history) > 2 and at - self._history[1][0] >= RATE_WINDOW_S:  # noqa: PLR2004 (first and last)
            self._history.popleft()
        since, before = self._history[0]
        passed = at - since
        return {name: (count - before.get(name, 0)) / passed if passed else 0.0 for name, count in counts.items()}
