"""A machine whose clock is wrong, for one Python process: time.time and time.time_ns are off by what a file says.

`datetime.now` and native code still see the real time. So do librdkafka's own clocks, which stamp no record of ours.
"""

from __future__ import annotations

import os
from pathlib import Path

SITE = Path(__file__).with_name("wrong_clock_site")  # Python runs sitecustomize.py there at its start


def wrong_clock(file: Path) -> dict[str, str]:
    """Variables for a process whose clock is off by the seconds that `file` has, as soon as the file is there."""
    return {"CLOCK_FILE": str(file), "PYTHONPATH": os.pathsep.join([str(SITE), os.environ.get("PYTHONPATH", "")])}
