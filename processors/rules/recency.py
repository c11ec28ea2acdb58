"""Which of two events is the newer one.

Event times are compared to the nanosecond: by microseconds first, on a draw by the digits that only the text holds.
Two events of one topic at the same instant are in the order of their offsets, so the one at hand, which was read later,
is the newer. Between topics there is no order: there the types of the events decide, by `PRECEDENCE`, which makes the
result independent of how the topics are interleaved.
"""

from __future__ import annotations

import re
from typing import TypedDict

PRECEDENCE = {
    biz_type: rank
    for rank, biz_type in enumerate(
        (
            "ACCOUNT_UNRESTRICTED",
            "ACCOUNT_RESTRICT",  # above its opposite: a restriction that may hold is shown
            "ACCOUNT_CLOSE",
            "ACCOUNT_INFO_UPDATE",
            "VIRTUAL_ACCOUNT_BCAN_UPDATE",
            "ACCOUNT_UPDATE",
        )
    )
}
"""Rank of the types that state one thing together; the highest wins at the same instant."""

_SUB_MICROSECOND = re.compile(r"\.[0-9]{6}([0-9]{1,3})")


class Timed(TypedDict):
    """What events and the parts of a state share."""

    event_time: int
    event_time_text: str


class Typed(Timed):
    """The same where more than one topic states a thing."""

    biz_type: str


def is_older(event: Timed, than: Timed) -> bool:
    """Whether `event` happened before `than`; False at the same instant."""
    if event["event_time"] != than["event_time"]:
        return event["event_time"] < than["event_time"]
    return _nanoseconds(event["event_time_text"]) < _nanoseconds(than["event_time_text"])


def yields_to(event: Typed, stated: Typed) -> bool:
    """Whether what `stated` said stands against `event`: by time, at the same instant by `PRECEDENCE`."""
    if event["event_time"] != stated["event_time"]:
        return event["event_time"] < stated["event_time"]
    ranks = PRECEDENCE[event["biz_type"]], PRECEDENCE[stated["biz_type"]]
    nanoseconds = _nanoseconds(event["event_time_text"]), _nanoseconds(stated["event_time_text"])
    return (nanoseconds[0], ranks[0]) < (nanoseconds[1], ranks[1])


def _nanoseconds(text: str) -> int:
    """Nanoseconds past the microsecond in a time such as 2025-03-29T07:02:33.200962333Z: 333."""
    digits = _SUB_MICROSECOND.search(text)
    return int(digits[1].ljust(3, "0")) if digits else 0
