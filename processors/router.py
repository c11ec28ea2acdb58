"""The router: raw topic -> one typed topic per biz_type; events that can't be typed -> quarantine."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from broker_events.native import extension
from broker_events.processors.app import run_worker
from broker_events.processors.duplicate_restore import DuplicateRestore
from broker_events.processors.routing import Routing
from broker_events.runtime.consume.record import KafkaRecord, KafkaRecords, RecordBatch, TopicPartition, kept_headers
from broker_events.runtime.consume.record_source import Processor
from broker_events.runtime.events.duplicate_window import DuplicateWindow
from broker_events.runtime.kafka.clients import Headers
from broker_events.runtime.kafka.topics import typed_size_limit
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.quarantine.oldest import OldestUnreplayed
from broker_events.runtime.quarantine.reader import QuarantineReader
from broker_events.runtime.quarantine.writer import QUARANTINE, Quarantine, internal_error
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import RAW, Catalog, load_catalog
from broker_events.schemas.headers import RAW_OFFSET
from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.oversized import marked

if TYPE_CHECKING:
    from broker_events.native._native import Writer

log = logging.getLogger(__name__)

NAME: Final = "router"


class Router(Processor):
    """Every raw record becomes exactly one of: typed record, quarantine record, duplicate (dropped).

    A typed record has key, partition number and timestamp of its raw record. So the order per account is kept.
    """

    def __init__(
        self,
        routing: Routing,
        duplicates: DuplicateRestore,
        quarantine: Quarantine,
        transaction: Transaction,
        metrics: Metrics,
        oldest: OldestUnreplayed,
    ) -> None:
        self._routing = routing
        self._oldest = oldest
        for biz_type in routing.biz_types:  # rate() needs an initial 0
            metrics.without_account_id.labels(biz_type)
        self._duplicates = duplicates
        self._quarantine = quarantine
        self._transaction = transaction
        self._metrics = metrics
        self._writer: Writer | None = None
        self._windows: dict[int, DuplicateWindow] = {}
        self._received_ms: list[int] = []
        self._duplicate_keys = 0

    def restore(
        self, positions: Mapping[TopicPartition, int], unmoved: set[TopicPartition], foreign: set[TopicPartition]
    ) -> None:
        """Load the duplicate window of each partition: the last typed events before its position."""
        started = time.monotonic()
        kept = {tp.partition: self._windows[tp.partition] for tp in unmoved}
        moved = {tp: position for tp, position in positions.items() if tp not in unmoved}
        windows, restored = self._duplicates.windows(moved)
        self._duplicates.refuse_unless_fitting({tp: positions[tp] for tp in foreign}, windows)
        self._windows = kept | windows
        self._received_ms.clear()
        self._writer = self._transaction.writer(self._routing.topics, RAW_OFFSET)
        if self._writer is not None:
            log.info("native passthrough is on")
        self._oldest.assign(tp.partition for tp in positions)
        took = time.monotonic() - started
        self._metrics.restored.labels("duplicates").inc(restored)
        self._metrics.restore_seconds.observe(took)
        log.info("restored duplicate windows: %d partitions, %d events in %.2f s", len(moved), restored, took)

    def process(self, batch: RecordBatch) -> None:
        routed: Counter[str] = Counter()
        duplicates: Counter[str] = Counter()
        for tp, records in batch.partitions.items():
            self._received_ms.append(records[0].timestamp()[1])
            self._process_partition(tp.partition, records, routed, duplicates)
        for biz_type, count in routed.items():
            self._metrics.routed.labels(biz_type).inc(count)
        for biz_type, count in duplicates.items():
            self._metrics.duplicates.labels(biz_type).inc(count)

    def _process_partition(
        self, partition: int, records: KafkaRecords, routed: Counter[str], duplicates: Counter[str]
    ) -> None:
        window, left = self._windows[partition], 0
        while left < len(records):
            if self._writer is not None and isinstance(records, extension.native.Records):
                left, written, known = self._routing.type_all(records, left, window, self._writer)
                self._transaction.written(sum(written.values()))
                routed.update(written)
                duplicates.update(known)
                if left == len(records):
                    break
            self._process_record(records[left], window, routed, duplicates)
            left += 1

    def _process_record(
        self, record: KafkaRecord, window: DuplicateWindow, routed: Counter[str], duplicates: Counter[str]
    ) -> None:
        key, at_ms = record.key(), record.timestamp()[1]
        try:
            # A time too far ahead is for Kafka to refuse (`refuse`): this machine's clock may be wrong.
            if at_ms <= 0:
                raise InvalidEvent(Reason.BAD_TIME, "", f"no topic accepts the raw record's time {at_ms} ms")
            route, typed, has_kept = self._routing.type(record.value(), key, window)
        except InvalidEvent as problem:
            self._quarantine.put(self._transaction, record, marked(record.headers()) or problem)
            return
        except MemoryError:  # the record did not cause it
            raise
        except Exception as error:  # noqa: BLE001 (routing is pure: a restart would fail again)
            self._quarantine.put(self._transaction, record, internal_error(record, error))
            return
        if route is None or typed is None:
            duplicates[route.biz_type if route else "unknown"] += 1
            return
        headers: Headers = [(RAW_OFFSET, b"%d" % record.offset())]
        if has_kept:
            headers += kept_headers(record)
        self._transaction.produce(route.topic, typed, key, record.partition(), headers, at_ms)
        routed[route.biz_type] += 1

    def refuse(self, record: KafkaRecord, problem: InvalidEvent) -> None:
        self._quarantine.put(self._transaction, record, problem)

    def before_commit(self) -> None:
        """Do nothing: records are produced at once."""

    def after_commit(self) -> None:
        now_ms = time.time() * 1000
        self._metrics.raw_to_typed.observe_all(
            [max(now_ms - received_ms, 0) / 1000 for received_ms in self._received_ms]
        )
        self._received_ms.clear()
        for biz_type, count in self._routing.without_account_id.items():
            self._metrics.without_account_id.labels(biz_type).inc(count)
        self._routing.without_account_id.clear()
        duplicate_keys = self._routing.duplicate_keys
        self._metrics.duplicate_keys.inc(duplicate_keys - self._duplicate_keys)
        self._duplicate_keys = duplicate_keys


def run(settings: Settings, stop: threading.Event, catalog: Catalog | None = None) -> None:
    """Run a router until `stop` is set. Raises OperatorActionRequired or RestartRequired."""
    contracts = catalog or load_catalog()
    resources = ExitStack()

    def build(
        schema_ids: Mapping[str, int], quarantine: Quarantine, transaction: Transaction, metrics: Metrics
    ) -> Router:
        routing = Routing(contracts.events, schema_ids, settings.topic, typed_size_limit(settings))
        rejected = QuarantineReader(settings, contracts, schema_ids[QUARANTINE], NAME, {settings.topic(RAW)})
        duplicates = DuplicateRestore(settings, routing, rejected, stop)
        oldest = resources.enter_context(OldestUnreplayed(settings, rejected, metrics))
        return Router(routing, duplicates, quarantine, transaction, metrics, oldest)

    outputs = [settings.topic(contract.topics[0].name) for contract in contracts.events.values()]
    with resources:
        run_worker(settings, NAME, contracts, [settings.topic(RAW)], outputs, build, stop, native_passthrough=True)
