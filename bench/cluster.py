"""The broker that everything runs on: topics, loading, committed offsets, what came out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import confluent_kafka
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, OffsetSpec

from bench.corpus import Corpus
from broker_events.ingest.raw_record import EVENT_ID
from broker_events.runtime.consume.offset_moves import accept_offsets, topic_ids
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition
from broker_events.runtime.kafka.clients import Headers, admin_client, client_config, producer_config
from broker_events.runtime.kafka.topic_reader import end_offsets, read_to_end
from broker_events.runtime.kafka.topics import TopicPlan, apply_topics, plan_topics
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.schema_ids import open_registry, resolve_schema_ids
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import Catalog
from broker_events.schemas.registry import desired_subjects

_PATIENCE_S: Final = 30.0
_TIMEOUT_S: Final = 15.0


class Digest(NamedTuple):
    """A multiset of records: how many, and the sum of their hashes; equal for equal records in any order."""

    records: int
    total: int


class Pipeline:
    """Topics and subjects under one prefix."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self.settings = settings
        self.catalog = catalog
        self.admin: AdminClient = admin_client(settings)
        self._probes: dict[str, Consumer] = {}
        plans = plan_topics(catalog, settings)
        apply_topics(self.admin, plans)
        self._plans = {plan.name: plan for plan in plans}
        open_registry(settings).register(desired_subjects(catalog, settings.topic_prefix))
        self.schema_ids: dict[str, int] = resolve_schema_ids(settings, catalog)
        self.raw = settings.topic("raw")
        self.typed = {
            biz_type: settings.topic(contract.topics[0].name) for biz_type, contract in catalog.events.items()
        }
        _warm_up(settings)

    def partitions_of(self, topics: Iterable[str]) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for topic in topics for number in range(self.settings.partitions)]

    def load_raw(self, corpus: Corpus, number: int | None = None) -> int:
        """Write the raw records, as the bridge would; return how many records the topic gets.

        `number`: goes into every event id, so that the same corpus is other events.
        """

        def rows() -> Iterator[tuple[str, str, bytes, Headers]]:
            for key, value, headers, _, _ in corpus.events:
                if number is None:
                    yield self.raw, key, value, headers
                else:
                    yield self.raw, key, *_renamed(value, headers, b"e%05d_" % number)

        return self._load(rows())

    def load_raw_passes(self, corpus: Corpus, events: int) -> int:
        """Write the raw records of so many passes over the corpus that they are at least `events`; return how many."""
        return sum(self.load_raw(corpus, number) for number in range(-(-events // len(corpus.events))))

    def load_typed(self, corpus: Corpus) -> int:
        """Write the typed records, as the router would."""

        def rows() -> Iterator[tuple[str, str, bytes, Headers]]:
            for number, event in enumerate(corpus.events):
                yield self.typed[event.biz_type], event.key, event.typed, [("raw_offset", b"%d" % number)]

        return self._load(rows())

    def load(self, name: str, rows: Iterable[tuple[str, bytes, Headers]]) -> int:
        """Write key, value and headers of a topic (without prefix); return how many records there were."""
        topic = self.settings.topic(name)
        return self._load((topic, *row) for row in rows)

    def load_table(self, name: str, rows: Iterable[tuple[bytes, bytes, int]]) -> int:
        """Write key, value and partition of a state topic."""
        producer = Producer(producer_config(self.settings))
        topic, count = self.settings.topic(name), 0
        for key, value, partition in rows:
            _produce(producer, topic, key, value, [], partition)
            count += 1
        producer.flush(_PATIENCE_S)
        return count

    def _load(self, rows: Iterable[tuple[str, str, bytes, Headers]]) -> int:
        producer = Producer(producer_config(self.settings))
        count = 0
        for topic, key, value, headers in rows:
            _produce(producer, topic, key, value, headers)
            count += 1
        if producer.flush(_PATIENCE_S):
            raise RuntimeError("the broker did not take the corpus in time")
        return count

    def committed(self, group: str) -> int:
        """Sum of the group's committed offsets on raw and typed topics: how many records its committed work has read.

        Asked by a consumer that never joins. An admin client's list_consumer_group_offsets would crash the process
        (librdkafka 2.16.0, rd_kafka_cgrp_op without a group) when the coordinator is still loading.
        """
        if group not in self._probes:
            config = client_config(self.settings)
            self._probes[group] = Consumer(config | {"group.id": group, "isolation.level": "read_uncommitted"})
        wanted = [confluent_kafka.TopicPartition(*tp) for tp in self.partitions_of((self.raw, *self.typed.values()))]
        try:
            found = self._probes[group].committed(wanted, _TIMEOUT_S)
        except KafkaException:
            return 0  # the coordinator is still loading
        return sum(tp.offset for tp in found if tp.offset > 0)

    def rewind_group(self, group: str) -> None:
        """Let the next worker of our group begin at the beginning, though its outputs are there."""
        self._forget_group(group)
        inputs = [self.raw] if group == self.settings.group("router") else list(self.typed.values())
        starts = dict.fromkeys(self.partitions_of(inputs), 0)
        accept_offsets(self.admin, group, starts, topic_ids(self.admin, inputs), "a measurement")

    def _forget_group(self, group: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self.admin.delete_consumer_groups([group], request_timeout=_TIMEOUT_S)[group].result()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                    return
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def ends(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        return end_offsets(self.settings, self.partitions_of(topics))

    def stable_ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Offsets up to which a read_committed consumer sees everything."""
        wanted = {confluent_kafka.TopicPartition(*tp): OffsetSpec.latest() for tp in partitions}
        futures = self.admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED)
        return {TopicPartition(tp.topic, tp.partition): future.result().offset for tp, future in futures.items()}

    def empty(self, topics: Iterable[str]) -> None:
        """Delete every record of topics whose cleanup is `delete`."""
        wanted = [confluent_kafka.TopicPartition(*tp, -1) for tp in self.partitions_of(topics)]
        for future in self.admin.delete_records(wanted, request_timeout=_TIMEOUT_S).values():
            future.result()

    def recreate(self, names: Iterable[str]) -> None:
        """Delete topics (names without the prefix) and make them again, empty."""
        topics = [self.settings.topic(name) for name in names]
        self.delete(topics)
        plans: list[TopicPlan] = [self._plans[topic] for topic in topics]
        deadline = time.monotonic() + _PATIENCE_S
        while set(topics) & self.admin.list_topics(timeout=_TIMEOUT_S).topics.keys():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{topics} are still there")
            time.sleep(0.1)
        apply_topics(self.admin, plans)
        self.ends(topics)

    def delete(self, topics: list[str]) -> None:
        """Delete topics; one that is gone already is no error."""
        for future in (self.admin.delete_topics(topics, request_timeout=_TIMEOUT_S) if topics else {}).values():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise

    def topics_of(self, prefix: str) -> list[str]:
        """Every topic of the cluster whose name begins so."""
        found: Mapping[str, Any] = self.admin.list_topics(timeout=_TIMEOUT_S).topics
        return [topic for topic in found if topic.startswith(prefix)]

    def read(self, starts: Mapping[TopicPartition, int]) -> Iterable[KafkaRecord]:
        """Committed records from these offsets to the present end."""
        for batch in read_to_end(self.settings, starts):
            yield from batch


def digest(records: Iterable[KafkaRecord]) -> Digest:
    """Topic, partition, key, value and headers of every record; a hash is good within this process alone."""
    count = total = 0
    for record in records:
        headers = tuple(record.headers() or ())
        total += hash((record.topic(), record.partition(), record.key(), record.value(), headers))
        count += 1
    return Digest(count, total)


def _renamed(value: bytes, headers: Headers, id_start: bytes) -> tuple[bytes, Headers]:
    """The same event under an id that begins with `id_start`."""
    event_id = b"event_"
    renamed: Headers = [
        (name, text.replace(event_id, id_start, 1) if name == EVENT_ID and isinstance(text, bytes) else text)
        for name, text in headers
    ]
    return value.replace(b'"id":"' + event_id, b'"id":"' + id_start, 1), renamed


def _warm_up(settings: Settings) -> None:
    """Let the broker make its own topics before anybody is measured."""
    transaction = Transaction(settings, f"{settings.topic_prefix}.warm-up")
    transaction.init()
    transaction.begin()
    transaction.produce(settings.topic("quarantine"), b"", None)
    transaction.commit()


def _produce(
    producer: Producer, topic: str, key: str | bytes, value: bytes, headers: Headers, partition: int = -1
) -> None:
    while True:
        try:
            producer.produce(topic, value, key, partition, headers=headers)
        except BufferError:
            producer.poll(0.1)
        else:
            return
