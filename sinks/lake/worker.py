"""The lake worker: reads the topics of its tables and commits them, each table by itself."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, cast

import confluent_kafka
from confluent_kafka import Consumer, KafkaException

from broker_events.runtime.consume.record import KafkaRecord, TopicPartition
from broker_events.runtime.kafka.clients import consumer_config, raise_if_hopeless
from broker_events.runtime.kafka.topic_reader import END_OF_PARTITION, end_offsets
from broker_events.runtime.process.errors import PipelineError
from broker_events.runtime.process.health import Health, HealthServer
from broker_events.runtime.process.instance import superseded
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.process.retry import keep_trying
from broker_events.runtime.schema_ids import open_registry, registry_problem
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import Catalog, load_catalog
from broker_events.schemas.codec import UnknownSchema
from broker_events.schemas.registry import RegistryError
from broker_events.sinks.lake.buffer import ConversionFailed
from broker_events.sinks.lake.iceberg.store import CatalogDown, Lake, StorageFailed
from broker_events.sinks.lake.iceberg.upkeep import expire
from broker_events.sinks.lake.owned_table import OwnedTable
from broker_events.sinks.lake.tables import chosen_tables
from broker_events.sinks.lake.topic_facts import learn

log = logging.getLogger(__name__)

NAME: Final = "lake"
_MB: Final = 1_000_000
_BATCH_RECORDS: Final = 20_000
_POLL_S: Final = 0.1
_PREFETCH_KBYTES: Final = 32_768
# How long a table rests after a failure that ends by itself: storage, catalog, registry.
_REST_S: Final = 5.0
# After SIGTERM: less than `lifecycle.STOP_LIMIT_S`, minus one commit.
_REST_LIMIT_S: Final = 5.0
# A commit may wait for storage and catalog for longer than a worker's loop usually takes.
_COMMIT_LIMIT_S: Final = 600.0


class TableStopped(PipelineError):
    """A record that a table can't take. The worker filled its other tables until it was stopped."""

    exit_code = 3


