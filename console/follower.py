"""Follows the topics into the console's tables: read_committed, without a consumer group, without writing."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final, NamedTuple, cast

import confluent_kafka
from confluent_kafka import Consumer, KafkaException, TopicCollection

from broker_events.console.rows import Handlers, Rows, handlers
from broker_events.console.store import Store
from broker_events.runtime.consume.lag import MARKER, PartitionLag
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition
from broker_events.runtime.kafka.clients import admin_client, consumer_config
from broker_events.runtime.kafka.topic_reader import (
    END_OF_PARTITION,
    READER,
    end_offsets,
    first_offsets,
    topic_partitions,
)
from broker_events.runtime.process.errors import OperatorActionRequired, PipelineError, RestartRequired
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import Catalog
from broker_events.schemas.codec import EventDecoder
from broker_events.schemas.registry import RegistryError

log = logging.getLogger(__name__)

_BATCH_RECORDS: Final = 5_000
_BATCH_S: Final = 0.1
_FETCH_KBYTES: Final = 16_384  # of all partitions together
_ENDS_S: Final = 2.0
_PAUSE_S: Final = 2.0
_PATIENCE_S: Final = 4.0


class Freshness(NamedTuple):
    """How old the tables are. Times are Unix seconds.

    `as_of`: when Kafka last said where its partitions end; `behind_s`: age of the oldest unread record then, and the
    time since; `left`: offsets that are still unread, of all partitions; `problem`: why nothing is read now.
    """

    as_of: float | None
    behind_s: float | None
    left: int
    problem: str | None


class Follower:
    """Reads every topic in a thread until `stop` is set. `positions`: the next offset by topic and partition."""

    def __init__(
        self, settings: Settings, catalog: Catalog, store: Store, decoder: EventDecoder, stop: threading.Event
    ) -> None:
        self._settings, self._store, self._decoder, self._stop = settings, store, decoder, stop
        self._patient = settings.model_copy(update={"start_timeout_s": _PATIENCE_S})
        self._catalog = catalog
        self._handlers: Handlers = handlers(settings, catalog)
        self.recreated = False
        """Whether a followed topic was created again, which ended the thread and set `stop`."""
        self.positions: dict[TopicPartition, int] = {TopicPartition(*tp): at for tp, at in store.positions().items()}
        self.started = threading.Event()
        self.rates: dict[str, float] = {}
        """Records per second of the last seconds, by topic (Kafka name)."""
        self._lags: dict[TopicPartition, PartitionLag] = {}
        self._newest_ms: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._as_of: float | None = None
        self._behind_s: float | None = None
        self._problem: str | None = "starting"
        self._counted: dict[str, int] = {}
        self._counted_at = time.monotonic()
        self._threads = [
            threading.Thread(target=self._run, name="follower", daemon=True),
            threading.Thread(target=self._watch_ends, name="ends", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def freshness(self) -> Freshness:
        """Return how old the tables are now."""
        ends = dict(self._ends)
        left = sum(max(end - self.positions.get(tp, 0), 0) for tp, end in ends.items())
        behind = self._behind_s
        if behind is not None and self._as_of is not None:
            behind += max(time.time() - self._as_of - 2 * _ENDS_S, 0)
        return Freshness(self._as_of, behind, left, self._problem)

    def unread(self, topic: str, partition: int) -> tuple[int, int] | None:
        """Return the first and last offset of a partition that are not in the tables, None if all are."""
        tp = TopicPartition(topic, partition)
        first, end = self.positions.get(tp, 0), self._ends.get(tp, 0)
        return (first, end - 1) if end > first else None

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (PipelineError, KafkaException, RegistryError) as error:
                self._problem = str(error.args[0].str() if isinstance(error, KafkaException) else error)
                log.warning("not reading: %s; trying again in %g s", self._problem, _PAUSE_S)
                self._stop.wait(_PAUSE_S)

    def _follow(self) -> None:
        if store_identity(self._patient, self._catalog) != self._store.identity:
            self.recreated = True  # the tables belong to topics that are gone: a new start builds them again
            self._stop.set()
            return
        partitions = [tp for topic in self._handlers for tp in topic_partitions(self._patient, topic)]
        firsts = first_offsets(self._patient, partitions, self._stop)
        starts = {tp: max(self.positions.get(tp, 0), first) for tp, first in firsts.items()}
        group = self._settings.group(READER)
        config = consumer_config(
            self._settings,
            group_id=group,
            enable_partition_eof=True,
            queued_max_messages_kbytes=_FETCH_KBYTES,
            queued_min_messages=1000,
        )
        consumer = Consumer(config)
        try:
            consumer.assign([confluent_kafka.TopicPartition(*tp, offset) for tp, offset in starts.items()])
            self.positions.update(starts)
            self._problem = None
            self.started.set()
            while not self._stop.is_set():
                self._take(consumer.consume(_BATCH_RECORDS, _BATCH_S))
        finally:
            consumer.close()

    def _take(self, messages: list[confluent_kafka.Message]) -> None:
        """Write a batch. Positions in memory move only after the rows are committed."""
        rows = Rows(self._store.secret, self._decoder.decode, self._handlers)
        moved: dict[TopicPartition, int] = {}
        for message in messages:
            tp = TopicPartition(str(message.topic()), int(message.partition() or 0))
            error = message.error()
            if error is None:
                record = cast("KafkaRecord", message)
                rows.add(record)
                moved[tp] = record.offset() + 1
                self._newest_ms[tp] = record.timestamp()[1]
                self._counted[tp.topic] = self._counted.get(tp.topic, 0) + 1
            elif error.code() == END_OF_PARTITION:
                moved[tp] = max(int(message.offset() or 0), moved.get(tp, self.positions.get(tp, 0)))
            elif error.fatal() or not error.retriable():
                raise RestartRequired(f"Kafka consumer: {error.str()}")
        moved = {tp: offset for tp, offset in moved.items() if offset != self.positions.get(tp)}
        if moved:
            counts = [(topic, label, number) for (topic, label), number in rows.counts.items()]
            self._store.write(rows.changes.items(), counts, [(*tp, offset) for tp, offset in moved.items()])
            self.positions.update(moved)
        self._measure()

    def _measure(self) -> None:
        passed = time.monotonic() - self._counted_at
        if passed >= _ENDS_S:
            counted, self._counted = self._counted, {}
            self._counted_at = time.monotonic()
            self.rates = {topic: counted.get(topic, 0) / passed for topic in self._handlers}

    def _watch_ends(self) -> None:
        """Ask Kafka for the ends of all partitions; its answer is what the tables are compared with."""
        while not self._stop.wait(_ENDS_S if self.started.is_set() else 0.2):
            if not self.started.is_set():
                continue
            try:
                asked_at = time.time()
                ends = end_offsets(self._patient, [TopicPartition(*tp) for tp in self.positions], self._stop)
            except PipelineError as error:
                self._problem = str(error)
                continue
            self._problem = None
            self._ends, self._behind_s, self._as_of = ends, self._behind(ends, asked_at), asked_at

    def _behind(self, ends: dict[TopicPartition, int], now_s: float) -> float | None:
        """Return the age of the oldest unread record; None while a partition has some and none of it has been read."""
        behind_s, is_known = 0.0, True
        for tp, end in ends.items():
            newest, position = self._newest_ms.get(tp), self.positions[tp]
            newest_s = None if newest is None else newest / 1000
            behind_s = max(behind_s, self._lags.setdefault(tp, PartitionLag()).seconds(position, end, newest_s, now_s))
            is_known = is_known and (newest is not None or position + MARKER >= end)
        return behind_s if is_known else None


def store_identity(settings: Settings, catalog: Catalog) -> str:
    """Return what the tables belong to: cluster id, topic prefix, topic ids (KIP-516) and partition count.

    Raises OperatorActionRequired if a topic doesn't exist, RestartRequired if Kafka doesn't answer.
    """
    admin = admin_client(settings)
    topics = sorted(handlers(settings, catalog))
    try:
        futures = admin.describe_topics(TopicCollection(topics), request_timeout=_PATIENCE_S)
        ids = {topic: str(future.result().topic_id) for topic, future in futures.items()}
        cluster = admin.describe_cluster(request_timeout=_PATIENCE_S).result().cluster_id
    except KafkaException as error:
        problem = error.args[0]
        if problem.code() == confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise OperatorActionRequired(
                f"{problem.str()}: create the topics with broker-events topics apply"
            ) from None
        raise RestartRequired(f"Kafka: {problem.str()}") from None
    return f"{cluster} {settings.topic_prefix} {settings.partitions} " + " ".join(f"{t}={ids[t]}" for t in topics)
