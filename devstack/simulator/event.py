"""Events of the simulated traffic."""

from datetime import UTC, datetime
from typing import NamedTuple

ACCOUNT = "ACCOUNT"
FUNDING = "FUNDING"
EVENT_TYPES = (ACCOUNT, FUNDING)


class Draft(NamedTuple):
    """An event without an id: type, account and payload in the brokerage's format."""

    event_type: str
    biz_type: str
    account: str
    payload: str  # JSON text of the inner payload object
    nanoseconds: bool  # the envelope's timestamp has 9 fraction digits, otherwise 3
    documented_position: bool  # False: the documented envelope of this event has no position


class Event(NamedTuple):
    """A distinct event of the log. `malformed` names what is wrong with it, None: nothing."""

    event_id: str
    event_type: str
    biz_type: str
    account: str
    timestamp: str
    payload: str
    documented_position: bool
    malformed: str | None


class Moment:
    """An event's time as the brokerage writes it: UTC with 3 or 9 fraction digits."""

    __slots__ = ("milliseconds", "nanoseconds")
    _second = -1
    _text = ""

    def __init__(self, time_ns: int) -> None:
        second, fraction = divmod(time_ns, 1_000_000_000)
        if second != Moment._second:  # formatting is slow; most events share their second with the previous one
            Moment._second = second
            Moment._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        self.milliseconds = f"{Moment._text}.{fraction // 1_000_000:03d}Z"
        self.nanoseconds = f"{Moment._text}.{fraction:09d}Z"
