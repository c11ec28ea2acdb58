"""What was done before a position: the duplicate windows' memory, and whether an offset fits the outputs."""

from __future__ import annotations

import threading
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from broker_events.processors.routing import Routing
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.consume.starting_offsets import refusal
from broker_events.runtime.events.duplicate_window import DuplicateWindow, duplicate_window
from broker_events.runtime.kafka.topic_reader import first_offsets, offsets_since, read_to_end
from broker_events.runtime.quarantine.reader import QuarantineReader
from broker_events.runtime.quarantine.writer import QUARANTINE
from broker_events.runtime.settings import Settings
from broker_events.schemas.headers import raw_offset
from broker_events.schemas.invalid_event import InvalidEvent

# Typed events are looked for in so many times the window's size of offsets, while fewer than its size are found: any
# number of other offsets may be between them (rejected and repeated events, markers, whatever was aborted).
_FIRST_REACH: Final = 1.05
_REACH: Final = 8
_GROWTH: Final = 3
# With a smaller window an offset is judged by so many offsets before it all the same.
_LEAST_SPAN: Final = 1000
# A quarantine record is written after its raw record; clocks of the machines may differ by so much.
CLOCKS_MS: Final = 3_600_000


class _Events(NamedTuple):
    """Offset, time (ms since the epoch), id and body hash of a partition's raw records that have an id."""

    offsets: array[int]
    times: array[int]
    ids: list[str]
    bodies: array[int]


