"""What a rule is told besides the event, and what it answers."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from broker_events.schemas.storage_types import Alert

State = TypeVar("State")


class RecordOrigin(NamedTuple):
    """Where the typed record was read: topic (with prefix), partition, offset; and when the event was received.

    `received_us`: microseconds since the epoch, truncated to milliseconds. `max_skew_us`: MAX_CLOCK_SKEW_S.
    """

    topic: str
    partition: int
    offset: int
    received_us: int
    max_skew_us: int


class Flag(StrEnum):
    """What is worth counting about an event; none of these stops it."""

    STALE = "stale"
    """Older than the part of the state it is about, which it therefore left as it was."""
    UNKNOWN_VALUE = "unknown_value"
    """A status, type or code that the broker's documents do not list."""
    CLOCK_AHEAD = "clock_ahead"
    """Stamped more than MAX_CLOCK_SKEW_S later than it was received: the stamp does not order it."""
    ILLEGAL_TRANSITION = "illegal_transition"
    """A movement went from one final status to another, COMPLETED to RETURNED aside."""
    MERGED = "merged"
    """An event has proved that two movements are one."""
    ALERTED_TWICE = "alerted_twice"
    """Each of them had raised its TRANSFER_RETURNED alert by then."""
    ID_CONFLICT = "id_conflict"
    """A movement got a second id of one kind."""


class Outcome(NamedTuple, Generic[State]):
    """Answer of a rule.

    `state` is the very object that was given when the event changes nothing, so `is` tells whether there is anything
    to write; a changed state is a new object and the given one is never altered. Both may share parts.
    """

    state: State
    alerts: tuple[Alert, ...] = ()
    flags: tuple[Flag, ...] = ()


class Link(NamedTuple, Generic[State]):
    """What else to put into a table: index keys that lead to the state, and further records by key."""

    index_keys: tuple[bytes, ...]
    others: tuple[tuple[bytes, State], ...] = ()


Projected = tuple[bytes, State | None, Outcome[State], Link[State] | None]
"""Of an event: key of the state, the state before, what became of it, and what else there is to put, if anything."""
