"""A table folded anew beside the live one: what differs, and what of it can be judged. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

Decode = Callable[[bytes], Any]

# What these say depends on an event before the ones that the record names.
_OF_THE_EVENT_BEFORE: Final = {"first_sight", "previous_restrictions"}
_UNREADABLE: Final = "unreadable"


class Verdict(StrEnum):
    """How a live table is wrong about a key."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"


class StateDifference(NamedTuple):
    """`value`: what the key has to have, None for nothing; `fields`: what differs, on the record's first level."""

    table: str
    partition: int
    key: bytes
    verdict: Verdict
    fields: tuple[str, ...]
    value: bytes | None


@dataclass
class Comparison:
    """Of one table (name without the prefix) in one partition; `moving` and `unjudged` are no findings."""

    table: str
    partition: int
    equal: int = 0
    moving: int = 0
    """Keys that events have changed while the tables were read."""
    unjudged: int = 0
    """Keys that differ and rest on events which retention has deleted."""
    findings: list[StateDifference] = field(default_factory=list)


@dataclass
class Kept:
    """What is left of a partition's events, where some are deleted. `named`: hashes of ids that live records name."""

    named: set[int] = field(default_factory=set)
    found: set[int] = field(default_factory=set)

    def name(self, record: Any) -> None:  # noqa: ANN401 (any table's record)
        """A live record that will be asked about."""
        self.named.update(hash(event_id.encode()) for event_id in event_ids(record))

    def find(self, event_id: bytes) -> None:
        """Note that this event is left."""
        hashed = hash(event_id)
        if hashed in self.named:
            self.found.add(hashed)

    def names(self, record: Any) -> bool:  # noqa: ANN401 (any table's record)
        """Whether a live record names an event that this record names too."""
        return any(hash(event_id.encode()) in self.named for event_id in event_ids(record))

    def covers(self, record: Any) -> bool:  # noqa: ANN401 (any table's record)
        """Whether every event that the record names is left."""
        return all(hash(event_id.encode()) in self.found for event_id in event_ids(record))


def event_ids(content: Any) -> Iterator[str]:  # noqa: ANN401 (any part of a record)
    """Ids of the events that a record of a table names."""
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
    folded: Mapping[bytes, bytes],
    decode: Decode,
    moving: AbstractSet[bytes],
    kept: Kept | None,
    doubtful: AbstractSet[str] = frozenset(),
) -> None:
    """Enter every key of both tables into `result`.

    `decode` raises ValueError. `kept` is None where no event is deleted. `doubtful`: account keys of which a record may
    rightly be missing (`doubtful_accounts`).
    """
    for key in live.keys() | folded.keys():
        its_live, its_folded = live.get(key), folded.get(key)
        if its_live == its_folded:
            result.equal += 1
            continue
        there = None if its_live is None else _read(decode, its_live)
        wanted = None if its_folded is None else _read(decode, its_folded)
        if there is not None and _without_offsets(there) == _without_offsets(wanted):
            result.equal += 1  # written with another version of the schema, or the topic was copied
        elif key in moving:
            result.moving += 1
        elif kept is not None and not _is_judged(there, wanted, kept, doubtful):
            result.unjudged += 1
        else:
            verdict = _verdict(its_live, its_folded)
            fields = _differing(there, wanted) if verdict is Verdict.DIFFERENT else ()
            result.findings.append(StateDifference(result.table, result.partition, key, verdict, fields, its_folded))
    result.findings.sort()


def doubtful_accounts(accounts: Mapping[bytes, bytes], decode: Decode, kept: Kept) -> set[str]:
    """Keys of the accounts whose live state rests on deleted events: one of these may have ended a condition."""
    states = ((key, _read(decode, value)) for key, value in accounts.items())
    return {key.decode(errors="replace") for key, state in states if state is None or not kept.covers(state)}


def _is_judged(there: Any, wanted: Any, kept: Kept, doubtful: AbstractSet[str]) -> bool:  # noqa: ANN401 (any records)
    if _has_forgotten(there) or _has_forgotten(wanted):
        return False
    if there is None:
        # A movement may have another key by an id that only a deleted event had.
        is_elsewhere = wanted is not None and "movement_id" in wanted and kept.names(wanted)
        return wanted is None or (wanted["account_key"] not in doubtful and not is_elsewhere)
    return kept.covers(there) and (wanted is None or _comparable(there) != _comparable(wanted))


def _has_forgotten(record: Any) -> bool:  # noqa: ANN401 (any table's record)
    """Whether it rests on events that it does not name: an alias, or a movement with a long history."""
    return record is not None and (record.get("history_dropped", 0) > 0 or record.get("alias_of") is not None)


def _comparable(content: Any) -> Any:  # noqa: ANN401 (any part of a record)
    if isinstance(content, dict):
        return {name: _comparable(member) for name, member in content.items() if name not in _OF_THE_EVENT_BEFORE}
    return [_comparable(item) for item in content] if isinstance(content, list) else content


def _without_offsets(content: Any) -> Any:  # noqa: ANN401 (any part of a record)
    """The record without what a copy of the typed topics changes."""
    if isinstance(content, dict):
        return {name: _without_offsets(member) for name, member in content.items() if name != "typed_offset"}
    return [_without_offsets(item) for item in content] if isinstance(content, list) else content


def _verdict(live: bytes | None, folded: bytes | None) -> Verdict:
    if live is None:
        return Verdict.MISSING
    return Verdict.EXTRA if folded is None else Verdict.DIFFERENT


def _differing(there: Any, wanted: Any) -> tuple[str, ...]:  # noqa: ANN401 (any table's records)
    if there is None:
        return (_UNREADABLE,)
    return tuple(name for name in wanted if there.get(name) != wanted[name])


def _read(decode: Decode, value: bytes) -> Any:  # noqa: ANN401 (any table's record)
    """The record, None for a value that is none."""
    try:
        return decode(value)
    except ValueError:
        return None
