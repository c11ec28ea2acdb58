"""A consumed Kafka record, as every reader in this project sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from broker_events.runtime.events.trace_context import TRACEPARENT, TRACEPARENT_BYTES
from broker_events.runtime.kafka.clients import Headers


class TopicPartition(NamedTuple):
    """One partition of one topic (Kafka name, prefix included)."""

    topic: str
    partition: int


class KafkaRecord(Protocol):
    """A `confluent_kafka.Message` that isn't an error: its coordinates are always there."""

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
    """Records of one partition, in offset order: a list, or what native code holds (runtime.consume.fetch)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> KafkaRecord: ...
    def __iter__(self) -> Iterator[KafkaRecord]: ...


def place_of(record: KafkaRecord) -> str:
    """Where a record is, as people read it: topic[partition]@offset."""
    return f"{record.topic()}[{record.partition()}]@{record.offset()}"


def partition_of(record: KafkaRecord) -> TopicPartition:
    return TopicPartition(record.topic(), record.partition())


def trace_headers(record: KafkaRecord) -> Headers:
    """What a record that comes of this one takes over: its trace context, where it has one of the right length.

    Not for every record: making Python objects of a record's headers takes microseconds.
    """
    found = (value for name, value in record.headers() or () if name == TRACEPARENT and value is not None)
    kept: Headers = [(TRACEPARENT, value) for value in found if len(value) <= TRACEPARENT_BYTES]
    return kept[:1]
