"""The replayable log: every distinct event, in order.

The gRPC messages are kept in a temporary file that grows without bound: what a slow subscriber has yet to read must not
depend on memory. About 500 bytes an event.
"""

import asyncio
import os
import tempfile
from array import array
from collections.abc import Callable
from typing import BinaryIO, Literal, TypedDict

import orjson

from broker_events.devstack.simulator.event import EVENT_TYPES, Event
from broker_events.devstack.simulator.positions import Positions, UnknownPosition
from broker_events.devstack.simulator.traffic import Traffic
from broker_events.ingest.sources.event_push_pb2 import SubscribeResponse
from broker_events.schemas.headers import SIMULATED

PayloadForm = Literal["inner", "envelope", "mixed"]


class TypeCounts(TypedDict):
    events: int
    last_position: str


class EventLog:
    """One log with a number for each event, from 0; a position names an event of one event type in it.

    `clock(sequence)` gives an event's time in Unix ns. `count` ends the log; None: never. `without_position` drops the
    position of those events whose documented envelope has none. `journal` takes one JSON object a line for each event.
    """

    def __init__(
        self,
        traffic: Traffic,
        *,
        seed: int,
        clock: Callable[[int], int],
        count: int | None,
        payload_form: PayloadForm,
        without_position: bool,
        journal: BinaryIO | None,
    ) -> None:
        self._traffic = traffic
        self._clock = clock
        self._count = count
        self._payload_form = payload_form
        self._without_position = without_position
        self._journal = journal
        self._positions = {event_type: Positions(seed, event_type) for event_type in EVENT_TYPES}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the log
        self._offsets = array("Q", (0,))  # where each event starts in the file, and its end
        self._types = bytearray()  # index into EVENT_TYPES of each event
        self.grown = asyncio.Event()
        """Set when the log grows or ends next; then another one takes its place."""
        self.by_event_type = {event_type: TypeCounts(events=0, last_position="") for event_type in EVENT_TYPES}

    def __len__(self) -> int:
        return len(self._types)

    @property
    def complete(self) -> bool:
        return self._count is not None and len(self) >= self._count

    def end(self) -> None:
        """Stop growing: the current events are the whole log."""
        self._count = len(self)
        self._wake()

    def close(self) -> None:
        self._file.close()

    def grow(self, events: int) -> None:
        """Append up to `events` new events, never more than `count` in all."""
        if self._count is not None:
            events = min(events, self._count - len(self))
        messages: list[bytes] = []
        lines: list[bytes] = []
        end = self._offsets[-1]
        for sequence in range(len(self), len(self) + events):
            event = self._traffic.next(self._clock(sequence))
            position = self._positions[event.event_type].encode(sequence)
            if self._without_position and not event.documented_position:
                position = ""
            payload = self._payload(event, position, sequence)
            message = SubscribeResponse(
                type=SubscribeResponse.Event,
                id=event.event_id,
                eventType=event.event_type,
                position=position,
                timestamp=event.timestamp,
                payload=payload,
            ).SerializeToString()
            messages.append(message)
            end += len(message)
            self._offsets.append(end)
            self._types.append(EVENT_TYPES.index(event.event_type))
            counts = self.by_event_type[event.event_type]
            if self._journal is not None:
                lines.append(_journal_line(event, counts["events"], position, payload))
            counts["events"] += 1
            counts["last_position"] = position or counts["last_position"]
        self._file.write(b"".join(messages))
        self._file.flush()
        if self._journal is not None:
            self._journal.write(b"".join(lines))
            self._journal.flush()
        self._wake()

    def _wake(self) -> None:
        self.grown, grown = asyncio.Event(), self.grown
        grown.set()

    def _payload(self, event: Event, position: str, sequence: int) -> str:
        if self._payload_form == "inner" or (self._payload_form == "mixed" and sequence % 2 == 0):
            return event.payload
        # As the documents print it, with a member that says it is simulated. Some events have no position in the
        # envelope, whatever the message says.
        member = f'"position":"{position}",' if event.documented_position else ""
        return (
            f'{{"id":"{event.event_id}","event_type":"{event.event_type}",{member}'
            f'"timestamp":"{event.timestamp}","{SIMULATED}":true,"payload":{event.payload}}}'
        )

    def messages(self, start: int, end: int, after: dict[str, int]) -> list[bytes]:
        """Return the serialised messages of the events start..end (exclusive).

        `after` says which event types are wanted and the sequence number from which on (-1: from the first).
        """
        first = self._offsets[start]
        content = os.pread(self._file.fileno(), self._offsets[end] - first, first)
        return [
            content[self._offsets[sequence] - first : self._offsets[sequence + 1] - first]
            for sequence in range(start, end)
            if sequence > after.get(EVENT_TYPES[self._types[sequence]], end)
        ]

    def sequence(self, event_type: str, position: str) -> int:
        """Return the sequence number that a position names; it may lie ahead of the log after a restart.

        Raises UnknownPosition for a text that was never a position of that event type.
        """
        sequence = self._positions[event_type].decode(position)
        if self._count is not None and sequence >= self._count:
            raise UnknownPosition(position)
        return sequence


def _journal_line(event: Event, index: int, position: str, payload: str) -> bytes:
    line = {
        "event_type": event.event_type,
        "index": index,
        "position": position,
        "id": event.event_id,
        "biz_type": event.biz_type,
        "account": event.account,
        "timestamp": event.timestamp,
        "malformed": event.malformed,
        "payload": payload,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
