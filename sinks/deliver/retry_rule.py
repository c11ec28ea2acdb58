"""What follows from an attempt: done, another one and when, or none. Pure.

The times between attempts are those of Standard Webhooks 1.0. An answer says whose problem it is: that of one alert,
or of the receiver, which then gets one request at a time until it accepts one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from http import HTTPStatus
from typing import Final, NamedTuple

# Seconds after the first, second ... attempt.
SCHEDULE_S: Final = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
MOST_REJECTIONS: Final = 5
# A rejected alert is soon out of its account's way.
_REJECTED_PAUSE_S: Final = 5
# While the receiver fails: a recovery is noticed within a minute.
_PROBE_S: Final = (1, 2, 5, 10, 30, 60)
_MOST_RETRY_AFTER_S: Final = 3600

_REJECTIONS: Final = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
_NOT_READY: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_BUSY: Final = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


class Answer(NamedTuple):
    """The result of a request: `status` and at most 4 KB of `body`, or the `problem` that there was no answer.

    `connected`: the receiver was reached, so a problem may be of this alert. `retry_after_s`: as the receiver asks.
    """

    status: int | None = None
    body: str = ""
    retry_after_s: float | None = None
    problem: str = ""
    connected: bool = True

    @property
    def text(self) -> str:
        """Short text for logs and records, without the body."""
        return self.problem or f"HTTP {self.status}"


class Verdict(Enum):
    """What an answer means."""

    DELIVERED = auto()
    REJECTED = auto()
    """The receiver will not take this alert."""
    FAILED = auto()
    """This attempt failed, for the alert or for the receiver."""
    BUSY = auto()
    """The receiver takes no alert now."""
    NOT_READY = auto()
    """The receiver is not set up: nothing is given up."""


_FIRST_FAILURE: Final = 400


def verdict(answer: Answer) -> Verdict:
    """Return what an answer means."""
    status = answer.status
    if status is None:
        return Verdict.FAILED if answer.connected else Verdict.BUSY
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Verdict.DELIVERED
    if status in _NOT_READY or status < _FIRST_FAILURE:  # a redirect is not followed
        return Verdict.NOT_READY
    if status in _BUSY:
        return Verdict.BUSY
    return Verdict.REJECTED if status in _REJECTIONS else Verdict.FAILED


@dataclass(slots=True)
class Retries:
    """What the answers for one alert so far say about its next attempt. Times are of one clock, in seconds."""

    _rejections: int = 0  # in a row
    _failures: int = 0
    _since_s: float | None = None  # of the failures that `give_up_after` counts

    def next_s(self, found: Verdict, now_s: float, give_up_after: timedelta) -> float | None:
        """Note the verdict of an attempt. Returns when to send the alert again, or None to give it up.

        Time in which the receiver was not ready is not counted, and what fails after it begins the schedule again.
        """
        if found is Verdict.REJECTED:
            self._rejections += 1
            return None if self._rejections >= MOST_REJECTIONS else now_s + _REJECTED_PAUSE_S
        self._rejections = 0
        if found is Verdict.NOT_READY:
            self._since_s = None
        elif self._since_s is None:
            self._since_s, self._failures = now_s, 0
        self._failures += 1
        due_s = now_s + SCHEDULE_S[min(self._failures, len(SCHEDULE_S)) - 1]
        if self._since_s is None:
            return due_s
        last_s = self._since_s + give_up_after.total_seconds()
        return None if now_s >= last_s else min(due_s, last_s)


class ReceiverHealth:
    """Whether the receiver as a whole accepts requests, by its answers; times are of one clock, in seconds.

    It fails if it is busy, not ready or unreachable, or if alerts of `_LANES` accounts fail in a row.
    """

    _LANES: Final = 3

    def __init__(self) -> None:
        self.is_failing = False
        self.held_until_s = float("-inf")
        self._failures = 0
        self._lanes: set[object] = set()

    def note(self, found: Verdict, lane: object, answer: Answer, now_s: float) -> bool:
        """Note an answer for an alert of this lane. Returns True if the receiver has just recovered."""
        if found in {Verdict.DELIVERED, Verdict.REJECTED}:
            recovered, self.is_failing = self.is_failing, False
            self._failures = 0
            self._lanes.clear()
            return recovered
        self._lanes.add(lane)
        if found is not Verdict.FAILED or len(self._lanes) >= self._LANES:
            self.is_failing = True
            pause_s: float = _PROBE_S[min(self._failures, len(_PROBE_S) - 1)]
            self._failures += 1
            if answer.retry_after_s is not None:
                pause_s = min(answer.retry_after_s, _MOST_RETRY_AFTER_S)
            self.held_until_s = max(self.held_until_s, now_s + pause_s)
        return False
