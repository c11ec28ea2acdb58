"""Watches the topics as any consumer could: read_committed, in no group, from the moment it starts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, cast

import confluent_kafka
from confluent_kafka import Consumer, KafkaException

from broker_events.devstack.counters import RunCounters, Seen
from broker_events.processors.routing import Routing
from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.events.duplicate_window import duplicate_window
from broker_events.runtime.kafka.clients import consumer_config, raise_if_hopeless
from broker_events.runtime.kafka.topic_reader import end_offsets, topic_partitions
from broker_events.runtime.process.errors import PipelineError
from broker_events.runtime.schema_ids import open_decoder
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import RAW, Catalog
from broker_events.schemas.codec import DecodeError
from broker_events.schemas.invalid_event import InvalidEvent
from broker_events.schemas.models import Alert, QuarantinedEvent
from broker_events.schemas.registry import RegistryError

_BATCH_RECORDS: Final = 5000
# How much later than it comes a record may be seen; also how often the loop comes round when there is little to do.
_BATCH_S: Final = 0.01
UNDECODABLE: Final = "undecodable"


class Watcher:
    """Counts every record of raw, the typed topics, quarantine, alerts and alerts.active in a thread of its own.

    Only quarantine records and alerts are decoded. `failure`: what ended the thread, if anything did.
    """

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self.failure: PipelineError | None = None
        self.first_typed_at: float | None = None  # monotonic
        self._tally = RunCounters(frozenset(catalog.events), _judge(settings, catalog))
        self._decoder = open_decoder(settings)
        self._count: dict[str, Callable[[KafkaRecord], None]] = {
            settings.topic(RAW): self._tally.raw,
            settings.topic("quarantine"): self._quarantined,
            settings.topic("alerts"): self._alert,
            settings.topic("alerts.active"): self._tally.active,
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

    def seen(self) -> Seen:
        """Return the counts as they are now."""
        with self._lock:
            return self._tally.seen()

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
        except (KafkaException, RegistryError) as error:
            self.failure = PipelineError(f"watching the topics: {error}")
        finally:
            self._consumer.close()

    def _typed(self, biz_type: str) -> Callable[[KafkaRecord], None]:
        def count(_: KafkaRecord) -> None:
            if self.first_typed_at is None:
                self.first_typed_at = time.monotonic()
            self._tally.typed(biz_type)

        return count

    def _quarantined(self, record: KafkaRecord) -> None:
        decoded = self._decode(record)
        self._tally.quarantined(decoded.reason if isinstance(decoded, QuarantinedEvent) else UNDECODABLE)

    def _alert(self, record: KafkaRecord) -> None:
        seen_at = time.time()
        alert = self._decode(record)
        if not isinstance(alert, Alert):
            raise PipelineError(f"{record.topic()}: partition {record.partition()}, offset {record.offset()}: no alert")
        self._tally.alert(alert, seen_at)

    def _decode(self, record: KafkaRecord) -> object:
        try:
            return self._decoder.decode(record.value() or b"")
        except DecodeError:
            return None


def _judge(settings: Settings, catalog: Catalog) -> Callable[[bytes], bool]:
    """Whether a raw value can be typed by the contracts."""
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
