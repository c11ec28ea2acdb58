"""Input of a rule besides the event, and its result."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from broker_events.schemas.storage_types import Alert

State = TypeVar("State")
State_co = TypeVar("State_co", covariant=True)


class RecordOrigin(NamedTuple):
    """Origin of the typed record: topic (with prefix), partition, offset, and time of receipt.

    `received_us`: microseconds since the epoch, truncated to milliseconds. `max_skew_us`: MAX_CLOCK_SKEW_S in
    microseconds.
    """

    topic: str
    partition: int
    offset: int
    received_us: int
    max_skew_us: int


class Flag(StrEnum):
    """Property of an event that a metric counts; none rejects the event."""

    STALE = "stale"
    """Older than the part of the state that it is about, so that part stays unchanged. A RETURNED still fires."""
    UNKNOWN_VALUE = "unknown_value"
    """A status, type or code that the brokerage's documents do not list, or a placeholder in place of an id."""
    CLOCK_AHEAD = "clock_ahead"
    """Stamped more than MAX_CLOCK_SKEW_S after its receipt, so its time does not order it."""
    ILLEGAL_TRANSITION = "illegal_transition"
    """A movement went from one final status to another, except from COMPLETED to RETURNED."""
    MERGED = "merged"
    """An event showed that two movements are the same."""
    ALERTED_TWICE = "alerted_twice"
    """Both merged movements had already fired a TRANSFER_RETURNED alert."""
    ID_CONFLICT = "id_conflict"
    """A movement got a second id of the same kind."""


class Outcome(NamedTuple, Generic[State]):
    """Result of a rule.

    `state` is the given object when the event changes nothing, so the caller compares with `is` before it writes. A
    changed state is a new object; both may share parts. The given state is never altered.
    """

    state: State
    alerts: tuple[Alert, ...] = ()
    flags: tuple[Flag, ...] = ()


class StateReader(Protocol[State_co]):
    """The states of one partition, by key. `holder` returns the key of the state that has this index key."""

    def get(self, key: bytes, /) -> State_co | None: ...
    def holder(self, index_key: bytes, /) -> bytes | None: ...
    def __contains__(self, key: bytes, /) -> bool: ...


class Link(NamedTuple, Generic[State]):
    """Further changes of a table: index keys of the state, and other records by key."""

    index_keys: tuple[bytes, ...]
    others: tuple[tuple[bytes, State], ...] = ()


Projected = tuple[bytes, State | None, Outcome[State], Link[State] | None]
"""Result for an event: key of the state, the state before, the outcome, and further changes of the table."""
