"""The simulator's journal: every distinct event that the broker had to tell, in the order in which it told them."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Both in the simulator's words, see its malformed events: no account or envelope can be read from these.
WITHOUT_ENVELOPE = ("not_json", "no_payload", "too_deep")
WITHOUT_KEY = (*WITHOUT_ENVELOPE, "no_account")


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One line: `sequence` counts from 0; `malformed` is what is wrong with the event, None: nothing."""

    sequence: int
    event_id: str
    event_type: str
    biz_type: str
    account: str
    position: str
    malformed: str | None
    payload: str

    @property
    def key(self) -> str | None:
        """Kafka key of its raw and typed records."""
        return None if self.malformed in WITHOUT_KEY else self.account


class Journal:
    """Finds an event by its id. Keeps ids and places of lines in memory, not the lines."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._places = array("Q")
        self._sequences: dict[str, int] = {}
        self.last_positions: dict[str, str] = {}
        place = 0
        for line in self._file:
            event = json.loads(line)
            self._sequences[event["id"]] = len(self._places)
            self._places.append(place)
            self.last_positions[event["event_type"]] = event["position"]
            place += len(line)
        if len(self._sequences) != len(self._places):
            raise ValueError(f"{path}: an event id is in there twice")

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[JournalEvent]:
        return map(self.at, range(len(self)))

    def at(self, sequence: int) -> JournalEvent:
        self._file.seek(self._places[sequence])
        line = json.loads(self._file.readline())
        return JournalEvent(
            sequence,
            line["id"],
            line["event_type"],
            line["biz_type"],
            line["account"],
            line["position"],
            line["malformed"],
            line["payload"],
        )

    def find(self, event_id: str) -> JournalEvent | None:
        sequence = self._sequences.get(event_id)
        return None if sequence is None else self.at(sequence)

    def close(self) -> None:
        self._file.close()
