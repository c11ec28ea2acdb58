"""The simulator's journal: every distinct event that the broker had to tell, in the order in which it told them."""

from __future__ import annotations

import mmap
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

# Both in the simulator's words, see its malformed events: no account or envelope can be read from these.
WITHOUT_ENVELOPE = ("not_json", "no_payload", "too_deep")
WITHOUT_KEY = (*WITHOUT_ENVELOPE, "no_account")
NUMBER = re.compile("[0-9a-f]+$")  # at the end of an id
HOSTILE = "hostile"  # see hostile_events
SAME_ID = re.compile(rb'"malformed":"hostile:(repeat|id_conflict)"')


class JournalEvent(NamedTuple):
    """One line: `sequence` counts from 0; `malformed` is what is wrong with the event, None: nothing.

    A hostile repeat is nothing wrong: it has the id of an earlier event.
    """

    sequence: int
    event_id: str
    event_type: str
    biz_type: str
    account: str
    position: str
    timestamp: str
    malformed: str | None
    payload: str
    is_hostile: bool

    @property
    def key(self) -> str | None:
        """Kafka key of its raw and typed records."""
        if self.is_hostile:
            return self.account or None
        return None if self.malformed in WITHOUT_KEY else self.account


class Journal:
    """Finds an event by its id, which ends with the event's number. Keeps places of lines in memory, not the lines.

    An event that has the id of an earlier one is found by its position.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._places = array("Q", (0,))
        self._same_ids: dict[str, int] = {}
        while line := self._lines.readline():
            if SAME_ID.search(line):
                self._same_ids[orjson.loads(line)["position"]] = len(self)
            self._places.append(self._lines.tell())

    def __len__(self) -> int:
        return len(self._places) - 1

    def __iter__(self) -> Iterator[JournalEvent]:
        return map(self.at, range(len(self)))

    def at(self, sequence: int) -> JournalEvent:
        line = orjson.loads(self._lines[self._places[sequence] : self._places[sequence + 1]])
        wrong: str | None = line["malformed"]
        is_hostile = (wrong or "").startswith(HOSTILE)
        if is_hostile:
            wrong = str(wrong).removeprefix(HOSTILE).removeprefix(":").replace("repeat", "") or None
        return JournalEvent(
            sequence,
            line["id"],
            line["event_type"],
            line["biz_type"],
            line["account"],
            line["position"],
            line["timestamp"],
            wrong,
            line["payload"],
            is_hostile,
        )

    def find(self, event_id: str, position: str) -> JournalEvent | None:
        number = NUMBER.search(event_id)
        sequence = self._same_ids.get(position, int(number[0], 16) - 1 if number else -1)
        if not 0 <= sequence < len(self):
            return None
        event = self.at(sequence)
        return event if event.event_id == event_id else None

    def last_positions(self) -> dict[str, str]:
        """Position of the last event of each event type."""
        return {event.event_type: event.position for event in self}

    def close(self) -> None:
        self._lines.close()
