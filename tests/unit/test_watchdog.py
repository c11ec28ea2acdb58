"""A call that never comes back ends the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

CALLS = """
import time
from broker_events.runtime.kafka.watchdog import Watchdog
watchdog = Watchdog()
with watchdog.limit("the quick call", 60):
    pass
with watchdog.limit("the slow call", {limit_s}):
    time.sleep(1)
time.sleep(1)
print("came back")
"""


@pytest.mark.parametrize(("limit_s", "code", "said"), [(0.1, 70, "the slow call hangs"), (60, 0, "came back")])
def test_a_hanging_call(limit_s: float, code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CALLS.format(limit_s=limit_s)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done
    assert said in done.stdout + done.stderr
