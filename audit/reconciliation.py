"""Reconciles the raw records of one partition with their outputs: the outcome of each raw offset. Pure.

Memory: 26 bytes per offset of the range, 34 with `encode`, 46 where a typed value has another version's schema.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from broker_events.audit.discrepancies import Discrepancies, DiscrepancyKind
from broker_events.audit.fingerprint import plain_identity, typed_hash, typed_id
from broker_events.runtime.consume.record import KafkaRecord, place_of
from broker_events.runtime.events.body_hash import body_hash
from broker_events.runtime.events.event_reader import ReadEvent
from broker_events.schemas.frame import FRAME_BYTES
from broker_events.schemas.headers import raw_offset as raw_offset_in
from broker_events.schemas.storage_types import QuarantinedEvent

# Outcome of an offset. ABSENT: it holds no raw record, but a transaction marker or an aborted record.
ABSENT, NO_OUTPUT, TYPED, QUARANTINED = range(4)
# Windows of records read before the range. Two windows of typed records fit in, if at most half of the offsets are
# duplicates, rejected events and markers. Where they don't, the first records without an output are `unknown`.
_REACH: Final = 4

Encode = Callable[[bytes | None], bytes | None]
"""Makes the typed value of a raw one. Raises InvalidEvent where there is none."""
Read = Callable[[bytes | None], ReadEvent[str] | None]
"""Reads a raw value, labelled by biz_type. Returns None for what only the Python path can read."""


class Reconciliation:
    """Enters raw records, then their outputs; `audit.verdict.judge` takes the result.

    Enter the raw records from `origin` to before `end` in order, then typed and quarantine records in any order. Where
    `other_schemas` isn't empty after that, enter the raw records again with `compare_others`. A place is an offset
    minus `origin`.

    Records from `start` on are judged. Those before it only serve to recognise duplicates.
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
        """`window`: the routers' DUPLICATE_WINDOW. `biz_types`: by typed topic (Kafka name).

        `read`: the fast reader of raw values (`runtime.events.event_reader`). `encode`: the Python path to the typed
        value; without it typed values are not compared. `raw_end`: no output that is entered can name this offset or a
        later one. `raw_first`: offset of the oldest raw record that is left.
        """
        self.oldest_ms: int | None = None
        """Least timestamp of the raw records so far. A typed record has the timestamp of its raw record."""
        self.reach = _REACH * window
        self.origin = max(start - self.reach, 0)
        self.lacks_its_past = raw_first > self.origin
        """Whether the first records may repeat raw records that are deleted."""
        size = max(end - self.origin, 0)
        self.partition, self.start, self.end, self.window = partition, start, end, window
        self.first = max(start - self.origin, 0)
        """Place of `start`."""
        self.discrepancies = Discrepancies()
        self._topics = {topic: number for number, topic in enumerate(biz_types, 1)}
        self._types: dict[str | None, int] = {biz_type: self._topics[topic] for topic, biz_type in biz_types.items()}
        self._read, self._encode, self._raw_end = read, encode, raw_end
        self.outcomes = bytearray(size)
        self.topic_numbers = bytearray(size)  # of the topic of its biz_type, 0 for one without
        self.event_ids = _zeros(size)  # hash of event id
        self._identity = _zeros(size)  # hash of event id, key, timestamp
        self.contents = _zeros(size)  # hash of event id and body: equal for a record and its repetition
        self._wanted = _zeros(size if encode else 0)  # hash of the typed value
        self._oldest_raw = size  # place
        # Hashes of the event ids that were typed from deleted raw records, to recognise their duplicates.
        self._deleted_ids: set[int] = set()
        # Schema id and offset of typed records with other schemas; allocated at the first one.
        self._schema_id = array("I")
        self._output = array("q")
        self._other_schemas: set[tuple[str, int]] = set()

    @property
    def other_schemas(self) -> AbstractSet[tuple[str, int]]:
        """Typed topic and schema id of values that another version has written and that are not compared yet."""
        return self._other_schemas

    def add_raw(self, records: Sequence[KafkaRecord]) -> None:
        """Enter raw records of the partition."""
        origin, oldest_ms = self.origin, self.oldest_ms
        outcomes, types, ids = self.outcomes, self.topic_numbers, self.event_ids
        identity, content = self._identity, self.contents
        wanted, numbers, read, encode = self._wanted, self._types, self._read, self._encode
        if records and self._oldest_raw == len(outcomes):
            self._oldest_raw = records[0].offset() - origin
        for record in records:
            place, value, timestamp = record.offset() - origin, record.value(), record.timestamp()[1]
            try:
                found = read(value)
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001 (a defect: quarantined as internal_error)
                found = None
            if found is None:
                event_id, biz_type = plain_identity(value)
                body = body_hash(value or b"")
            else:
                event_id, biz_type, body = found[1].encode(), found[0], found[5]
            outcomes[place] = NO_OUTPUT
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
        """Enter typed records of the partition number; `frames`: by topic, the first bytes of values of our schema."""
        origin, size, oldest, first = self.origin, len(self.outcomes), self._oldest_raw, self._first_judged
        outcomes, fault = self.outcomes, self._fault
        for record in records:
            raw_offset = raw_offset_in(record.headers())
            if raw_offset is None:
                self.discrepancies.add(DiscrepancyKind.FOREIGN, None, place_of(record))
                continue
            place = raw_offset - origin
            if place < oldest:
                if place >= -self.reach:
                    self._deleted_ids.add(hash(typed_id(record.value() or b"")))
                continue
            if place >= size:
                if raw_offset >= self._raw_end:
                    self.discrepancies.add(DiscrepancyKind.FOREIGN, raw_offset, place_of(record))
                continue
            before = outcomes[place]
            if before == NO_OUTPUT:
                outcomes[place] = TYPED
            if place < first:
                continue
            kind = fault(record, place, before, frames)
            if kind is not None:
                self.discrepancies.add(kind, raw_offset, place_of(record))

    def _fault(
        self, record: KafkaRecord, place: int, before: int, frames: Mapping[str, bytes]
    ) -> DiscrepancyKind | None:
        """Return what is wrong with a typed record; `before`: the outcome of its raw offset before it."""
        if before != NO_OUTPUT:
            return DiscrepancyKind.DOUBLED if before else DiscrepancyKind.FOREIGN
        if self.topic_numbers[place] != self._topics[record.topic()]:
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
            self._schema_id, self._output = array("I", bytes(4 * len(self.outcomes))), _zeros(len(self.outcomes))
        self._other_schemas.add((record.topic(), schema_id))
        self._wanted[place], self._schema_id[place], self._output[place] = hash(value), schema_id, record.offset()
        return None

    def compare_others(self, records: Iterable[KafkaRecord], encoders: Mapping[tuple[str, int], Encode | None]) -> None:
        """Compare the typed values of `other_schemas`; `records`: the raw records from `start` on.

        `encoders`: by other schema, what makes typed values of it; None for one that this version can't read.
        """
        topics = list(self._topics)
        for record in records:
            place = record.offset() - self.origin
            if schema_id := self._schema_id[place]:
                topic = topics[self.topic_numbers[place] - 1]
                encode = encoders[topic, schema_id]
                if encode is None or typed_hash(encode, record.value()) != self._wanted[place]:
                    output = f"{topic}[{self.partition}]@{self._output[place]}"
                    self.discrepancies.add(DiscrepancyKind.ALTERED, record.offset(), output)

    def add_quarantined(self, record: KafkaRecord, quarantined: QuarantinedEvent) -> None:
        """Enter a quarantine record whose source is this raw partition."""
        raw_offset = quarantined["offset"]
        place = raw_offset - self.origin
        if not 0 <= place < len(self.outcomes):
            if raw_offset >= self._raw_end:
                self.discrepancies.add(DiscrepancyKind.FOREIGN, raw_offset, place_of(record))
            return
        before = self.outcomes[place]
        if before == NO_OUTPUT:
            self.outcomes[place] = QUARANTINED
        if place < self._first_judged:
            return
        if before != NO_OUTPUT:
            kind = DiscrepancyKind.DOUBLED if before else DiscrepancyKind.FOREIGN
            self.discrepancies.add(kind, raw_offset, place_of(record))
            return
        value = quarantined["value"]
        timestamp = (quarantined["timestamp"] or 0) // 1000
        event_id, _ = plain_identity(value)
        if (
            hash((event_id, quarantined["key"], timestamp)) != self._identity[place]
            or hash((event_id, body_hash(value or b""))) != self.contents[place]
        ):
            self.discrepancies.add(DiscrepancyKind.ALTERED, raw_offset, place_of(record))

    def kept_by_topic(self, kept_from: Mapping[str, int], quarantine_kept_from: int) -> list[int]:
        """By topic number, the raw offset from which on every output is left; arguments: see `judge`."""
        kept = [quarantine_kept_from] * (len(self._topics) + 1)
        for topic, raw_offset in kept_from.items():
            kept[self._topics[topic]] = max(raw_offset, quarantine_kept_from)
        return kept

    @property
    def _first_judged(self) -> int:
        """Place of the first record whose outputs are judged: retention may delete records during the audit."""
        return max(self.first, self._oldest_raw)

    def repeats_a_deleted_record(self, place: int) -> bool:
        """Whether a deleted raw record with its event id was typed."""
        return place < 2 * self.reach and self.event_ids[place] in self._deleted_ids

    def places(self, outcome: int, start: int = 0) -> Iterator[int]:
        """Yield the places with this outcome, in order."""
        place = self.outcomes.find(outcome, start)
        while place >= 0:
            yield place
            place = self.outcomes.find(outcome, place + 1)


def _zeros(size: int) -> array[int]:
    return array("q", bytes(8 * size))
