"""Which of two events is the newer one (docs/adr/0012-trusted-time.md).

Times compare to the nanosecond: first by microseconds, then by the digits that only the text holds.

An event time later than the receipt is wrong. The event keeps this time, but an order time replaces it in comparisons:

- A part that one topic alone states: the event is the newest, because it came last. Its order time is the earliest
  time at which it can have happened. Up to `max_skew_us` ahead, that is its receipt minus `max_skew_us`. Further ahead,
  it is the order time of the event before. So a later event with a true time is never stale because of it.
- A part that several topics state: topics have no common order, so the order key depends on the event alone. Up to
  `max_skew_us` ahead, it is the receipt; further ahead, it is below every other event. So the interleaving of topics
  doesn't change the result. At the same instant the event types decide, by `PRECEDENCE`.

Two events of one topic with equal order keys are in the order of their offsets.
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
            "ACCOUNT_RESTRICT",  # above its opposite, to show a restriction that may hold
            "ACCOUNT_CLOSE",
            "ACCOUNT_INFO_UPDATE",
            "VIRTUAL_ACCOUNT_BCAN_UPDATE",
            "ACCOUNT_UPDATE",
        )
    )
}
"""Rank of the event types that state one part together; the highest wins at the same instant."""

LOWEST: Final = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z, the earliest time that an event can have."""

_SUB_MICROSECOND = re.compile(r"\.[0-9]{6}([0-9]{1,3})")
_MILLISECOND: Final = 1000


class TimedEvent(TypedDict):
    """Fields of every event."""

    event_time: int
    event_time_text: str
    event_id: str


class TypedEvent(TimedEvent):
    """An event of a part that several topics state."""

    biz_type: str


class StatePart(TimedEvent):
    """A part of the state with its event; `arrival` is None where times alone have decided."""

    arrival: Arrival | None


class SharedPart(TypedEvent, StatePart):
    """A part of the state that several topics state."""


def part_of(event: TimedEvent, arrival: Arrival | None) -> StatePart:
    """Return what every part of the state has of its event."""
    return {
        "event_time": event["event_time"],
        "event_time_text": event["event_time_text"],
        "event_id": event["event_id"],
        "arrival": arrival,
    }


def is_ahead(event_time: int, source: RecordOrigin) -> bool:
    """Whether an event's time is after its receipt, which is known to the millisecond."""
    return event_time - source.received_us >= _MILLISECOND


def is_far_ahead(event_time: int, source: RecordOrigin) -> bool:
    """Whether an event's time is useless: ahead of its receipt by more than `max_skew_us`."""
    return _is_far(event_time, source.received_us, source)


def received_if_ahead(event_time: int, source: RecordOrigin) -> int | None:
    """Return the time of receipt of an event ahead of it; None for any other event."""
    return source.received_us if is_ahead(event_time, source) else None


def elapsed_us(event_time: int, since: int, since_received: int | None, source: RecordOrigin) -> int | None:
    """Return the microseconds from an event in the state to this one; None where either time is useless."""
    if is_far_ahead(event_time, source) or (since_received is not None and _is_far(since, since_received, source)):
        return None
    return event_time - since


def elapsed_since(event_time: int, since: StatePart, source: RecordOrigin) -> int | None:
    """Return `elapsed_us` since the event of a part."""
    arrival = since["arrival"]
    return elapsed_us(event_time, since["event_time"], arrival and arrival["received_time"], source)


def order(event: TimedEvent, than: StatePart) -> int:
    """Compare an event's own time with the order key of a part: negative when older, 0 at the same instant."""
    arrival = than["arrival"]
    if arrival is not None and arrival["order_time"] is not None:
        return event["event_time"] - arrival["order_time"]
    if event["event_time"] != than["event_time"]:
        return event["event_time"] - than["event_time"]
    return _nanoseconds(event["event_time_text"]) - _nanoseconds(than["event_time_text"])


def order_key(part: StatePart) -> tuple[int, int]:
    """Return the order key of a part: microseconds since the epoch, and nanoseconds past them."""
    arrival = part["arrival"]
    if arrival is not None and arrival["order_time"] is not None:
        return arrival["order_time"], 0
    return part["event_time"], _nanoseconds(part["event_time_text"])


