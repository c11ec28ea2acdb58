"""Restores the duplicate windows from the outputs, and checks that an offset fits the outputs."""

from __future__ import annotations

import threading
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from broker_events.processors.routing import Routing
from broker_events.runtime.consume.record import TopicPartition, partition_of
from broker_events.runtime.consume.starting_offsets import refusal
from broker_events.runtime.events.duplicate_window import DuplicateWindow, duplicate_window
from broker_events.runtime.kafka.topic_reader import end_offsets, first_offsets, offsets_since, read_to_end
from broker_events.runtime.quarantine.reader import QuarantineReader
from broker_events.runtime.quarantine.writer import QUARANTINE
from broker_events.runtime.settings import Settings
from broker_events.schemas.headers import raw_offset
from broker_events.schemas.invalid_event import InvalidEvent

# The search for a window's typed events begins with _FIRST_REACH times its size of offsets and grows to _REACH times.
# Between typed events there may be any number of other offsets: rejected events, duplicates, markers, aborted records.
_FIRST_REACH: Final = 1.05
_REACH: Final = 8
_GROWTH: Final = 3
# Offsets before a position that are checked at least, however small the window is.
_LEAST_SPAN: Final = 1000
# A quarantine record is written after its raw record; this bounds the difference of the machines' clocks.
CLOCKS_MS: Final = 3_600_000


class _Events(NamedTuple):
    """Offset, time (ms since the epoch), id and body hash of a partition's raw records that have an id."""

    offsets: array[int]
    times: array[int]
    ids: list[str]
    bodies: array[int]


class DuplicateRestore:
    """Reads the events of raw partitions that were typed: those whose offset a typed record has in raw_offset.

    Only the outputs show what was typed. The contracts may have changed since an event was rejected, and an operator
    may have skipped events.
    """

    def __init__(self, settings: Settings, routing: Routing, rejected: QuarantineReader, stop: threading.Event) -> None:
        """`rejected`: the router's quarantine records of the raw topic. `stop`: setting it ends reading early."""
        self._settings = settings
        self._routing = routing
        self._rejected = rejected
        self._stop = stop

    def windows(self, positions: Mapping[TopicPartition, int]) -> tuple[dict[int, DuplicateWindow], int]:
        """Return the duplicate window of each raw partition at its position, by partition number.

        It holds the last `duplicate_window` typed events, as far as they are among the last 8 times as many offsets.
        Where transactions were aborted, the search covers at least `duplicate_window` records. Return also the number
        of raw records read. Raises RestartRequired, and Stopped when `stop` ended it early.
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
        """Raise OperatorActionRequired where continuing from a position would repeat outputs or skip records.

        `windows`: those at the positions. An output at or behind a position would be written again. Records between the
        last output and the position must be duplicates, which have no output.
        """
        if not positions:
            return
        span = 2 * max(self._settings.duplicate_window, _LEAST_SPAN)
        firsts = first_offsets(self._settings, positions, self._stop)
        starts = {tp: max(position - span, firsts[tp]) for tp, position in positions.items()}
        unknown = {tp.partition: array("q") for tp in positions}  # offsets of records that are no duplicates
        oldest_ms: dict[int, int] = {}
        for records in read_to_end(self._settings, starts, positions, self._stop):
            for record in records:
                number, time_ms = record.partition(), record.timestamp()[1]
                oldest_ms[number] = min(oldest_ms.get(number, time_ms), time_ms)
                if not self._is_known(record.value(), windows[number]):
                    unknown[number].append(record.offset())
        begins = {tp.partition: start for tp, start in starts.items()}
        ends = dict.fromkeys(unknown, -1)  # offset of the last record with an output
        at = {tp.partition: (tp, position) for tp, position in positions.items()}
        oldest_ms = {number: oldest_ms.get(number, 0) for number in unknown}
        for number, offset in self._outputs(oldest_ms, begins):
            tp, position = at[number]
            if offset >= position:
                raise refusal(
                    tp, position, "router", f"the record at {offset} has an output, which the router would write again"
                )
            ends[number] = max(ends[number], offset)
        for number, offsets in unknown.items():
            if skipped := [offset for offset in offsets if offset > ends[number]]:
                raise refusal(
                    *at[number],
                    "router",
                    f"{len(skipped)} records before it, from {skipped[0]} on, have no output and would be lost",
                )

    def _is_known(self, value: bytes | None, window: DuplicateWindow) -> bool:
        try:
            event_id, body = self._routing.identity(value)
        except InvalidEvent:
            return False
        return window.body(event_id) == body

    def _outputs(self, oldest_ms: Mapping[int, int], begins: Mapping[int, int]) -> Iterator[tuple[int, int]]:
        """Yield partition number and raw offset of the typed and quarantined records (see `_typed`)."""
        for number, typed in self._typed(oldest_ms, begins).items():
            yield from ((number, offset) for offset in typed)
        topic = self._settings.topic(QUARANTINE)
        times = {TopicPartition(topic, number): max(ms - CLOCKS_MS, 0) for number, ms in oldest_ms.items()}
        for _, event in self._rejected.read(offsets_since(self._settings, times, self._stop), self._stop):
            if event["partition"] in oldest_ms:
                yield event["partition"], event["offset"]

    def _remember(
        self,
        starts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
        windows: dict[int, DuplicateWindow],
    ) -> Counter[int]:
        """Rebuild the windows from these ranges; return the number of raw records per partition."""
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
                except Exception:  # noqa: BLE001, S112 (rejected, or a defect: it was not typed when it came)
                    continue
                offsets, times, ids, bodies = events[number]
                offsets.append(record.offset())
                times.append(time_ms)
                ids.append(event_id)
                bodies.append(body)
        typed = self._typed(oldest_ms, {tp.partition: start for tp, start in starts.items()})
        for number, of in events.items():
            window = windows[number] = duplicate_window(self._settings.duplicate_window)
            done = typed.get(number, {})
            for offset, time_ms, event_id, body in zip(*of, strict=True):
                if done.get(offset) == time_ms and window.body(event_id) is None:
                    window.remember(event_id, body)
        return counts

    def _typed(self, oldest_ms: Mapping[int, int], begins: Mapping[int, int]) -> dict[int, dict[int, int]]:
        """Return, by partition number, the raw offsets and times of typed records; more than those from `begins` on.

        A typed record has the time of its raw record; one that comes from a deleted raw topic has another. So none is
        before `oldest_ms`. One raw record with a time long ago must not make this read a whole topic: it reads back
        from the end until a raw offset is below `begins`, because the router writes in the order of raw.
        """
        typed: dict[int, dict[int, int]] = {number: {} for number in oldest_ms}
        times = {
            TopicPartition(topic, number): ms for topic in self._routing.topics for number, ms in oldest_ms.items()
        }
        firsts = offsets_since(self._settings, times, self._stop)
        ends = end_offsets(self._settings, times, self._stop)
        span = 2 * max(self._settings.duplicate_window, _LEAST_SPAN)
        while firsts:
            starts = {tp: max(first, ends[tp] - span) for tp, first in firsts.items()}
            for records in read_to_end(self._settings, starts, ends, self._stop):
                for record in records:
                    offset = raw_offset(record.headers())
                    if offset is not None:
                        typed[record.partition()][offset] = record.timestamp()[1]
                        if offset < begins[record.partition()]:
                            firsts.pop(partition_of(record), None)
            firsts = {tp: first for tp, first in firsts.items() if starts[tp] > first}
            ends |= starts
            span *= _GROWTH
        return typed
