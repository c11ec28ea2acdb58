"""A clock that goes on while the process or the machine is suspended."""

from __future__ import annotations

import time


def running_s() -> float:
    """Return seconds of a clock that nobody sets. As the broker's, it goes on while this machine is suspended.

    Only Linux has it as BOOTTIME; the monotonic clock of macOS stands still.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