def supersede(event: TimedEvent, last: StatePart | None, source: RecordOrigin) -> Arrival | Literal[False] | None:
    """Return `arrival` for a part of one topic that `event` supersedes; False where the event is stale.

    An event that is already in the part is stale too: the projector read it again.
    """
    if event["event_time"] - source.received_us < _MILLISECOND:  # the common case
        if last is None:
            return None
        if last["arrival"] is None and event["event_time"] != last["event_time"]:
            return None if event["event_time"] > last["event_time"] else False
    return _by_arrival(event, last, source)


def _by_arrival(event: TimedEvent, last: StatePart | None, source: RecordOrigin) -> Arrival | Literal[False] | None:
    event_us = event["event_time"]
    ahead = is_ahead(event_us, source)
    before = None if last is None else last["arrival"]
    newer = 1 if last is None else order(event, last)
    if newer < 0 or (
        before is not None and (is_before(source, before) if newer == 0 else ahead and was_read(source, before))
    ):
        return False
    order_time = None if before is None else before["order_time"]
    if ahead:
        least = order_time if order_time is not None else LOWEST if last is None else last["event_time"]
        return arrival_after(before, _order_time_ahead(event_us, least, source), source)
    if before is None and (newer or last is None or event["event_id"] == last["event_id"]):
        return None
    # An order time has no nanoseconds, so an event of the same microsecond takes it over.
    return arrival_after(before, order_time if order_time == event_us else None, source)


def _order_time_ahead(event_us: int, last_us: int, source: RecordOrigin) -> int:
    """Return the order time of an event that is ahead and comes after one with order time `last_us`."""
    return last_us if is_far_ahead(event_us, source) else max(last_us, source.received_us - source.max_skew_us)


def arrival_after(before: Arrival | None, order_time: int | None, source: RecordOrigin) -> Arrival:
    """Return the arrival of a record after another; received times never decrease, though clocks may be set back."""
    return {
        "order_time": order_time,
        "received_time": source.received_us if before is None else max(source.received_us, before["received_time"]),
        "typed_offset": source.offset,
    }


def is_before(source: RecordOrigin, last: Arrival) -> bool:
    """Whether a record of the same topic has no higher offset than the last one."""
    return source.offset <= last["typed_offset"]


def was_read(source: RecordOrigin, last: Arrival) -> bool:
    """Whether a record of the same topic was read before, regardless of event times.

    The offset alone is not enough: a recreated topic starts at 0 again, and its events have later receipts.
    """
    return source.offset <= last["typed_offset"] and source.received_us <= last["received_time"]


def restate(event: TypedEvent, stated: SharedPart | None, source: RecordOrigin) -> Arrival | Literal[False] | None:
    """Return `arrival` for a part of several topics that `event` supersedes; False where the event is stale.

    Where arrival has decided, the event of the part itself is stale too.
    """
    is_by_time = event["event_time"] - source.received_us < _MILLISECOND
    if stated is not None:
        before = stated["arrival"]
        if is_by_time and before is None and event["event_time"] != stated["event_time"]:  # the common case
            return None if event["event_time"] > stated["event_time"] else False
        key, its_key = _shared_key(event, source.received_us, source), _key_of(stated, source)
        is_tie = key == its_key  # of the same topic, then
        if key < its_key or (is_tie and before is not None and is_before(source, before)):
            return False
        is_by_time &= not is_tie or (before is None and event["event_id"] == stated["event_id"])
    return None if is_by_time else arrival_after(None, None, source)


def _key_of(stated: SharedPart, source: RecordOrigin) -> tuple[bool, int, int, int]:
    arrival = stated["arrival"]
    return _shared_key(stated, stated["event_time"] if arrival is None else arrival["received_time"], source)


def _shared_key(event: TypedEvent | SharedPart, received_us: int, source: RecordOrigin) -> tuple[bool, int, int, int]:
    event_us, rank = event["event_time"], PRECEDENCE[event["biz_type"]]
    if event_us - received_us < _MILLISECOND:
        return True, event_us, _nanoseconds(event["event_time_text"]), rank
    return not _is_far(event_us, received_us, source), received_us, 0, rank


def _is_far(event_us: int, received_us: int, source: RecordOrigin) -> bool:
    return event_us - received_us - (_MILLISECOND - 1) > source.max_skew_us


def _nanoseconds(text: str) -> int:
    """Return the nanoseconds past the microsecond in a time such as 2025-03-29T07:02:33.200962333Z: 333."""
    digits = _SUB_MICROSECOND.search(text)
    return int(digits[1].ljust(3, "0")) if digits else 0
