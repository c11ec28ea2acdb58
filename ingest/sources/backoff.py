"""Waits between connections."""

from collections.abc import Callable
from random import uniform
from typing import Final

FIRST_S: Final = 1.0
LONGEST_S: Final = 30.0
# A stream that lasted this long was healthy, so the next wait is short.
HEALTHY_S: Final = 30.0


class Backoff:
    """Capped exponential backoff with decorrelated jitter, so that the clients of one server don't return at once."""

    def __init__(self, draw: Callable[[float, float], float] = uniform) -> None:
        self._draw = draw
        self._last_s = FIRST_S

    def next_wait_s(self, lived_s: float) -> float:
        """Return the seconds to wait after a stream that lasted `lived_s`: 1 to 30, growing while streams are short."""
        if lived_s >= HEALTHY_S:
            self._last_s = FIRST_S
        self._last_s = min(LONGEST_S, self._draw(FIRST_S, self._last_s * 3))
        return self._last_s
