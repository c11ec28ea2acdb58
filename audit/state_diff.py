"""Compares a rebuilt state table with the live one: what differs, and which differences can be judged. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

Decode = Callable[[bytes], Any]

# Their values depend on an earlier event, which the record does not name.
_FROM_EARLIER_EVENTS: Final = {"first_sight", "previous_restrictions"}
_UNREADABLE: Final = "unreadable"


class DifferenceKind(StrEnum):
    """How a live table is wrong about a key."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"


class StateDifference(NamedTuple):
    """`value`: the right value of the key, None where it should have none. `fields`: top-level fields that differ."""

    table: str
    partition: int
    key: bytes
    kind: DifferenceKind
    fields: tuple[str, ...]
    value: bytes | None


@dataclass
class Comparison:
    """Result for one table (name without the prefix) in one partition. `moving` and `unjudged` are not findings."""

    table: str
    partition: int
    equal: int = 0
    moving: int = 0
    """Keys that the projectors changed while the tables were read."""
    unjudged: int = 0
    """Keys that differ and depend on events that retention has deleted."""
    findings: list[StateDifference] = field(default_factory=list)


@dataclass
class RetainedEvents:
    """Which events of a partition are left, where retention has deleted some.

    `named`: hashes of the event ids that live records name. `found`: those of them that are left.
    """

    named: set[int] = field(default_factory=set)
    found: set[int] = field(default_factory=set)

    def name(self, record: Any) -> None:  # noqa: ANN401 (any table's record)
        """Add the event ids of a live record."""
        self.named.update(hash(event_id.encode()) for event_id in event_ids(record))

    def find(self, event_id: bytes) -> None:
        """Note that this event is left (UTF-8 id)."""
        hashed = hash(event_id)
        if hashed in self.named:
            self.found.add(hashed)

    def names(self, record: Any) -> bool:  # noqa: ANN401 (any table's record)
        """Whether a live record names an event that this record names."""
        return any(hash(event_id.encode()) in self.named for event_id in event_ids(record))

    def covers(self, record: Any) -> bool:  # noqa: ANN401 (any table's record)
        """Whether every event that the record names is left."""
        return all(hash(event_id.encode()) in self.found for event_id in event_ids(record))


def event_ids(content: Any) -> Iterator[str]:  # noqa: ANN401 (any part of a record)
    """Yield the ids of the events that a table's record names."""
    if isinstance(content, dict):
        for name, member in content.items():
            if isinstance(member, str) and (name == "event_id" or name.endswith("_event_id")):
                yield member
            else:
                yield from event_ids(member)
    elif isinstance(content, list):
        for item in content:
            yield from event_ids(item)


def compare(
    result: Comparison,
    live: Mapping[bytes, bytes],
    rebuilt: Mapping[bytes, bytes],
    decode: Decode,
    moving: AbstractSet[bytes],
    retained: RetainedEvents | None,
    doubtful: AbstractSet[str] = frozenset(),
) -> None:
    """Enter every key of both tables into `result`.

    `decode` raises ValueError. `retained` is None where no event is deleted. `doubtful`: the account keys whose record
    may be missing with reason (`doubtful_accounts`).
    """
    for key in live.keys() | rebuilt.keys():
        its_live, its_rebuilt = live.get(key), rebuilt.get(key)
        if its_live == its_rebuilt:
            result.equal += 1
            continue
        there = None if its_live is None else _read(decode, its_live)
        wanted = None if its_rebuilt is None else _read(decode, its_rebuilt)
        if there is not None and _without_offsets(there) == _without_offsets(wanted):
            result.equal += 1  # written with another version of the schema, or the topic was copied
        elif key in moving:
            result.moving += 1
        elif retained is not None and not _is_judged(there, wanted, retained, doubtful):
            result.unjudged += 1
        else:
            kind = _kind(its_live, its_rebuilt)
            fields = _differing(there, wanted) if kind is DifferenceKind.DIFFERENT else ()
            result.findings.append(StateDifference(result.table, result.partition, key, kind, fields, its_rebuilt))
    result.findings.sort()


def doubtful_accounts(accounts: Mapping[bytes, bytes], decode: Decode, retained: RetainedEvents) -> set[str]:
    """Return the keys of accounts whose live state depends on deleted events: one may have ended a condition."""
    states = ((key, _read(decode, value)) for key, value in accounts.items())
    return {key.decode(errors="replace") for key, state in states if state is None or not retained.covers(state)}


def _is_judged(there: Any, wanted: Any, retained: RetainedEvents, doubtful: AbstractSet[str]) -> bool:  # noqa: ANN401 (any records)
    if _has_forgotten(there) or _has_forgotten(wanted):
        return False
    if there is None:
        # The movement may be stored under an id that only a deleted event had.
        is_elsewhere = wanted is not None and "movement_id" in wanted and retained.names(wanted)
        return wanted is None or (wanted["account_key"] not in doubtful and not is_elsewhere)
    return retained.covers(there) and (wanted is None or _comparable(there) != _comparable(wanted))


def _has_forgotten(record: Any) -> bool:  # noqa: ANN401 (any table's record)
    """Whether it depends on events that it does not name: an alias, or a movement whose history was cut."""
    return record is not None and (record.get("history_dropped", 0) > 0 or record.get("alias_of") is not None)


def _comparable(content: Any) -> Any:  # noqa: ANN401 (any part of a record)
    if isinstance(content, dict):
        return {name: _comparable(member) for name, member in content.items() if name not in _FROM_EARLIER_EVENTS}
    return [_comparable(item) for item in content] if isinstance(content, list) else content


_PLACES: Final = {"typed_offset", "source_topic", "source_partition", "source_offset"}


def _without_offsets(content: Any) -> Any:  # noqa: ANN401 (any part of a record)
    """Return the record without what a copy of the typed topics changes."""
    if isinstance(content, dict):
        return {name: _without_offsets(member) for name, member in content.items() if name not in _PLACES}
    return [_without_offsets(item) for item in content] if isinstance(content, list) else content


def _kind(live: bytes | None, rebuilt: bytes | None) -> DifferenceKind:
    if live is None:
        return DifferenceKind.MISSING
    return DifferenceKind.EXTRA if rebuilt is None else DifferenceKind.DIFFERENT


def _differing(there: Any, wanted: Any) -> tuple[str, ...]:  # noqa: ANN401 (any table's records)
    if there is None:
        return (_UNREADABLE,)
    return tuple(name for name in wanted if there.get(name) != wanted[name])


def _read(decode: Decode, value: bytes) -> Any:  # noqa: ANN401 (any table's record)
    """Return the record, None for an unreadable value."""
    try:
        return decode(value)
    except ValueError:
        return None
