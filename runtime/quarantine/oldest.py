"""Watches how long quarantined records wait that a replay may type and nobody has replayed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from contextlib import closing
from itertools import chain
from typing import Final, NamedTuple, Self, cast

from confluent_kafka import KafkaException

from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.kafka.topic_reader import end_offsets, read_to_end, topic_partitions
from broker_events.runtime.process.errors import PipelineError, Stopped
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.quarantine.reader import QuarantineReader
from broker_events.runtime.quarantine.replay import RECOVERIES
from broker_events.runtime.quarantine.writer import QUARANTINE
from broker_events.runtime.settings import Settings
from broker_events.schemas.invalid_event import Reason
from broker_events.schemas.oversized import marked
from broker_events.schemas.storage_types import QuarantinedEvent

log = logging.getLogger(__name__)

_EVERY_S: Final = 60.0
_END_LIMIT_S: Final = 5.0
# Another build, contract, setting or topic configuration may type these, except `_is_final`. Other events are rejected
# again, whatever changes.
_REPLAYABLE: Final = {
    Reason.UNKNOWN_BIZ_TYPE,
    Reason.UNKNOWN_EVENT_TYPE,
    Reason.MISSING_FIELD,
    Reason.WRONG_TYPE,
    Reason.BAD_AMOUNT,
    Reason.BAD_TIME,
    Reason.TOO_LARGE,
    Reason.REFUSED,
    Reason.INTERNAL_ERROR,
}


class Place(NamedTuple):
    """How far a partition of the quarantine has been looked at. `time_ms` is None if nothing before `offset` waits."""

    offset: int
    time_ms: int | None = None


class OldestUnreplayed:
    """Keeps the gauge of the oldest record that waits, over the assigned partitions.

    It reads on a thread of its own, each record once, and no further than the oldest one that waits. It never ends the
    worker: what it can't read it logs and tries again. Leaving it as a context ends the thread.
    """

    def __init__(self, settings: Settings, rejected: QuarantineReader, metrics: Metrics) -> None:
        self._settings = settings
        self._rejected = rejected
        self._gauge = metrics.quarantine_oldest
        self._stop = threading.Event()
        self._assigned: frozenset[int] = frozenset()
        self._changed = threading.Event()
        self._places: dict[int, Place] = {}
        self._replayed: set[bytes] = set()
        self._replayed_to: dict[TopicPartition, int] = {}
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join(_END_LIMIT_S)  # a Kafka client in use while Python ends would crash the process

    def assign(self, partitions: Iterable[int]) -> None:
        """Watch these partition numbers from now on."""
        self._assigned = frozenset(partitions)
        self._changed.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="oldest quarantine record", daemon=True)
            self._thread.start()

    def look(self) -> None:
        """Read what is new, and set the gauge. Raises what reading raises."""
        assigned = self._assigned
        self._read_recoveries()
        for number in assigned:
            self._places[number] = self._next(number, self._places.get(number, Place(0)))
        times_ms = [time_ms for number in assigned if (time_ms := self._places[number].time_ms) is not None]
        self._gauge.set(min(times_ms, default=0) / 1000)

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Stopped:
                return
            except (PipelineError, KafkaException) as error:
                log.warning("the oldest quarantined record is not known: %s", error)
            self._changed.wait(_EVERY_S)
            self._changed.clear()

    def _read_recoveries(self) -> None:
        if not self._replayed_to:
            topic = self._settings.topic(RECOVERIES)
            self._replayed_to = dict.fromkeys(topic_partitions(self._settings, topic), 0)
        for record in chain.from_iterable(read_to_end(self._settings, dict(self._replayed_to), stop=self._stop)):
            self._replayed.add(cast(bytes, record.key()))
            self._replayed_to[TopicPartition(record.topic(), record.partition())] = record.offset() + 1

    def _next(self, number: int, place: Place) -> Place:
        """Return the first record from `place` on that waits; that record again while it still does."""
        tp = TopicPartition(self._settings.topic(QUARANTINE), number)
        if place.time_ms is not None and self._name(tp, place.offset) not in self._replayed:
            return place
        ends = end_offsets(self._settings, [tp], self._stop)
        with closing(self._rejected.read({tp: place.offset}, self._stop, ends=ends)) as records:
            for record, event in records:
                is_waiting = event["reason"] in _REPLAYABLE and not _is_final(event)
                if is_waiting and self._name(tp, record.offset()) not in self._replayed:
                    return Place(record.offset(), record.timestamp()[1])
        return Place(ends[tp])

    def _name(self, tp: TopicPartition, offset: int) -> bytes:
        return f"{tp.topic}/{tp.partition}/{offset}".encode()


def _is_final(event: QuarantinedEvent) -> bool:
    """Whether the record is too large for good: an id is too long, or it is a marker of an event not in Kafka."""
    if event["reason"] != Reason.TOO_LARGE:
        return False
    return bool(event["pointer"]) or marked((each["name"], each["value"]) for each in event["headers"]) is not None