class DuplicateRestore:
    """Reads the events of raw partitions that were typed: those that a typed record names in its raw_offset.

    By today's contracts a rejected event may be one that can be typed, and an operator may have skipped another: what
    counts is what was done.
    """

    def __init__(self, settings: Settings, routing: Routing, refused: QuarantineReader, stop: threading.Event) -> None:
        """`refused`: of the raw topic by the router; `stop`: once it is set, reading ends early."""
        self._settings = settings
        self._routing = routing
        self._refused = refused
        self._stop = stop

    def windows(self, positions: Mapping[TopicPartition, int]) -> tuple[dict[int, DuplicateWindow], int]:
        """Duplicate window of each raw partition as it has to be at its position, by partition number.

        It knows the last `duplicate_window` typed events, as far as they are among the last 8 times as many offsets
        (among as many records at least, where transactions were aborted).
        Return also how many raw records were read for it. Raises RestartRequired, and Stopped when it was ended early.
        """
        size = self._settings.duplicate_window
        windows = {tp.partition: duplicate_window(size) for tp in positions}
        if not size:
            return windows, 0
        firsts = first_offsets(self._settings, positions, self._stop)
        span, missing, read = round(_FIRST_REACH * size), dict(positions), 0
        while missing:
            starts = {tp: max(position - span, firsts[tp]) for tp, position in missing.items()}
            counts = self._remember(starts, missing, windows)
            read += counts.total()
            missing = {
                tp: position
                for tp, position in missing.items()
                if starts[tp] > firsts[tp]
                and len(windows[tp.partition]) < size
                and (span < _REACH * size or counts[tp.partition] < size)
            }
            span = min(span * _GROWTH, _REACH * size) if span < _REACH * size else span * 4
        return windows, read

    def refuse_unless_fitting(
        self, positions: Mapping[TopicPartition, int], windows: Mapping[int, DuplicateWindow]
    ) -> None:
        """Raise OperatorActionRequired where to go on from a position would repeat outputs, or skip records.

        `windows`: those of the positions. An output behind a position would be written again. Between the last output
        and the position only duplicates are read without any output.
        """
        if not positions:
            return
        span = 2 * max(self._settings.duplicate_window, _LEAST_SPAN)
        firsts = first_offsets(self._settings, positions, self._stop)
        starts = {tp: max(position - span, firsts[tp]) for tp, position in positions.items()}
        unknown = {tp.partition: array("q") for tp in positions}  # offsets of what is no duplicate
        oldest_ms: dict[int, int] = {}
        for records in read_to_end(self._settings, starts, positions, self._stop):
            for record in records:
                number, time_ms = record.partition(), record.timestamp()[1]
                oldest_ms[number] = min(oldest_ms.get(number, time_ms), time_ms)
                if not self._is_known(record.value(), windows[number]):
                    unknown[number].append(record.offset())
        ends = dict.fromkeys(unknown, -1)  # offset of the last record with an output
        at = {tp.partition: (tp, position) for tp, position in positions.items()}
        oldest_ms = {number: oldest_ms.get(number, 0) for number in unknown}
        for number, offset in self._outputs(oldest_ms):
            tp, position = at[number]
            if offset >= position:
                raise refusal(
                    tp, position, "router", f"the record at {offset} has an output, which would be written again"
                )
            ends[number] = max(ends[number], offset)
        for number, offsets in unknown.items():
            if skipped := [offset for offset in offsets if offset > ends[number]]:
                raise refusal(
                    *at[number],
                    "router",
                    f"{len(skipped)} records before it, from {skipped[0]} on, have no output: they would be lost",
                )

    def _is_known(self, value: bytes | None, window: DuplicateWindow) -> bool:
        try:
            event_id, body = self._routing.identity(value)
        except InvalidEvent:
            return False
        return window.body(event_id) == body

    def _outputs(self, oldest_ms: Mapping[int, int]) -> Iterator[tuple[int, int]]:
        """Partition number and raw offset of everything typed or quarantined since a time."""
        for number, _, offset in self._typed(oldest_ms):
            yield number, offset
        topic = self._settings.topic(QUARANTINE)
        times = {TopicPartition(topic, number): max(ms - CLOCKS_MS, 0) for number, ms in oldest_ms.items()}
        for _, event in self._refused.read(offsets_since(self._settings, times, self._stop), self._stop):
            if event["partition"] in oldest_ms:
                yield event["partition"], event["offset"]

    def _remember(
        self,
        starts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
        windows: dict[int, DuplicateWindow],
    ) -> Counter[int]:
        """Make the windows anew from these ranges; return how many raw records each partition had there."""
        events = {tp.partition: _Events(array("q"), array("q"), [], array("q")) for tp in starts}
        counts: Counter[int] = Counter()
        oldest_ms: dict[int, int] = {}
        for records in read_to_end(self._settings, starts, ends, self._stop):
            for record in records:
                value, number, time_ms = record.value(), record.partition(), record.timestamp()[1]
                counts[number] += 1
                if time_ms < oldest_ms.get(number, time_ms + 1):
                    oldest_ms[number] = time_ms
                try:
                    event_id, body = self._routing.identity(value)
                except MemoryError:
                    raise
                except Exception:  # noqa: BLE001, S112 (refused, or a defect: it was not typed when it came)
                    continue
                offsets, times, ids, bodies = events[number]
                offsets.append(record.offset())
                times.append(time_ms)
                ids.append(event_id)
                bodies.append(body)
        typed: defaultdict[int, dict[int, int]] = defaultdict(dict)
        for number, time_ms, offset in self._typed(oldest_ms):
            typed[number][offset] = time_ms
        for number, of in events.items():
            window = windows[number] = duplicate_window(self._settings.duplicate_window)
            done = typed[number]
            for offset, time_ms, event_id, body in zip(*of, strict=True):
                if done.get(offset) == time_ms and window.body(event_id) is None:
                    window.remember(event_id, body)
        return counts

    def _typed(self, oldest_ms: Mapping[int, int]) -> Iterator[tuple[int, int, int]]:
        """Partition number, time and raw offset of everything typed since a time.

        A typed record has the time of its raw record: one of a raw topic that was deleted since has another.
        """
        times = {
            TopicPartition(topic, number): ms for topic in self._routing.topics for number, ms in oldest_ms.items()
        }
        for records in read_to_end(self._settings, offsets_since(self._settings, times, self._stop), stop=self._stop):
            for record in records:
                offset = raw_offset(record.headers())
                if offset is not None:
                    yield record.partition(), record.timestamp()[1], offset
