"""A keyed table per partition. A compacted topic is its source of truth; memory holds the encoded values."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.kafka.topic_reader import read_to_end
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.errors import RestartRequired
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings
from broker_events.runtime.state.partition_state import PartitionState, RecordCodec

log = logging.getLogger(__name__)

R = TypeVar("R")


class StateTable(Generic[R]):
    """The states of the partitions that this worker is assigned: `table[partition]`.

    They are ahead of the topic until `flush` writes every changed key's last value in the open transaction and that
    transaction commits with the consumed offsets. Many changes of a key in one transaction give one record.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        codec: RecordCodec[R],
        metrics: Metrics,
        stop: threading.Event,
        index_keys: Callable[[R], Iterable[bytes]] | None = None,
    ) -> None:
        """`stop`: ends a restore early once set. `index_keys`: see `PartitionState`."""
        self._settings = settings
        self._stop = stop
        self._name = name
        self._topic = settings.topic(name)
        self._codec = codec
        self._metrics = metrics
        self._index_keys = index_keys
        self._partitions: dict[int, PartitionState[R]] = {}

    def restore(self, partitions: set[int], kept: set[int]) -> None:
        """Replace the held partitions by these. Reads all except `kept` from the topic, to its end.

        Raises RestartRequired if kept partitions have uncommitted changes, and Stopped if `stop` ended it early.
        """
        if not all(states.is_settled for number, states in self._partitions.items() if number in kept):
            raise RestartRequired(f"{self._topic} has changes that no transaction contains")
        started = time.monotonic()
        numbers = sorted(partitions - kept)
        restored = 0
        held = self._partitions
        self._partitions = {
            number: held[number] if number in kept else PartitionState(self._codec, self._index_keys)
            for number in partitions
        }
        starts = {TopicPartition(self._topic, number): 0 for number in numbers}
        for records in read_to_end(self._settings, starts, stop=self._stop):
            restored += len(records)
            for record in records:
                key, value, values = record.key(), record.value(), self._partitions[record.partition()].values
                if key is None:
                    log.warning("%s[%d]@%d: ignored, has no key", self._topic, record.partition(), record.offset())
                elif value is None:
                    values.pop(key, None)
                else:
                    values[key] = value
        for number in numbers:
            self._partitions[number].reindex()
        took = time.monotonic() - started
        self._metrics.restored.labels(self._name).inc(restored)
        self._metrics.restore_seconds.observe(took)
        log.info("restored %s: %d partitions, %d records in %.2f s", self._topic, len(numbers), restored, took)

    def __getitem__(self, partition: int) -> PartitionState[R]:
        return self._partitions[partition]

    def flush(self, transaction: Transaction) -> None:
        """Produce every changed value to its partition."""
        for partition, states in self._partitions.items():
            for key, headers in states.settle().items():
                transaction.produce(self._topic, states.values[key], key, partition, headers)
