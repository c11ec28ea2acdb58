"""Which worker is struck when, and by which signal; the same seed gives the same schedule."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from signal import SIGKILL, SIGTERM, Signals
from typing import NamedTuple

MAX_DOWN_S = 1.5


class Blow(NamedTuple):
    """`after_s` seconds from the first event on; the worker is started again `down_s` later."""

    after_s: float
    worker: str
    signal: Signals
    down_s: float


def draw(seed: int, workers: Sequence[str], seconds: float, kills: int, stops: int) -> list[Blow]:
    """Strike every worker `kills` times with SIGKILL, and `stops` random ones with SIGTERM, at random times."""
    rng = Random(seed)  # noqa: S311 (reproducible on purpose)
    blows = [(worker, SIGKILL) for worker in workers for _ in range(kills)]
    blows += [(rng.choice(workers), SIGTERM) for _ in range(stops)]
    schedule = [Blow(rng.uniform(0, seconds), worker, number, rng.uniform(0, MAX_DOWN_S)) for worker, number in blows]
    return sorted(schedule)
