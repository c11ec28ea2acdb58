"""Consumed Kafka records, alone and in batches."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

from broker_events.runtime.events.trace_context import TRACEPARENT, TRACEPARENT_BYTES
from broker_events.runtime.kafka.clients import Headers
from broker_events.schemas.headers import SIMULATED


class TopicPartition(NamedTuple):
    """One partition of one topic (Kafka name, prefix included)."""

    topic: str
    partition: int


class KafkaRecord(Protocol):
    """A `confluent_kafka.Message` without an error: it always has topic, partition and offset."""

    def __len__(self) -> int:
        """Bytes of the value."""
        ...

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...
    def timestamp(self) -> tuple[int, int]:
        """Kind (1 create time, 2 append time) and milliseconds since the epoch."""
        ...


class KafkaRecords(Protocol):
    """Records of one partition in offset order: a list, or native code's records (runtime.consume.fetch)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> KafkaRecord: ...
    def __iter__(self) -> Iterator[KafkaRecord]: ...


KEPT: Final = (TRACEPARENT, SIMULATED)
"""Members of an event's envelope that show that its records have a header to keep, of the same name."""

Partitions = Mapping[TopicPartition, KafkaRecords]


def place_of(record: KafkaRecord) -> str:
    """Return the record's coordinates as text: topic[partition]@offset."""
    return f"{record.topic()}[{record.partition()}]@{record.offset()}"


def partition_of(record: KafkaRecord) -> TopicPartition:
    return TopicPartition(record.topic(), record.partition())


def kept_headers(record: KafkaRecord) -> Headers:
    """Return the headers for records derived from this one: trace context of valid length, SIMULATED.

    Reading a record's headers takes microseconds: call it only if a member of KEPT shows that there may be some.
    """
    headers = record.headers() or ()
    kept: Headers = []
    for name, value in headers:
        if name == TRACEPARENT and value is not None and len(value) <= TRACEPARENT_BYTES and not kept:
            kept.append((name, value))
    if any(name == SIMULATED for name, _ in headers):
        kept.append((SIMULATED, b"true"))
    return kept


class RecordBatch:
    """Records by partition, each in offset order. A context manager: its exit completes the batch."""

    def __init__(self, partitions: Partitions, done: asyncio.Future[None]) -> None:
        self.partitions = partitions
        self.done = done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        """Pass an error to the source, which ends the process; the agent must not continue after it."""
        if self.done.done():
            return False
        if error is None:
            self.done.set_result(None)
            return False
        self.done.set_exception(error)
        return not isinstance(error, asyncio.CancelledError)


class Part(NamedTuple):
    """A part of the records of a fetch, and the bytes of their values by topic."""

    partitions: Partitions
    sizes: Counter[str]


def limited(partitions: Partitions, limit: int) -> Iterator[Part]:
    """Split records into parts of at most `limit` bytes of values; a larger record is a part of its own."""
    sizes: Counter[str] = Counter()
    for tp, records in partitions.items():
        sizes[tp.topic] += sum(map(len, records))
    if sizes.total() <= limit:
        if partitions:
            yield Part(partitions, sizes)
        return
    part: dict[TopicPartition, list[KafkaRecord]] = {}
    part_sizes: Counter[str] = Counter()
    for tp, records in partitions.items():
        for record in records:
            if part and part_sizes.total() + len(record) > limit:
                yield Part(part, part_sizes)
                part, part_sizes = {}, Counter()
            part.setdefault(tp, []).append(record)
            part_sizes[tp.topic] += len(record)
    yield Part(part, part_sizes)
