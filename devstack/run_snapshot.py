"""All that the views and the summary show of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from broker_events.devstack.balance import Numbers


class Health(StrEnum):
    """The health of a process, as the style that shows it."""

    GOOD = "green"
    BUSY = "yellow"  # starting, reconnecting or stopped
    BAD = "bold red"


class PartView(NamedTuple):
    """One process: its name, what it does, its health, and how often it was restarted."""

    name: str
    doing: str
    health: Health
    restarts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSnapshot:
    """`behind`: events that each stage has not processed yet, by its name. Times are in seconds since the start.

    The histories have one value per second, the newest last.
    """

    elapsed_s: float
    phase: str
    folder: Path
    exports: tuple[str, ...]  # shell lines that name the cluster
    parts: tuple[PartView, ...]
    numbers: Numbers
    topics: Mapping[str, str]  # biz_type -> typed topic, without the prefix
    per_s: Mapping[str, float]  # events per second: `pushed`, `raw`, `alerts`, and typed by biz_type
    behind: Mapping[str, int]
    projector_lag_s: float
    shows_latency: bool
    rate_history: Sequence[float] = ()  # raw events per second
    latency_history: Sequence[float] = ()  # median ms from push to alert
    first_typed_s: float | None = None
    flowed_s: float = 0.0  # how long events flowed
