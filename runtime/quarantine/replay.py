"""Quarantined records go through the router again: each once, with an audit record (docs/adr/0008)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from itertools import chain
from types import TracebackType
from typing import Final, NamedTuple, Self

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.kafka.clients import Headers
from broker_events.runtime.kafka.topic_reader import read_to_end, topic_partitions
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.settings import Settings
from broker_events.schemas.codec import Codec
from broker_events.schemas.headers import RAW_OFFSET, RECOVERED_FROM, RECOVERY_ID
from broker_events.schemas.models import QuarantinedEvent
from broker_events.schemas.storage_types import QuarantineRecovery

RECOVERIES: Final = "quarantine.recoveries"
ROLE: Final = "replayer"
_ADDED: Final = {RECOVERED_FROM, RECOVERY_ID, RAW_OFFSET}
# What the added headers and the record's framing take at most.
_OVERHEAD_BYTES: Final = 1024


class Quarantined(NamedTuple):
    """A record of the quarantine topic and what is in it."""

    record: KafkaRecord
    event: QuarantinedEvent

    @property
    def name(self) -> str:
        """Name in headers and audit: topic/partition/offset."""
        return f"{self.record.topic()}/{self.record.partition()}/{self.record.offset()}"

    @property
    def place(self) -> str:
        """Partition and offset, as a person gives them."""
        return f"{self.record.partition()}:{self.record.offset()}"

    @property
    def source(self) -> str:
        """Where the refused record is."""
        return f"{self.event.topic}[{self.event.partition}]@{self.event.offset}"

    @property
    def time_ms(self) -> int:
        """When it was quarantined, ms since the epoch."""
        return self.record.timestamp()[1]


def replay_headers(quarantined: Quarantined, recovery_id: str) -> Headers:
    """Headers of the raw record that repeats a refused one: the original ones, and where it comes from.

    What an earlier replay has added is replaced.
    """
    return [
        *((header.name, header.value) for header in quarantined.event.headers if header.name not in _ADDED),
        (RECOVERED_FROM, quarantined.name.encode()),
        (RECOVERY_ID, recovery_id.encode()),
        (RAW_OFFSET, b"%d" % quarantined.event.offset),
    ]


def is_too_large(event: QuarantinedEvent, max_message_bytes: int) -> bool:
    """Whether the raw topic may refuse the record with the headers that a replay adds."""
    parts = [event.value, event.key, *chain.from_iterable((h.name.encode(), h.value) for h in event.headers)]
    return sum(len(part or b"") for part in parts) + _OVERHEAD_BYTES > max_message_bytes


def read_recoveries(settings: Settings) -> dict[str, bytes]:
    """The audit records so far (Avro QuarantineRecovery), by `Quarantined.name`."""
    starts = dict.fromkeys(topic_partitions(settings, settings.topic(RECOVERIES)), 0)
    records = chain.from_iterable(read_to_end(settings, starts))
    return {(record.key() or b"").decode(): record.value() or b"" for record in records}


class Replay:
    """One run of replay, known by its `recovery_id`.

    Entering fences an older run and lets its open transaction end: what `read_recoveries` says after that holds until
    this run is fenced in its turn. Any error ends the run; what is committed is replayed, and nothing else.
    """

    def __init__(self, settings: Settings, codec: Codec[QuarantineRecovery], note: str | None) -> None:
        """`note`: what the operator says about it, for the audit."""
        self.recovery_id = str(uuid.uuid4())
        self._codec = codec
        self._note = note
        self._audit_topic = settings.topic(RECOVERIES)
        self._transaction = Transaction(settings, f"{settings.topic_prefix}.replay")

    def __enter__(self) -> Self:
        self._transaction.init()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._transaction.abort()

    def send(self, batch: Iterable[Quarantined]) -> None:
        """Write the refused records to their topic and partition again, as they were, and commit.

        Raises Fenced where another run has begun, else OperatorActionRequired or RestartRequired.
        """
        self._transaction.begin()
        for quarantined in batch:
            event = quarantined.event
            headers = replay_headers(quarantined, self.recovery_id)
            self._transaction.produce(event.topic, event.value, event.key, event.partition, headers)
            self._transaction.produce(self._audit_topic, self._codec.encode(self._audit(quarantined)), quarantined.name)
        self._transaction.commit()

    def _audit(self, quarantined: Quarantined) -> QuarantineRecovery:
        event = quarantined.event
        return {
            "recovered_from": quarantined.name,
            "recovery_id": self.recovery_id,
            "recovered_at": time.time_ns() // 1000,
            "note": self._note,
            "reason": event.reason,
            "event_id": event.event_id,
            "biz_type": event.biz_type,
            "topic": event.topic,
            "partition": event.partition,
            "offset": event.offset,
        }
