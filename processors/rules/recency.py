"""Which of two events is the newer one (docs/adr/0012-trusted-time.md).

Event times are compared to the nanosecond: by microseconds first, on a draw by the digits that only the text holds.
A time later than the event's receipt is wrong. Such an event keeps its time, which no longer decides its place:

- Where one topic alone states a thing, the event is the newest, as it came last. Its `order_time` is the earliest time
  at which it can have happened: up to `max_skew_us` ahead, that long before its receipt; further ahead, the order time
  of what it supersedes. So an event with a true time that comes later is never stale because of it.
- Where several topics state a thing, there is no order between them, and the place is a function of the event alone:
  up to `max_skew_us` ahead it is the receipt; further ahead it is below every other event. So the result is independent
  of how the topics are interleaved. At the same instant the types of the events decide, by `PRECEDENCE`.

Two events of one topic at the same place are in the order of their offsets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, TypedDict

if TYPE_CHECKING:
    from broker_events.processors.rules.outcome import RecordOrigin
    from broker_events.schemas.storage_types import Arrival

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

LOWEST: Final = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z, the earliest time that an event can have."""

_SUB_MICROSECOND = re.compile(r"\.[0-9]{6}([0-9]{1,3})")
_MILLISECOND: Final = 1000


class Timed(TypedDict):
    """What every event has."""

    event_time: int
    event_time_text: str
    event_id: str


class Typed(Timed):
    """The same where more than one topic states a thing."""

    biz_type: str


class Part(Timed):
    """What a part of the state says of its event; `arrival` is None where times alone have decided."""

    arrival: Arrival | None


class Fact(Typed, Part):
    """The same where more than one topic states a thing."""


def is_ahead(event_time: int, source: RecordOrigin) -> bool:
    """Whether an event is stamped later than it was received, which may be anywhere in its millisecond."""
    return event_time - source.received_us >= _MILLISECOND


def is_far_ahead(event_time: int, source: RecordOrigin) -> bool:
    """Whether an event's time says nothing: it is further ahead of the receipt than clocks may differ."""
    return _is_far(event_time, source.received_us, source)


def received_if_ahead(event_time: int, source: RecordOrigin) -> int | None:
    """Time of receipt of an event that is ahead of it; None for any other."""
    return source.received_us if is_ahead(event_time, source) else None


def elapsed_us(event_time: int, since: int, since_received: int | None, source: RecordOrigin) -> int | None:
    """Microseconds from an event in the state to the one at hand; None where one of the times says nothing."""
    if is_far_ahead(event_time, source) or (since_received is not None and _is_far(since, since_received, source)):
        return None
    return event_time - since


def elapsed_since(event_time: int, since: Part, source: RecordOrigin) -> int | None:
    """`elapsed_us` since the event of a part."""
    arrival = since["arrival"]
    return elapsed_us(event_time, since["event_time"], arrival and arrival["received_time"], source)


def order(event: Timed, than: Part) -> int:
    """Compare an event's own time with the place of one before it: negative when older, 0 at the same instant."""
    arrival = than["arrival"]
    if arrival is not None and arrival["order_time"] is not None:
        return event["event_time"] - arrival["order_time"]
    if event["event_time"] != than["event_time"]:
        return event["event_time"] - than["event_time"]
    return _nanoseconds(event["event_time_text"]) - _nanoseconds(than["event_time_text"])


def place(part: Part) -> tuple[int, int]:
    """Place in time of what the state has: microseconds since the epoch, and nanoseconds past them."""
    arrival = part["arrival"]
    if arrival is not None and arrival["order_time"] is not None:
        return arrival["order_time"], 0
    return part["event_time"], _nanoseconds(part["event_time_text"])


def supersede(event: Timed, last: Part | None, source: RecordOrigin) -> Arrival | Literal[False] | None:
    """`arrival` of a part that one topic alone states and that `event` supersedes; False where the event is stale.

    An event that the part was made of before is stale, too: it was read again.
    """
    if event["event_time"] - source.received_us < _MILLISECOND:  # nearly always
        if last is None:
            return None
        if last["arrival"] is None and event["event_time"] != last["event_time"]:
            return None if event["event_time"] > last["event_time"] else False
    return _by_arrival(event, last, source)


