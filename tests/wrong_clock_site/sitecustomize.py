"""Shifts the clock of this process, see tests/wrong_clock.py."""

import os
import time
from pathlib import Path

_own, _own_ns = time.time, time.time_ns


def _off() -> float:
    try:
        return float(Path(os.environ["CLOCK_FILE"]).read_text(encoding="utf-8") or 0)
    except FileNotFoundError:
        return 0.0


time.time = lambda: _own() + _off()
time.time_ns = lambda: _own_ns() + int(_off() * 1e9)
