"""Read the topics as a consumer does: read_committed, without a group, from the end offsets at the start."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, cast

import confluent_kafka
from confluent_kafka import Consumer, KafkaException

from broker_events.devstack.balance import Numbers
from broker_events.devstack.counters import RunCounters
from broker_events.processors.routing import Routing
from broker_events.runtime.consume.record import KafkaRecord, place_of
from broker_events.runtime.events.duplicate_window import duplicate_window
from broker_events.runtime.kafka.clients import consumer_config, raise_if_hopeless
from broker_events.runtime.kafka.topic_reader import end_offsets, topic_partitions
from broker_events.runtime.process.errors import PipelineError
from broker_events.runtime.schema_ids import open_decoder
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import RAW, Catalog
from broker_events.schemas.codec import DecodeError, UnknownSchema
from broker_events.schemas.invalid_event import InvalidEvent
from broker_events.schemas.models import Alert, QuarantinedEvent
from broker_events.schemas.registry import RegistryError

_BATCH_RECORDS: Final = 5000
# The longest wait for a full batch. It delays what the watcher sees.
_BATCH_S: Final = 0.01
UNDECODABLE: Final = "undecodable"


class Watcher:
    """Counts every record of raw, the typed topics, quarantine, alerts and alerts.active in a thread.

    It decodes only quarantine records and alerts. `failure`: the error that ended the thread.
    """

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self.failure: PipelineError | None = None
        self.first_typed_at: float | None = None  # monotonic
        self._counters = RunCounters(_typed_by(settings, catalog))
        self._decoder = open_decoder(settings)
        self._count: dict[str, Callable[[KafkaRecord], None]] = {
            settings.topic(RAW): self._counters.raw,
            settings.topic("quarantine"): self._quarantined,
            settings.topic("alerts"): self._alert,
            settings.topic("alerts.active"): self._counters.active,
        }
        for biz_type, contract in catalog.events.items():
            self._count[settings.topic(contract.topics[0].name)] = self._typed(biz_type)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._group = settings.group("watcher")
        self._consumer = Consumer(consumer_config(settings, group_id=self._group, queued_min_messages=20_000))
        partitions = [tp for topic in self._count for tp in topic_partitions(settings, topic)]
        starts = end_offsets(settings, partitions)
        self._consumer.assign([confluent_kafka.TopicPartition(*tp, starts[tp]) for tp in partitions])
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def numbers(self) -> Numbers:
        """Return the counts of now."""
        with self._lock:
            return self._counters.numbers()

    def stop(self) -> None:
        """End the thread, and the consumer with it."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                messages = self._consumer.consume(_BATCH_RECORDS, _BATCH_S)
                with self._lock:
                    for message in messages:
                        error = message.error()
                        if error is not None:
                            raise_if_hopeless(error, message.topic(), self._group)
                            continue
                        record = cast("KafkaRecord", message)
                        self._count[record.topic()](record)
        except PipelineError as error:
            self.failure = error
        except (KafkaException, RegistryError, UnknownSchema) as error:
            self.failure = PipelineError(f"cannot read the topics: {error}")
        finally:
            self._consumer.close()

    def _typed(self, biz_type: str) -> Callable[[KafkaRecord], None]:
        def count(_: KafkaRecord) -> None:
            if self.first_typed_at is None:
                self.first_typed_at = time.monotonic()
            self._counters.typed(biz_type)

        return count

    def _quarantined(self, record: KafkaRecord) -> None:
        decoded = self._decode(record)
        self._counters.quarantined(decoded.reason if isinstance(decoded, QuarantinedEvent) else UNDECODABLE)

    def _alert(self, record: KafkaRecord) -> None:
        seen_at = time.time()
        alert = self._decode(record)
        if not isinstance(alert, Alert):
            raise PipelineError(f"{place_of(record)} is not an alert")
        self._counters.alert(alert, seen_at)

    def _decode(self, record: KafkaRecord) -> object:
        try:
            return self._decoder.decode(record.value() or b"")
        except UnknownSchema:
            raise
        except DecodeError:
            return None


def _typed_by(settings: Settings, catalog: Catalog) -> Callable[[bytes], bool]:
    """Return what checks whether the contracts can type a raw value."""
    ids = dict.fromkeys((contract.topics[0].name for contract in catalog.events.values()), 0)
    routing = Routing(catalog.events, ids, settings.topic, settings.max_message_bytes)
    nothing = duplicate_window(0)

    def is_typed(value: bytes) -> bool:
        try:
            routing.type(value, b"", nothing)
        except InvalidEvent:
            return False
        return True

    return is_typed