def _by_arrival(event: Timed, last: Part | None, source: RecordOrigin) -> Arrival | Literal[False] | None:
    event_us = event["event_time"]
    ahead = is_ahead(event_us, source)
    before = None if last is None else last["arrival"]
    newer = 1 if last is None else order(event, last)
    if newer < 0 or (
        before is not None and (is_before(source, before) if newer == 0 else ahead and was_read(source, before))
    ):
        return False
    place = None if before is None else before["order_time"]
    if ahead:
        least = place if place is not None else LOWEST if last is None else last["event_time"]
        return arrival_after(before, _place_ahead(event_us, least, source), source)
    if before is None and (newer or last is None or event["event_id"] == last["event_id"]):
        return None
    # An order time has no nanoseconds: the place of what has the same microsecond has none either.
    return arrival_after(before, place if place == event_us else None, source)


def _place_ahead(event_us: int, last_us: int, source: RecordOrigin) -> int:
    """Order time of an event that is ahead, behind one of order time `last_us`."""
    return last_us if is_far_ahead(event_us, source) else max(last_us, source.received_us - source.max_skew_us)


def arrival_after(before: Arrival | None, place: int | None, source: RecordOrigin) -> Arrival:
    """Arrival of a record behind that of another one; received times only grow, though clocks may be set back."""
    return {
        "order_time": place,
        "received_time": source.received_us if before is None else max(source.received_us, before["received_time"]),
        "typed_offset": source.offset,
    }


def is_before(source: RecordOrigin, last: Arrival) -> bool:
    """Whether a record of the same topic is not behind the last one."""
    return source.offset <= last["typed_offset"]


def was_read(source: RecordOrigin, last: Arrival) -> bool:
    """Whether a record of the same topic was read before, whatever the times of the events say.

    The offset alone doesn't say so: a topic that was recreated begins with 0 again, and its events are received later.
    """
    return source.offset <= last["typed_offset"] and source.received_us <= last["received_time"]


def restate(event: Typed, stated: Fact | None, source: RecordOrigin) -> Arrival | Literal[False] | None:
    """`arrival` of a thing that several topics state and `event` states anew; False where what `stated` says stands.

    It stands against the very event that it is of, too, where arrival has decided.
    """
    is_by_time = event["event_time"] - source.received_us < _MILLISECOND
    if stated is not None:
        before = stated["arrival"]
        if is_by_time and before is None and event["event_time"] != stated["event_time"]:  # nearly always
            return None if event["event_time"] > stated["event_time"] else False
        place, its_place = _place(event, source.received_us, source), _place_of(stated, source)
        is_tie = place == its_place  # of the same topic, then
        if place < its_place or (is_tie and before is not None and is_before(source, before)):
            return False
        is_by_time &= not is_tie or (before is None and event["event_id"] == stated["event_id"])
    return None if is_by_time else arrival_after(None, None, source)


def _place_of(stated: Fact, source: RecordOrigin) -> tuple[bool, int, int, int]:
    arrival = stated["arrival"]
    return _place(stated, stated["event_time"] if arrival is None else arrival["received_time"], source)


def _place(event: Typed | Fact, received_us: int, source: RecordOrigin) -> tuple[bool, int, int, int]:
    event_us, rank = event["event_time"], PRECEDENCE[event["biz_type"]]
    if event_us - received_us < _MILLISECOND:
        return True, event_us, _nanoseconds(event["event_time_text"]), rank
    return not _is_far(event_us, received_us, source), received_us, 0, rank


def _is_far(event_us: int, received_us: int, source: RecordOrigin) -> bool:
    return event_us - received_us - (_MILLISECOND - 1) > source.max_skew_us


def _nanoseconds(text: str) -> int:
    """Nanoseconds past the microsecond in a time such as 2025-03-29T07:02:33.200962333Z: 333."""
    digits = _SUB_MICROSECOND.search(text)
    return int(digits[1].ljust(3, "0")) if digits else 0
