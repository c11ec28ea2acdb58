"""What was typed before a position: the duplicate windows' memory, read from the raw topic and from quarantine."""

from __future__ import annotations

import threading
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from processors.routing import Routing
from runtime.quarantine import QUARANTINE
from runtime.quarantine_reader import QuarantineReader
from runtime.record import TopicPartition
from runtime.settings import Settings
from runtime.topic_reader import first_offsets, offsets_at, read_to_end
from schemas.duplicate_window import DuplicateWindow, duplicate_window

# In so many times the window's size of offsets typed events are looked for: refused ones may be without number.
_REACH: Final = 8
# A quarantine record is written after its raw record; clocks of the machines may differ by so much.
CLOCKS_MS: Final = 3_600_000


class _Events(NamedTuple):
    """Offset, id and body hash of a partition's raw records that have an id."""

    offsets: array[int]
    ids: list[str]
    bodies: array[int]


class History:
    """Reads the events of raw partitions that were typed: those of the raw topic that aren't in quarantine.

    By the contracts of today a refused event may be one that can be typed; what counts is what was done.
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
        Return also how many raw records were read for it. Raises MustRestart, Stopped when it was ended early, and
        SettingsError where the registry lacks the schema of a quarantine record: its event would count as typed.
        """
        size = self._settings.duplicate_window
        windows = {tp.partition: duplicate_window(size) for tp in positions}
        if not size:
            return windows, 0
        firsts = first_offsets(self._settings, positions)
        # Offsets are more than typed events: refused and repeated ones, markers, and whatever was aborted.
        span, missing, read = 2 * size, dict(positions), 0
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
            span *= 4
        return windows, read

    def _remember(
        self,
        starts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
        windows: dict[int, DuplicateWindow],
    ) -> Counter[int]:
        """Make the windows anew from these ranges; return how many raw records each partition had there."""
        events = {tp.partition: _Events(array("q"), [], array("q")) for tp in starts}
        counts: Counter[int] = Counter()
        oldest_ms: int | None = None
        for records in read_to_end(self._settings, starts, ends, self._stop):
            for record in records:
                value, number, time_ms = record.value(), record.partition(), record.timestamp()[1]
                counts[number] += 1
                oldest_ms = time_ms if oldest_ms is None else min(oldest_ms, time_ms)
                try:
                    event_id, body = self._routing.identity(value)
                except MemoryError:
                    raise
                except Exception:  # noqa: BLE001, S112 (refused, or a defect: it is in quarantine since it came)
                    continue
                offsets, ids, bodies = events[number]
                offsets.append(record.offset())
                ids.append(event_id)
                bodies.append(body)
        refused = self._refused_offsets(counts.keys(), oldest_ms or 0)
        for number, of in events.items():
            window = windows[number] = duplicate_window(self._settings.duplicate_window)
            for offset, event_id, body in zip(*of, strict=True):
                if offset not in refused[number] and window.body(event_id) is None:
                    window.remember(event_id, body)
        return counts

    def _refused_offsets(self, numbers: Iterable[int], oldest_ms: int) -> dict[int, set[int]]:
        """Offsets of raw records in quarantine, by partition number, of records since a time."""
        refused: dict[int, set[int]] = defaultdict(set)
        partitions = [TopicPartition(self._settings.topic(QUARANTINE), number) for number in numbers]
        starts = offsets_at(self._settings, partitions, max(oldest_ms - CLOCKS_MS, 0))
        for _, event in self._refused.read(starts, self._stop, is_whole=True):
            refused[event["partition"]].add(event["offset"])
        return refused
