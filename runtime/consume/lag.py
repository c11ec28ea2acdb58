"""How far the assigned partitions of a consumer are read, in records and in seconds."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

import confluent_kafka
from confluent_kafka import Consumer, KafkaException

from broker_events.runtime.consume.record import KafkaRecord, TopicPartition
from broker_events.runtime.process.metrics import Metrics

log = logging.getLogger(__name__)

# A transaction's marker follows its last record; consumers never receive it.
MARKER: Final = 1
_MOST_ENDS: Final = 1000
_INTERVAL_S: Final = 2.0


class PartitionLag:
    """Age of the oldest unread record of a partition, from offsets alone: remembers when each end was first seen.

    Its resolution is the interval between calls. The age of records that were unread before the first call is unknown:
    the age of the newest record read stands for it, which is an upper bound.
    """

    def __init__(self) -> None:
        self._ends: deque[tuple[int, float]] = deque()
        self._from_before = True

    def seconds(self, position: int, end: int, newest_read_s: float | None, now_s: float) -> float:
        """Return the seconds that the oldest unread record has waited, 0 if there is none.

        `position`: next offset to read; `end`: offset after the last one; `newest_read_s`: time (Unix seconds) of the
        last record read, None before the first.
        """
        if not self._ends or end > self._ends[-1][0]:
            if len(self._ends) >= _MOST_ENDS:  # far behind: half the resolution is enough
                self._ends = deque(list(self._ends)[::2])
            self._ends.append((end, now_s))
        while self._ends and self._ends[0][0] <= position + MARKER:
            self._ends.popleft()
            self._from_before = False
        if not self._ends:
            return 0.0
        since_s = self._ends[0][1]
        if self._from_before and newest_read_s is not None:
            since_s = newest_read_s
        return max(now_s - since_s, 0.0)


class SourceLag:
    """Lag of the assigned partitions as of the last fetch; sends no request to Kafka."""

    def __init__(self, consumer: Consumer, metrics: Metrics) -> None:
        self._consumer = consumer
        self._metrics = metrics
        self._newest_ms: dict[TopicPartition, int] = {}
        self._lags: dict[TopicPartition, PartitionLag] = {}
        self._measured_at = 0.0

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Measure these partitions and no others from now on."""
        self._newest_ms.clear()
        self._lags = {tp: PartitionLag() for tp in partitions}
        for gauge in (self._metrics.lag_records, self._metrics.lag_seconds):
            gauge.clear()

    def read(self, tp: TopicPartition, last: KafkaRecord) -> None:
        """Remember the last record read from a partition."""
        self._newest_ms[tp] = last.timestamp()[1]

    def is_at_end(self, tp: TopicPartition, position: int) -> bool:
        """Whether the last fetch found no record at or after `position`, the next offset to read."""
        return position + MARKER >= self._end(tp)

    def is_due(self) -> bool:
        return time.monotonic() - self._measured_at > _INTERVAL_S

    def measure(self, positions: Mapping[TopicPartition, int]) -> None:
        """Set the gauges; `positions`: next offset to read of each assigned partition."""
        self._measured_at = time.monotonic()
        waiting_s = dict.fromkeys((tp.topic for tp in positions), 0.0)
        now_s = time.time()
        for tp, position in positions.items():
            try:
                end = self._end(tp)
            except KafkaException as error:
                log.warning("measuring lag: %s", error)
                continue
            newest_ms = self._newest_ms.get(tp)
            newest_s = None if newest_ms is None else newest_ms / 1000
            waiting_s[tp.topic] = max(waiting_s[tp.topic], self._lags[tp].seconds(position, end, newest_s, now_s))
            self._metrics.lag_records.labels(tp.topic, tp.partition).set(max(end - position, 0))
        for topic, seconds in waiting_s.items():
            self._metrics.lag_seconds.labels(topic).set(seconds)

    def _end(self, tp: TopicPartition) -> int:
        """High watermark, 0 before the first fetch."""
        _, end = self._consumer.get_watermark_offsets(confluent_kafka.TopicPartition(*tp), cached=True) or (0, 0)
        return end
