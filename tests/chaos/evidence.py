"""What the pipeline wrote, read as any subscriber would: committed records, plain fastavro, the contracts' files."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import fastavro
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from expected_events import TYPED_TOPICS

SCHEMAS = Path(__file__).parents[2] / "schemas"
_FILES = {
    **{topic: f"events/{topic.removeprefix('event.')}" for topic in TYPED_TOPICS},
    "quarantine": "internal/quarantined-event",
    "alerts": "alerts/alert",
    "alerts.active": "alerts/alert",
    "state.accounts": "state/account-state",
    "state.movements": "state/movement-state",
}
TOPICS = ("raw", "ingest.cursors", *_FILES)
_DECODED = _FILES | {"alerts.deliveries": "internal/delivery"}
FRAME_BYTES = 5  # 0, then the schema id, 4 bytes
PATIENCE_S = 60.0


class Decodes(Protocol):
    """Makes a record of a value."""

    def decode(self, topic: str, value: Any) -> Any: ...


@dataclass(slots=True)
class Stored:
    """A committed record, its value as it is. `topic` without the prefix; `timestamp` in ms since the epoch."""

    topic: str
    partition: int
    offset: int
    key: str | None
    value: Any
    headers: dict[str, bytes | None]
    timestamp: int
    decoder: Decodes

    @property
    def record(self) -> Any:
        """The decoded value, None of a tombstone; decoded at each call: millions of them would fill the memory."""
        return self.decoder.decode(self.topic, self.value)

    @property
    def time(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.timestamp)

    def __str__(self) -> str:
        time = self.time.isoformat(timespec="milliseconds")
        return f"{self.topic}[{self.partition}]@{self.offset} key={self.key} time={time} headers={self.headers}"


@dataclass
class PartitionEvidence:
    """All topics' records in the partition of one number, by topic, in offset order."""

    partition: int
    topics: dict[str, list[Stored]] = field(default_factory=lambda: {topic: [] for topic in TOPICS})


class Decoder:
    """Decodes Avro values by the schema files."""

    def __init__(self) -> None:
        self._schemas = {
            topic: fastavro.parse_schema(json.loads((SCHEMAS / folder / "schema.avsc").read_text(encoding="utf-8")))
            for topic, folder in _DECODED.items()
        }

    def decode(self, topic: str, value: bytes | None) -> Any:
        """The record, or None of a tombstone; other topics' values as JSON (cursors) or as they are (raw)."""
        if value is None:
            return None
        if topic == "raw":
            return value
        if topic not in self._schemas:
            return json.loads(value)
        if value[0] != 0:
            raise ValueError(f"{topic}: a value starts with {value[:FRAME_BYTES].hex()}, no schema id")
        body = io.BytesIO(value[FRAME_BYTES:])
        record = fastavro.schemaless_reader(body, self._schemas[topic], None)
        if body.read(1):
            raise ValueError(f"{topic}: bytes are left after a record of the schema")
        return record


def read_partition(clients: dict[str, Any], prefix: str, partition: int, decoder: Decoder) -> PartitionEvidence:
    """Read the partition of every topic to its end; TimeoutError where a transaction stays open.

    `clients`: librdkafka settings that reach the cluster.
    """
    places = [TopicPartition(f"{prefix}.{topic}", partition, 0) for topic in TOPICS]
    ends = _ends(clients, places)
    consumer = Consumer(
        clients
        | {
            "group.id": f"{prefix}.oracle",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    evidence = PartitionEvidence(partition)
    unfinished = {topic for topic, end in ends.items() if end}
    deadline = time.monotonic() + PATIENCE_S
    try:
        consumer.assign(places)
        while unfinished:
            for message in consumer.consume(5000, 0.1):
                name = str(message.topic())
                error = message.error()
                offset = message.offset()
                if error is None:
                    deadline = time.monotonic() + PATIENCE_S
                    evidence.topics[name.removeprefix(f"{prefix}.")].append(_stored(message, prefix, decoder))
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                elif offset is not None and offset >= ends[name]:
                    unfinished.discard(name)
            if time.monotonic() > deadline:
                raise TimeoutError(f"partition {partition} of {sorted(unfinished)}: the end can't be read")
    finally:
        consumer.close()
    return evidence


def _ends(clients: dict[str, Any], places: Iterable[TopicPartition]) -> dict[str, int]:
    """High watermarks by topic: the committed ends have to get there."""
    wanted = {TopicPartition(place.topic, place.partition): OffsetSpec.latest() for place in places}
    admin = AdminClient(clients)  # a name of its own: without it the futures never resolve
    futures = admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED)
    return {place.topic: future.result().offset for place, future in futures.items()}


def _stored(message: Any, prefix: str, decoder: Decoder) -> Stored:
    topic = str(message.topic()).removeprefix(f"{prefix}.")
    key = message.key()
    return Stored(
        topic,
        message.partition(),
        message.offset(),
        None if key is None else key.decode(),
        message.value(),
        dict(message.headers() or ()),
        message.timestamp()[1],
        decoder,
    )
