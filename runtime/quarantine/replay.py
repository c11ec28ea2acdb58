"""Replays quarantined records through the router: each once, with an audit record (docs/adr/0008)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from itertools import chain
from types import TracebackType
from typing import Final, NamedTuple, Self

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.kafka.clients import Headers
from broker_events.runtime.kafka.cluster_clock import ClusterClock
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
# Maximum size of the added headers and the record's framing.
_OVERHEAD_BYTES: Final = 1024


class Quarantined(NamedTuple):
    """A record of the quarantine topic and its decoded value."""

    record: KafkaRecord
    event: QuarantinedEvent

    @property
    def name(self) -> str:
        """Identifier in headers and audit records: topic/partition/offset."""
        return f"{self.record.topic()}/{self.record.partition()}/{self.record.offset()}"

    @property
    def place(self) -> str:
        """partition:offset, as on the command line."""
        return f"{self.record.partition()}:{self.record.offset()}"

    @property
    def source(self) -> str:
        """Place of the rejected record."""
        return f"{self.event.topic}[{self.event.partition}]@{self.event.offset}"

    @property
    def time_ms(self) -> int:
        """Time of quarantine, ms since the epoch."""
        return self.record.timestamp()[1]


def replay_headers(quarantined: Quarantined, recovery_id: str) -> Headers:
    """Return the headers of the replayed raw record: the original ones and its origin.

    Replaces headers that an earlier replay added.
    """
    return [
        *((header.name, header.value) for header in quarantined.event.headers if header.name not in _ADDED),
        (RECOVERED_FROM, quarantined.name.encode()),
        (RECOVERY_ID, recovery_id.encode()),
        (RAW_OFFSET, b"%d" % quarantined.event.offset),
    ]


def is_too_large(event: QuarantinedEvent, max_message_bytes: int) -> bool:
    """Whether the record with the headers of a replay may exceed the raw topic's limit."""
    parts = [event.value, event.key, *chain.from_iterable((h.name.encode(), h.value) for h in event.headers)]
    return sum(len(part or b"") for part in parts) + _OVERHEAD_BYTES > max_message_bytes


def read_recoveries(settings: Settings) -> dict[str, bytes]:
    """Return all audit records (Avro QuarantineRecovery) by `Quarantined.name`."""
    starts = dict.fromkeys(topic_partitions(settings, settings.topic(RECOVERIES)), 0)
    records = chain.from_iterable(read_to_end(settings, starts))
    return {(record.key() or b"").decode(): record.value() or b"" for record in records}


class Replay:
    """One replay, identified by its `recovery_id`.

    Entering fences an older replay and ends its open transaction. From then on, the result of `read_recoveries` stays
    valid until another replay fences this one. Any error ends the replay; only committed batches are replayed.
    """

    def __init__(self, settings: Settings, codec: Codec[QuarantineRecovery], note: str | None) -> None:
        """`note`: the operator's note for the audit records."""
        self.recovery_id = str(uuid.uuid4())
        self._codec = codec
        self._note = note
        self._audit_topic = settings.topic(RECOVERIES)
        self._max_skew_s = settings.max_clock_skew_s
        self._transaction = Transaction(settings, f"{settings.topic_prefix}.replay")

    def __enter__(self) -> Self:
        self._transaction.init()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._transaction.abort()

    def send(self, batch: Iterable[Quarantined]) -> None:
        """Write the rejected records unchanged to their topic and partition, and commit.

        Raises Fenced if another replay has started, otherwise OperatorActionRequired (also if this machine's clock is
        not the cluster's) or RestartRequired.
        """
        clock = ClusterClock(self._max_skew_s)
        self._transaction.begin()
        for quarantined in batch:
            event = quarantined.event
            headers = replay_headers(quarantined, self.recovery_id)
            self._transaction.produce(event.topic, event.value, event.key, event.partition, headers)
            audit = self._codec.encode(self._audit(quarantined))
            self._transaction.produce(self._audit_topic, audit, quarantined.name, delivered=clock.sent())
        self._transaction.await_reports()
        clock.verify()  # a replayed record's time is this machine's
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
