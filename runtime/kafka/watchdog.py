"""Ends the process if a call into a library hangs."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from broker_events.runtime.process.errors import RestartRequired

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.5


class Watchdog:
    """Watches the calls of one thread, one at a time, from a daemon thread."""

    def __init__(self) -> None:
        self._call = ""
        self._back_by = math.inf
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def limit(self, call: str, seconds: float) -> Iterator[None]:
        """End the process with exit code 70 if the block takes longer."""
        self._call, self._back_by = call, time.monotonic() + seconds
        try:
            yield
        finally:
            self._back_by = math.inf

    def _watch(self) -> None:
        while time.monotonic() < self._back_by:
            time.sleep(_LOOK_EVERY_S)
        log.error("%s hangs; this process ends without it", self._call)
        os._exit(RestartRequired.exit_code)
