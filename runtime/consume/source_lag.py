"""How far the assigned partitions of a consumer are read: their ends, and the lag in records and in seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Final

import confluent_kafka
from confluent_kafka import Consumer, KafkaException

from broker_events.runtime.consume.lag import MARKER, PartitionLag
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition
from broker_events.runtime.process.metrics import Metrics

log = logging.getLogger(__name__)

_INTERVAL_S: Final = 2.0


class SourceLag:
    """Knows the ends of the partitions as of the last fetch: nothing is asked of the cluster."""

    def __init__(self, consumer: Consumer, metrics: Metrics) -> None:
        self._consumer = consumer
        self._metrics = metrics
        self._newest_ms: dict[TopicPartition, int] = {}
        self._lags: dict[TopicPartition, PartitionLag] = {}
        self._measured_at = 0.0

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """These partitions and no others are looked after from now on."""
        self._newest_ms.clear()
        self._lags = {tp: PartitionLag() for tp in partitions}
        for gauge in (self._metrics.lag_records, self._metrics.lag_seconds):
            gauge.clear()

    def read(self, tp: TopicPartition, last: KafkaRecord) -> None:
        """Note the last record that was read of a partition."""
        self._newest_ms[tp] = last.timestamp()[1]

    def is_at_end(self, tp: TopicPartition, position: int) -> bool:
        """Whether the partition held no record behind the next offset to read when it was fetched last."""
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
