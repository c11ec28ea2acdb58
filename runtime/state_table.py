"""A keyed table per partition, kept in memory as encoded bytes and in a compacted topic as the truth."""

from __future__ import annotations

import logging
import threading
import time
from typing import Generic, Protocol, TypeVar

from runtime.kafka import Headers
from runtime.metrics import Metrics
from runtime.record import TopicPartition
from runtime.settings import Settings
from runtime.topic_reader import read_to_end
from runtime.transaction import Transaction

log = logging.getLogger(__name__)

R = TypeVar("R")


class RecordCodec(Protocol[R]):
    """Encodes one kind of record (see schemas.codec)."""

    def encode(self, record: R) -> bytes: ...
    def decode(self, value: bytes) -> R: ...


class StateTable(Generic[R]):
    """The state of the partitions that this worker is assigned.

    `put` is seen by `get` at once; `flush` writes the last value of every changed key into the open transaction, so it
    commits with the offsets that it came from. A key changed many times in one transaction is one record.
    """

    def __init__(
        self, settings: Settings, name: str, codec: RecordCodec[R], metrics: Metrics, stop: threading.Event
    ) -> None:
        """`stop`: once it is set, a restore ends early."""
        self._settings = settings
        self._stop = stop
        self._name = name
        self._topic = settings.topic(name)
        self._codec = codec
        self._metrics = metrics
        self._values: dict[int, dict[bytes, bytes]] = {}
        self._changed: dict[int, dict[bytes, Headers]] = {}  # what is written beside it; most have none

    def restore(self, partitions: set[int], kept: set[int]) -> None:
        """Hold these partitions and no others; read all but the `kept` ones from the topic, to its end.

        Raises MustRestart, and Stopped when it was ended early.
        """
        started = time.monotonic()
        numbers = sorted(partitions - kept)
        restored = 0
        self._values = {number: self._values[number] if number in kept else {} for number in partitions}
        self._changed = {number: {} for number in partitions}
        starts = {TopicPartition(self._topic, number): 0 for number in numbers}
        for records in read_to_end(self._settings, starts, stop=self._stop):
            restored += len(records)
            for record in records:
                key, value = record.key(), record.value()
                if key is None:
                    log.warning("%s[%d]@%d has no key; ignored", self._topic, record.partition(), record.offset())
                elif value is None:
                    self._values[record.partition()].pop(key, None)
                else:
                    self._values[record.partition()][key] = value
        took = time.monotonic() - started
        self._metrics.restored.labels(self._name).inc(restored)
        self._metrics.restore_seconds.observe(took)
        log.info("restored %s: %d partitions, %d records in %.2f s", self._topic, len(numbers), restored, took)

    def get(self, partition: int, key: bytes) -> R | None:
        value = self._values[partition].get(key)
        return None if value is None else self._codec.decode(value)

    def encode(self, record: R) -> bytes:
        """Return what `put` takes. Raise ValueError or TypeError where the record doesn't have the schema's form."""
        return self._codec.encode(record)

    def put(self, partition: int, key: bytes, value: bytes, headers: Headers) -> None:
        """Change a record; one that is changed again before it is written has the last headers.

        It is encoded by then: thousands of records that live until the commit would be out of the processor's caches.
        """
        self._values[partition][key] = value
        self._changed[partition][key] = headers

    def size(self, partition: int, key: bytes) -> int:
        """Bytes of a record, 0 where there is none."""
        return len(self._values[partition].get(key, b""))

    def flush(self, transaction: Transaction) -> None:
        """Produce every changed value, into the partition that it belongs to."""
        for partition, changed in self._changed.items():
            values = self._values[partition]
            for key, headers in changed.items():
                transaction.produce(self._topic, values[key], key, partition, headers)
            changed.clear()

    def __len__(self) -> int:
        return sum(len(values) for values in self._values.values())
