"""Reads single records of Kafka by their place."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Final, NamedTuple, cast

import confluent_kafka
from confluent_kafka import Consumer, KafkaException

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.kafka.clients import Headers, consumer_config
from broker_events.runtime.kafka.topic_reader import END_OF_PARTITION, READER
from broker_events.runtime.settings import Settings

_POLL_S: Final = 0.1
_MESSAGES: Final = 200
_FETCH_BYTES: Final = 262_144  # per partition; Kafka sends a larger first record whole


class Place(NamedTuple):
    """Where a record is; `topic` is the Kafka name."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class StoredRecord(NamedTuple):
    """A record as the console's tables keep it; has the methods of a `KafkaRecord`."""

    place: Place
    record_key: bytes | None
    record_value: bytes
    at_ms: int
    record_headers: Headers

    def __len__(self) -> int:
        return len(self.record_value)

    def topic(self) -> str:
        return self.place.topic

    def partition(self) -> int:
        return self.place.partition

    def offset(self) -> int:
        return self.place.offset

    def key(self) -> bytes | None:
        return self.record_key

    def value(self) -> bytes | None:
        return self.record_value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return [(name, value.encode() if isinstance(value, str) else value) for name, value in self.record_headers]

    def timestamp(self) -> tuple[int, int]:
        return 2, self.at_ms


class PlaceReader:
    """Reads records with one consumer that stays connected. Several threads may call it; they wait for each other."""

    def __init__(self, settings: Settings) -> None:
        self._config = consumer_config(
            settings,
            group_id=settings.group(READER),
            enable_partition_eof=True,
            fetch_message_max_bytes=_FETCH_BYTES,
            queued_max_messages_kbytes=8192,
            queued_min_messages=1,
        )
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None

    def read(self, places: Iterable[Place], within_s: float) -> dict[Place, KafkaRecord]:
        """Return the records that could be read in this time. Deleted and aborted ones are missing."""
        deadline = time.monotonic() + within_s
        waiting: dict[tuple[str, int], list[Place]] = {}
        for place in sorted(set(places), reverse=True):
            waiting.setdefault(place[:2], []).append(place)
        found: dict[Place, KafkaRecord] = {}
        if not self._lock.acquire(timeout=within_s):
            return found
        try:
            if self._consumer is None:
                self._consumer = Consumer(self._config)
            while waiting and time.monotonic() < deadline:
                turn = {tp: listed.pop() for tp, listed in waiting.items()}
                waiting = {tp: listed for tp, listed in waiting.items() if listed}
                found |= self._round(self._consumer, turn, deadline)
        except KafkaException:
            self._drop()
        finally:
            self._lock.release()
        return found

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _round(
        self, consumer: Consumer, turn: dict[tuple[str, int], Place], deadline: float
    ) -> dict[Place, KafkaRecord]:
        """Read one record of each partition."""
        found: dict[Place, KafkaRecord] = {}
        consumer.assign([confluent_kafka.TopicPartition(*place) for place in turn.values()])
        while turn and time.monotonic() < deadline:
            for message in consumer.consume(_MESSAGES, _POLL_S):
                tp = (str(message.topic()), int(message.partition() or 0))
                place = turn.get(tp)
                error = message.error()
                if place is None:
                    continue
                if error is not None:
                    if error.code() == END_OF_PARTITION or not error.retriable():
                        del turn[tp]
                    continue
                record = cast("KafkaRecord", message)
                if record.offset() == place.offset:
                    found[place] = record
                if record.offset() >= place.offset:
                    del turn[tp]
        consumer.unassign()
        return found

    def _drop(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
