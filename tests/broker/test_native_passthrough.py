"""Records that native code holds and writes are the ones that Python would have seen and written."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bad_input_cases import ACCEPTED, MEGABYTE, REFUSED, REPEATED
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as Assigned
from kafka_cluster import KafkaCluster
from mutator import Mutator, samples
from pipeline_processes import PATIENCE_S, Pipeline, Worker, environment, eventually

from broker_events.runtime.consume.fetch import Fetch, NativeFetch, PythonFetch, fetch_of
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition, partition_of
from broker_events.runtime.kafka.clients import Headers, consumer_config, producer_config
from broker_events.runtime.kafka.native_client import make_client
from broker_events.schemas.catalog import load_catalog

PLAIN_WORKER = Path(__file__).with_name("python_worker.py")
TYPED = [topic for topic in load_catalog().topics if topic.startswith("event.")]
PARTITIONS = 3
PLAIN: Headers = [("source", b"test")]
TRACED: Headers = [("traceparent", b"00-1"), ("source", b"\xff"), ("traceparent", b"00-2"), ("empty", None)]
SIMULATED: Headers = [("source", b"test"), ("simulated", b"true")]
HEADERS: tuple[Headers, ...] = (PLAIN, PLAIN, TRACED, SIMULATED, [*TRACED, *SIMULATED], [])
Sent = tuple[int, bytes | None, bytes | None, Headers, int]


def simulated(value: bytes | None) -> bytes | None:
    """The event with the member that shows that there may be a header."""
    return value and value.replace(b"{", b'{"simulated":true,', 1)


def all_kinds() -> list[Sent]:
    """Partition, key, value, headers and time of raw records of every kind, good, bad and repeated, in any order."""
    source, mutator = random.Random(3), Mutator(seed=3)  # noqa: S311
    events: list[tuple[bytes | None, bytes | None]] = [(case.key, case.value) for case in REFUSED]
    events += [(b"ACC-1", case.value) for case in ACCEPTED]
    events += [(b"ACC-1", value) for value in [*REPEATED.values(), *samples()]]
    events += [*mutator.good(3000), *mutator.mutants(3000)]
    events = [event for event in events if len(event[1] or b"") <= 2 * MEGABYTE]
    events += source.choices(events, k=500)
    source.shuffle(events)
    events = [(key, simulated(value) if source.random() < 0.3 else value) for key, value in events]
    now_ms = round(time.time() * 1000)
    return [
        (source.randrange(PARTITIONS), key, value, source.choice(HEADERS), now_ms - 7000 + number)
        for number, (key, value) in enumerate(events)
    ]


def send(pipeline: Pipeline, records: list[Sent]) -> None:
    producer = Producer(producer_config(pipeline.settings, message_max_bytes=16_000_000))
    for partition, key, value, headers, at_ms in records:
        producer.produce(pipeline.settings.topic("raw"), value, key, partition, None, None, at_ms, headers)
    assert producer.flush(PATIENCE_S) == 0


def native_router(pipeline: Pipeline, **settings: str) -> Worker:
    return pipeline.worker("router", **settings)


def plain_router(pipeline: Pipeline) -> Worker:
    arguments = [sys.executable, str(PLAIN_WORKER), "router", "--instance-id", "plain", "--http-port", "0"]
    return Worker(arguments, environment(pipeline.settings), pipeline.folder / "plain.log")


def typed(pipeline: Pipeline, topic: str) -> list[tuple[Any, ...]]:
    """Every typed record, less its schema id, in the order of its partition."""
    records = sorted(pipeline.read(topic), key=partition_of)
    return [
        (each.partition(), each.key(), (each.value() or b"")[5:], each.headers(), each.timestamp()) for each in records
    ]


def refused(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """Every quarantine record, less what names its pipeline, in the order of its partition."""
    records = sorted(pipeline.read("quarantine"), key=partition_of)
    found = [(record.partition(), record.key(), pipeline.decode(record)) for record in records]
    return [(*place, event.model_dump(exclude={"topic", "worker"})) for *place, event in found]


def routed(pipeline: Pipeline, router: Worker, count: int) -> list[float]:
    """Let a router work off so many raw records; return what it has counted of CREDIT."""
    with router:
        raw = pipeline.settings.topic("raw")
        router.wait_ready()
        eventually(lambda: router.metric("consumed_total", topic=raw) == count, lambda: f"the end of {router.log}")
        counted = [router.metric(name, biz_type="CREDIT") for name in ("routed_total", "duplicates_total")]
        assert router.stop() == 0, router.log
    return counted


def test_a_router_writes_the_same_past_python(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    records = all_kinds()
    fast, crowded, plain = (
        Pipeline(cluster, f"{topic_prefix}-{name}", tmp_path, partitions=PARTITIONS).made() for name in "abc"
    )
    for pipeline in (fast, crowded, plain):
        send(pipeline, records)
    by_native_code, by_python = native_router(fast), plain_router(plain)
    counted = routed(fast, by_native_code, len(records))
    assert counted == routed(plain, by_python, len(records))
    full_queue = native_router(crowded, kafka_extra='{"queue.buffering.max.messages": 100}')
    assert counted == routed(crowded, full_queue, len(records))
    assert min(counted) > 0
    assert "native passthrough is on" in by_native_code.log
    assert "native passthrough is on" not in by_python.log
    for topic in TYPED:
        assert typed(fast, topic) == typed(plain, topic) == typed(crowded, topic), topic
    assert sum(len(typed(fast, topic)) for topic in TYPED) > 3000
    by_header = [("simulated", b"true") in record[3] for topic in TYPED for record in typed(fast, topic)]
    assert by_header.count(True) > 100 < by_header.count(False)
    assert refused(fast) == refused(plain) == refused(crowded)
    assert len(refused(fast)) > 1000


def seen(record: KafkaRecord) -> tuple[Any, ...]:
    key, value, headers = record.key(), record.value(), record.headers()
    return record.topic(), record.partition(), record.offset(), key, value, headers, record.timestamp(), len(record)


def fetched(
    pipeline: Pipeline, *, native_passthrough: bool
) -> tuple[type[Fetch], dict[TopicPartition, list[Any]], Any]:
    """Everything in the raw topic, and the ends that were reached, as a record source would fetch it."""
    settings = pipeline.settings
    config = consumer_config(settings, group_id=settings.group("fetch"), enable_partition_eof=True)
    consumer, client = make_client(Consumer, config, native_passthrough=native_passthrough)
    fetch = fetch_of(consumer, client, "fetch")
    partitions = [TopicPartition(settings.topic("raw"), number) for number in range(PARTITIONS)]
    fetch.assign(partitions)
    consumer.assign([Assigned(*tp, 0) for tp in partitions])
    records: dict[TopicPartition, list[Any]] = {tp: [] for tp in partitions}
    ends: dict[TopicPartition, int] = {}
    deadline = time.monotonic() + PATIENCE_S
    while len(ends) < PARTITIONS and time.monotonic() < deadline:
        found = fetch.fetch(0.1, 500, 1_000_000)
        if found is not None:
            ends |= found.ends
            for part in found.parts:
                assert part.sizes.total() == sum(len(record) for of in part.partitions.values() for record in of)
                for tp, of_partition in part.partitions.items():
                    records[tp] += [seen(record) for record in of_partition]
    fetch.close()
    consumer.close()
    return type(fetch), records, ends


def test_what_is_fetched_is_the_same_past_python(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    pipeline = Pipeline(cluster, topic_prefix, tmp_path, partitions=PARTITIONS).made()
    send(pipeline, all_kinds()[:1500])
    kind, records, ends = fetched(pipeline, native_passthrough=True)
    assert kind is NativeFetch
    assert (PythonFetch, records, ends) == fetched(pipeline, native_passthrough=False)
    assert sum(map(len, records.values())) == 1500


def test_records_end_with_the_next_fetch(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    pipeline = Pipeline(cluster, topic_prefix, tmp_path, partitions=PARTITIONS).made()
    settings = pipeline.settings
    config = consumer_config(settings, group_id=settings.group("fetch"))
    consumer, client = make_client(Consumer, config, native_passthrough=True)
    fetch, tp = fetch_of(consumer, client, "fetch"), TopicPartition(settings.topic("raw"), 0)
    fetch.assign([tp])
    consumer.assign([Assigned(*tp, 0)])
    pipeline.produce("raw", b"first", partition=0)
    found = None
    while found is None:
        found = fetch.fetch(PATIENCE_S, 10, 1000)
    [part] = found.parts
    records: Any = part.partitions[tp]
    record = records[-1]
    assert (len(records), record.value(), [*map(len, records)]) == (1, b"first", [5])
    with pytest.raises(IndexError):
        records[1]
    assert fetch.fetch(0.0, 10, 1000) is None
    assert len(records) == 0
    with pytest.raises(RuntimeError, match="next fetch released it"):
        record.value()
    fetch.close()
    consumer.close()
