"""Retries requests to the services that a process needs at its start."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from broker_events.runtime.process.errors import RestartRequired, Stopped

log = logging.getLogger(__name__)

T = TypeVar("T")


def keep_trying(
    what: str,
    attempt: Callable[[], T],
    timeout_s: float,
    errors: tuple[type[Exception], ...],
    stop: threading.Event | None = None,
) -> T:
    """Call `attempt` until it doesn't raise one of `errors`. Pauses double up to 5 s. Logs one line per failure.

    Raises RestartRequired with `what` and the last error after `timeout_s`, and Stopped once `stop` is set.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = 0.5
    stop = stop or threading.Event()
    while True:
        try:
            return attempt()
        except errors as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise RestartRequired(f"{what} did not answer within {timeout_s:g} s: {error}") from None
            pause_s = min(pause_s, left)
            log.warning("%s does not answer (%s); next try in %.1f s, giving up in %.0f s", what, error, pause_s, left)
            if stop.wait(pause_s):
                raise Stopped(f"stopped while waiting for {what}") from None
            pause_s = min(pause_s * 2, 5.0)