class LakeWorker:
    """Fills the tables until `stop` is set."""

    def __init__(
        self, settings: Settings, catalog: Catalog, metrics: Metrics, health: Health, *, until_end: bool = False
    ) -> None:
        """`until_end`: end by itself once every partition was read to its present end."""
        self._settings = settings
        self._catalog = catalog
        self._metrics = metrics
        self._health = health
        self._stopped: dict[str, str] = {}
        self._resting: dict[str, float] = {}
        self._tables: dict[str, OwnedTable] = {}
        self._until_end = until_end
        self._unread: dict[TopicPartition, int] = {}

    def run(self, stop: threading.Event) -> None:
        """Run. Raises TableStopped, Fenced, CommitUnknown, OperatorActionRequired or RestartRequired."""
        settings = self._settings
        self._tables = self._take_over(stop)
        consumer = Consumer(
            consumer_config(
                settings,
                group_id=settings.group(NAME),
                enable_partition_eof=True,
                queued_min_messages=50_000,
                queued_max_messages_kbytes=_PREFETCH_KBYTES,
            )
        )
        try:
            consumer.assign(
                [
                    confluent_kafka.TopicPartition(owned.topic, partition, offset)
                    for owned in self._tables.values()
                    for partition, offset in owned.ledger.offsets.items()
                ]
            )
            self._unread = self._ends(stop) if self._until_end else {}
            self._health.ready()
            while not stop.is_set() and self._has_work():
                self._health.beat(_COMMIT_LIMIT_S)
                self._read(consumer)
                self._commit_due(consumer, stop)
            self._commit_rest(consumer, stop)
        finally:
            consumer.close()
        if self._stopped:
            raise TableStopped("; ".join(self._stopped.values()))

    def _has_work(self) -> bool:
        if self._until_end:
            return any(owned.topic == tp.topic for tp in self._unread for owned in self._open_tables())
        return bool(self._open_tables())

    def _ends(self, stop: threading.Event) -> dict[TopicPartition, int]:
        """Return the high watermarks: a transaction that has committed may not have all its markers yet."""
        offsets = {
            TopicPartition(owned.topic, partition): offset
            for owned in self._tables.values()
            for partition, offset in owned.ledger.offsets.items()
        }
        return {tp: end for tp, end in end_offsets(self._settings, offsets, stop).items() if offsets[tp] < end}

    def _open_tables(self) -> list[OwnedTable]:
        return [owned for owned in self._tables.values() if owned.table.name not in self._stopped]

    def _commit_rest(self, consumer: Consumer, stop: threading.Event) -> None:
        """Commit what was read, as far as the time of a stop allows; the rest is read again."""
        deadline = time.monotonic() + _REST_LIMIT_S
        for owned in self._open_tables():
            while owned.is_behind and (self._until_end or time.monotonic() < deadline):
                self._commit(consumer, owned, stop)
                if owned.is_behind and (owned.table.name in self._stopped or stop.wait(_REST_S)):
                    break

    def _take_over(self, stop: threading.Event) -> dict[str, OwnedTable]:
        """Take over every table; return them by Kafka topic."""
        settings = self._settings
        tables = chosen_tables(self._catalog, settings.lake_tables)
        self._facts = learn(settings, [settings.topic(table.topic) for table in tables], stop)
        registry = open_registry(settings)
        subject = f"{settings.topic('quarantine')}-value"

        def schema_text(schema_id: int) -> str:
            return registry.schema_text(schema_id, subject)

        def attempt() -> dict[str, OwnedTable]:
            lake = Lake(settings)
            found = {}
            for table in tables:
                owned = OwnedTable(settings, table, lake.table(table.name), self._facts, schema_text)
                found[owned.topic] = owned
                self._metrics.lake_epoch.labels(table.name).set(owned.ledger.epoch)
                self._metrics.lake_stopped.labels(table.name).set(0)
            return found

        return keep_trying("the lake's catalog", attempt, settings.start_timeout_s, (CatalogDown,), stop)

    def _read(self, consumer: Consumer) -> None:
        by_topic: defaultdict[str, list[KafkaRecord]] = defaultdict(list)
        ends: list[tuple[str, int, int]] = []
        for message in cast(Sequence[KafkaRecord], consumer.consume(_BATCH_RECORDS, _POLL_S)):
            error = cast(confluent_kafka.Message, message).error()
            if error is None:
                by_topic[message.topic()].append(message)
            elif error.code() == END_OF_PARTITION:
                ends.append((message.topic(), message.partition(), message.offset()))
            else:
                raise_if_hopeless(error, message.topic(), self._settings.group(NAME))
        for topic, records in by_topic.items():
            self._tables[topic].buffer.add(records)
            self._metrics.consumed.labels(topic).inc(len(records))
        for topic, partition, offset in ends:
            owned = self._tables[topic]
            if offset >= self._unread.get(TopicPartition(topic, partition), offset + 1):
                del self._unread[TopicPartition(topic, partition)]
            if offset > owned.ledger.offsets.get(partition, -1):
                owned.buffer.reached(partition, offset)

    def _commit_due(self, consumer: Consumer, stop: threading.Event) -> None:
        settings, now = self._settings, time.monotonic()
        for owned in self._tables.values():
            self._metrics.lake_freshness.labels(owned.table.name).set(owned.buffer.waited_s(now))
            if self._may_commit(owned, now) and owned.is_due(
                now, settings.lake_commit_records, settings.lake_commit_mb * _MB
            ):
                self._commit(consumer, owned, stop)
        while sum(owned.buffer.bytes for owned in self._tables.values()) > settings.lake_buffer_mb * _MB:
            ready = [owned for owned in self._tables.values() if self._may_commit(owned, now) and owned.buffer.bytes]
            if not ready:  # all that is buffered belongs to tables that wait: read no more until they go on
                stop.wait(_POLL_S)
                break
            self._commit(consumer, max(ready, key=lambda owned: owned.buffer.bytes), stop)

    def _may_commit(self, owned: OwnedTable, now: float) -> bool:
        name = owned.table.name
        return name not in self._stopped and self._resting.get(name, 0) <= now

    def _commit(self, consumer: Consumer, owned: OwnedTable, stop: threading.Event) -> None:
        """Commit one table; a failure that ends by itself pauses it, a bad record stops it."""
        name, began = owned.table.name, time.monotonic()
        identity = self._facts.identity
        try:
            identity.verify({owned.topic: identity.ask()[owned.topic]})
            rows = owned.commit(stop.wait)
        except ConversionFailed as error:
            self._stop_table(consumer, owned, str(error))
            return
        except UnknownSchema as error:
            self._rest(consumer, owned, f"waits for the registry to know the schema: {error}")
            return
        except RegistryError as error:
            self._rest(consumer, owned, f"waits for the registry: {registry_problem(error)}")
            return
        except (StorageFailed, CatalogDown) as error:
            self._rest(consumer, owned, f"waits for storage and catalog: {type(error).__name__}: {error}")
            return
        if self._resting.pop(name, None) is not None:
            consumer.resume(self._partitions(owned))
            self._show()
            log.info("%s: goes on", name)
        took = time.monotonic() - began
        self._metrics.lake_rows.labels(name).inc(rows)
        self._metrics.lake_commits.labels(name, "committed").inc()
        self._metrics.lake_commit_seconds.observe(took)
        log.info("%s: committed %d rows in %.2f s", name, rows, took)
        self._follow(consumer, owned)
        expired = expire(owned.store.handle, self._settings.lake_snapshots)
        if expired:
            log.info("%s: expired %d snapshots", name, expired)

    def _follow(self, consumer: Consumer, owned: OwnedTable) -> None:
        """Commit the offsets in Kafka too, for tools that show lag. The table decides where to read."""
        offsets = [
            confluent_kafka.TopicPartition(owned.topic, partition, offset)
            for partition, offset in owned.ledger.offsets.items()
        ]
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            log.warning("Kafka refused the lake's offsets: %s", error.args[0].str())

    def _rest(self, consumer: Consumer, owned: OwnedTable, why: str) -> None:
        name = owned.table.name
        if name not in self._resting:
            consumer.pause(self._partitions(owned))
        self._resting[name] = time.monotonic() + _REST_S
        self._metrics.lake_commits.labels(name, "failed").inc()
        self._show(f"{name} {why}")
        log.warning("%s %s; next try in %g s", name, why, _REST_S)

    def _stop_table(self, consumer: Consumer, owned: OwnedTable, why: str) -> None:
        name = owned.table.name
        consumer.pause(self._partitions(owned))
        owned.buffer.clear()
        self._stopped[name] = f"{name} stopped: {why}. See docs/how-to/runbook.md, A lake table stopped"
        self._metrics.lake_stopped.labels(name).set(1)
        self._show()
        self._metrics.lake_commits.labels(name, "failed").inc()
        log.error("%s", self._stopped[name])

    def _show(self, why: str | None = None) -> None:
        """Fail /ready while a table is stopped or waits, with the reason."""
        waits = f"{', '.join(self._resting)}: waits" if self._resting else None
        self._health.alarm(next(iter(self._stopped.values()), why or waits))

    @staticmethod
    def _partitions(owned: OwnedTable) -> list[confluent_kafka.TopicPartition]:
        return [confluent_kafka.TopicPartition(owned.topic, partition) for partition in owned.ledger.offsets]


def run(settings: Settings, stop: threading.Event, catalog: Catalog | None = None, *, until_end: bool = False) -> None:
    """Fill the tables of LAKE_TABLES until `stop` is set, or to the present ends. Raises as `LakeWorker.run`."""
    metrics, health = Metrics(), Health(settings.start_timeout_s)
    metrics.identify(NAME, settings.instance_id)
    server = HealthServer(settings.http_host, settings.http_port, metrics, health)
    server.start()
    try:
        with superseded(settings, health, stop, "Run one worker per lake table"):
            LakeWorker(settings, catalog or load_catalog(), metrics, health, until_end=until_end).run(stop)
    finally:
        server.stop()
