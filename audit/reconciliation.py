"""The books of one raw partition: what became of each of its records. Pure.

Memory is 26 bytes per offset of the range (34 with `encode`, 46 if a typed value has another version's schema).
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final

from broker_events.audit.balance import Balance, Discrepancy, DiscrepancyKind
from broker_events.audit.fingerprint import plain_identity, typed_hash, typed_id
from broker_events.runtime.consume.record import KafkaRecord, place_of
from broker_events.runtime.events.body_hash import body_hash
from broker_events.runtime.events.event_reader import ReadEvent
from broker_events.schemas.frame import FRAME_BYTES
from broker_events.schemas.headers import raw_offset as raw_offset_in
from broker_events.schemas.storage_types import QuarantinedEvent

LISTED: Final = 100
"""Discrepancies of one kind in one partition that are listed; the rest is counted."""

# What is known of an offset: no raw record, one without an output so far, with one.
_NONE, _SILENT, _TYPED, _QUARANTINED = range(4)
# So many times the window is read before the range. A window of two generations fits in, if no more than half of the
# offsets are duplicates, refused records and markers; where it doesn't, the first without an output are unknown.
_REACH: Final = 4


Encode = Callable[[bytes | None], bytes | None]
"""Makes the typed value of a raw one. Raises InvalidEvent where there is none."""
# Its label is the biz_type; None for what has to be read the plain way.
Read = Callable[[bytes | None], ReadEvent[str] | None]


class Reconciliation:
    """Take the raw records from `origin` to before `end`, in their order, then the outputs, then `close`.

    Before that, where `other_schemas` has any, take the raw records again, by `compare_others`.

    Records from `start` on are judged; those before it are read only to know duplicates by. `window`: DUPLICATE_WINDOW
    of the routers. `biz_types`: by typed topic (Kafka name). `read`: the fast way to a raw value's biz_type, event
    id and typed value (`runtime.events.event_reader`, labelled by biz_type). `encode`: the plain way to the typed
    value, InvalidEvent where it has none; without it typed values are not compared. `raw_end`: no output that is
    entered can name this offset, or a later one. `raw_first`: offset of the oldest raw record that is left.
    """

    def __init__(
        self,
        partition: int,
        start: int,
        end: int,
        window: int,
        biz_types: Mapping[str, str],
        read: Read,
        encode: Encode | None = None,
        raw_end: float = math.inf,
        raw_first: int = 0,
    ) -> None:
        self.oldest_ms: int | None = None
        """Least timestamp of the raw records so far: a typed record has that of its raw record."""
        self.reach = _REACH * window
        self.origin = max(start - self.reach, 0)
        self.lacks_its_past = raw_first > self.origin
        """Whether raw records are deleted that the first of these may repeat."""
        size = max(end - self.origin, 0)
        self._partition, self._start, self._end, self._window = partition, start, end, window
        self._first = max(start - self.origin, 0)
        self._topics = {topic: number for number, topic in enumerate(biz_types, 1)}
        self._types: dict[str | None, int] = {biz_type: self._topics[topic] for topic, biz_type in biz_types.items()}
        self._read, self._encode, self._raw_end = read, encode, raw_end
        self._fate = bytearray(size)
        self._type = bytearray(size)  # number of the biz_type's topic, 0 for one without
        self._id = _zeros(size)  # hash of event id
        self._identity = _zeros(size)  # hash of event id, key, timestamp
        self._content = _zeros(size)  # hash of event id and body: equal for a record and its repetition
        self._wanted = _zeros(size if encode else 0)  # hash of the typed value
        # What was typed of raw records that are deleted, to know their repetitions by: hashes of event ids.
        self._oldest_raw = size
        self._earlier: set[int] = set()
        self._counts: Counter[DiscrepancyKind] = Counter()
        self._listed: list[Discrepancy] = []
        # Of typed values of other schemas, made when there is the first: schema id, offset of the typed record.
        self._schema_id = array("I")
        self._output = array("q")
        self._other_schemas: set[tuple[str, int]] = set()

    @property
    def other_schemas(self) -> AbstractSet[tuple[str, int]]:
        """Typed topic and schema id of the values that another version has written, which are not compared yet."""
        return self._other_schemas

    def add_raw(self, records: Sequence[KafkaRecord]) -> None:
        """Enter raw records of the partition."""
        origin, oldest_ms = self.origin, self.oldest_ms
        fate, types, ids, identity, content = self._fate, self._type, self._id, self._identity, self._content
        wanted, numbers, read, encode = self._wanted, self._types, self._read, self._encode
        if records and self._oldest_raw == len(fate):
            self._oldest_raw = records[0].offset() - origin
        for record in records:
            place, value, timestamp = record.offset() - origin, record.value(), record.timestamp()[1]
            try:
                found = read(value)
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001 (a defect: in quarantine as internal_error)
                found = None
            if found is None:
                event_id, biz_type = plain_identity(value)
                body = body_hash(value or b"")
            else:
                event_id, biz_type, body = found[1].encode(), found[0], found[5]
            fate[place] = _SILENT
            types[place] = numbers.get(biz_type, 0)
            ids[place] = hash(event_id)
            identity[place] = hash((event_id, record.key(), timestamp))
            content[place] = hash((event_id, body))
            if encode is not None:
                wanted[place] = typed_hash(encode, value) if found is None else hash(found[2])
            if oldest_ms is None or timestamp < oldest_ms:
                oldest_ms = timestamp
        self.oldest_ms = oldest_ms

    def add_typed(self, records: Iterable[KafkaRecord], frames: Mapping[str, bytes]) -> None:
        """Enter typed records of the partition number; `frames`: how values of the present schemas begin, by topic."""
        origin, size, oldest, first = self.origin, len(self._fate), self._oldest_raw, self._first_judged
        fate, fault = self._fate, self._fault
        for record in records:
            raw_offset = raw_offset_in(record.headers())
            if raw_offset is None:
                self._note(DiscrepancyKind.FOREIGN, None, record)
                continue
            place = raw_offset - origin
            if place < oldest:
                if place >= -self.reach:
                    self._earlier.add(hash(typed_id(record.value() or b"")))
                continue
            if place >= size:
                if raw_offset >= self._raw_end:
                    self._note(DiscrepancyKind.FOREIGN, raw_offset, record)
                continue
            before = fate[place]
            if before == _SILENT:
                fate[place] = _TYPED
            if place < first:
                continue
            kind = fault(record, place, before, frames)
            if kind is not None:
                self._note(kind, raw_offset, record)

    def _fault(
        self, record: KafkaRecord, place: int, before: int, frames: Mapping[str, bytes]
    ) -> DiscrepancyKind | None:
        """What is wrong with a typed record; `before`: what was known of its raw offset."""
        if before != _SILENT:
            return DiscrepancyKind.DOUBLED if before else DiscrepancyKind.FOREIGN
        if self._type[place] != self._topics[record.topic()]:
            return DiscrepancyKind.FOREIGN
        value = record.value() or b""
        if hash((typed_id(value), record.key(), record.timestamp()[1])) != self._identity[place]:
            return DiscrepancyKind.ALTERED
        if self._encode is None or hash(value) == self._wanted[place]:
            return None
        schema_id = int.from_bytes(value[1:FRAME_BYTES], "big")
        if value[:FRAME_BYTES] == frames[record.topic()] or value[:1] != b"\0" or not schema_id:
            return DiscrepancyKind.ALTERED
        if not self._other_schemas:
            self._schema_id, self._output = array("I", bytes(4 * len(self._fate))), _zeros(len(self._fate))
        self._other_schemas.add((record.topic(), schema_id))
        self._wanted[place], self._schema_id[place], self._output[place] = hash(value), schema_id, record.offset()
        return None

    def compare_others(self, records: Iterable[KafkaRecord], encoders: Mapping[tuple[str, int], Encode | None]) -> None:
        """Compare the typed values of `other_schemas`; `records`: the raw ones, from `start` on.

        `encoders`: by other schema, what makes typed values of it; None for one that this version's readers refuse.
        """
        topics = list(self._topics)
        for record in records:
            place = record.offset() - self.origin
            if schema_id := self._schema_id[place]:
                topic = topics[self._type[place] - 1]
                encode = encoders[topic, schema_id]
                if encode is None or typed_hash(encode, record.value()) != self._wanted[place]:
                    output = f"{topic}[{self._partition}]@{self._output[place]}"
                    self._note(DiscrepancyKind.ALTERED, record.offset(), output)

    def add_quarantined(self, record: KafkaRecord, quarantined: QuarantinedEvent) -> None:
        """Enter a quarantine record whose source is this raw partition."""
        place = quarantined["offset"] - self.origin
        if not 0 <= place < len(self._fate):
            if quarantined["offset"] >= self._raw_end:
                self._note(DiscrepancyKind.FOREIGN, quarantined["offset"], record)
            return
        before = self._fate[place]
        if before == _SILENT:
            self._fate[place] = _QUARANTINED
        if place < self._first_judged:
            return
        if before != _SILENT:
            self._note(DiscrepancyKind.DOUBLED if before else DiscrepancyKind.FOREIGN, quarantined["offset"], record)
            return
        value = quarantined["value"]
        timestamp = (quarantined["timestamp"] or 0) // 1000
        event_id, _ = plain_identity(value)
        if (
            hash((event_id, quarantined["key"], timestamp)) != self._identity[place]
            or hash((event_id, body_hash(value or b""))) != self._content[place]
        ):
            self._note(DiscrepancyKind.ALTERED, quarantined["offset"], record)

    def close(self, kept_from: Mapping[str, int], quarantine_kept_from: int) -> Balance:
        """Judge.

        `kept_from`: by typed topic from which records were deleted, the raw offset from which on every output is left;
        so `quarantine_kept_from`, 0 where nothing was deleted.
        """
        kept = [quarantine_kept_from] * (len(self._topics) + 1)
        for topic, raw_offset in kept_from.items():
            kept[self._topics[topic]] = max(raw_offset, quarantine_kept_from)

        def may_be_deleted(place: int) -> bool:
            return place + self.origin < kept[self._type[place]]

        self._count_repeated()
        raw = len(self._fate) - self._first - self._fate.count(_NONE, self._first)
        typed = self._fate.count(_TYPED, self._first)
        quarantined = self._fate.count(_QUARANTINED, self._first)
        unexplained = array("q", (at for at in self._places(_SILENT, self._first) if not may_be_deleted(at)))
        expired = raw - typed - quarantined - len(unexplained)
        contents = {self._content[place] for place in unexplained}
        typed_twins = self._first_of(contents, self._places(_TYPED))
        deleted_twins = self._first_of(contents, filter(may_be_deleted, self._places(_SILENT)))
        known_from = self._known_from()
        duplicates = 0
        for place in unexplained:
            content = self._content[place]
            if typed_twins.get(content, place) < place or self._repeats_a_deleted_record(place):
                duplicates += 1
            elif deleted_twins.get(content, place) < place:
                expired += 1
            else:
                self._note(
                    DiscrepancyKind.LOST if place >= known_from else DiscrepancyKind.UNKNOWN, place + self.origin
                )
        return Balance(
            self._partition,
            self._start,
            self._end,
            raw=raw,
            typed=typed,
            quarantined=quarantined,
            duplicates=duplicates,
            expired=expired,
            discrepancies=dict(self._counts),
            listed=self._listed,
        )

    @property
    def _first_judged(self) -> int:
        """Outputs of records that are deleted, which may have been while the others were read, are not judged."""
        return max(self._first, self._oldest_raw)

    def _count_repeated(self) -> None:
        """Note what was typed though one of its id was typed and among the last `window` raw records."""
        last: dict[int, int] = {}
        number = 0
        for place, fate in enumerate(self._fate):
            number += fate != _NONE
            if fate != _TYPED:
                continue
            event_id = self._id[place]
            twin = last.pop(event_id, None)
            if twin is not None and number - twin <= self._window and place >= self._first:
                self._note(DiscrepancyKind.REPEATED, place + self.origin)
            last[event_id] = number
            if len(last) > 2 * self._window + 1:
                last = {event_id: at for event_id, at in last.items() if number - at <= self._window}

    def _first_of(self, contents: set[int], places: Iterable[int]) -> dict[int, int]:
        """The first of these places by content, for these contents."""
        first: dict[int, int] = {}
        for place in places if contents else ():
            if self._content[place] in contents:
                first.setdefault(self._content[place], place)
        return first

    def _repeats_a_deleted_record(self, place: int) -> bool:
        return place < 2 * self.reach and self._id[place] in self._earlier

    def _known_from(self) -> int:
        """The place from which on the books hold all that a router can have known: two windows of typed records.

        0 where there is no more to be read.
        """
        if not self.origin or not self._window or self.lacks_its_past:
            return 0
        return next(islice(self._places(_TYPED), 2 * self._window - 1, None), len(self._fate))

    def _places(self, fate: int, start: int = 0) -> Iterator[int]:
        place = self._fate.find(fate, start)
        while place >= 0:
            yield place
            place = self._fate.find(fate, place + 1)

    def _note(self, kind: DiscrepancyKind, raw_offset: int | None, output: KafkaRecord | str | None = None) -> None:
        self._counts[kind] += 1
        if self._counts[kind] <= LISTED:
            place = output if output is None or isinstance(output, str) else place_of(output)
            self._listed.append(Discrepancy(kind, raw_offset, place))


def _zeros(size: int) -> array[int]:
    return array("q", bytes(8 * size))
