"""Writes records that cannot be processed to quarantine (dead-letter): whole, with place and reason."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final, NamedTuple

import orjson

from broker_events.runtime.consume.record import KafkaRecord, Partitions, TopicPartition, partition_of
from broker_events.runtime.events import lossless_json
from broker_events.runtime.kafka.clients import Headers
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.errors import QuarantineLimitExceeded
from broker_events.runtime.process.health import Health
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.quarantine.limit import QuarantineLimit
from broker_events.runtime.settings import Settings
from broker_events.schemas.codec import Codec
from broker_events.schemas.headers import RECOVERED_FROM, RECOVERY_ID, SIMULATED
from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.storage_types import QuarantinedEvent

log = logging.getLogger(__name__)

QUARANTINE: Final = "quarantine"
_DETAIL: Final = 1000
_UNKNOWN: Final = (None, None, None)
_OTHER: Final = "other"
# The value is not JSON, so the event's id and types cannot be read.
_UNREADABLE: Final = {Reason.NO_VALUE, Reason.NOT_UTF8, Reason.NOT_JSON}


class _Batch(NamedTuple):
    """Number of records, ascending indexes of the rejected ones, and these by reason and biz_type."""

    total: int
    rejected: list[int]
    kinds: Counter[tuple[Reason, str]]


class Quarantine:
    """Writes the quarantine records of one stage in the open transaction.

    Key and partition are those of the source record. The Kafka timestamp is the time of quarantine.
    """

    def __init__(
        self,
        settings: Settings,
        stage: str,
        codec: Codec[QuarantinedEvent],
        metrics: Metrics,
        health: Health,
        biz_types: Mapping[str, str],
    ) -> None:
        """`biz_types`: the biz_type of each typed topic (Kafka name); they bound the label of the metric."""
        self._topic = settings.topic(QUARANTINE)
        self._stage = stage
        self._codec = codec
        self._metrics = metrics
        self._health = health
        self._biz_types = biz_types
        self._known = frozenset(biz_types.values())
        for reason in Reason:  # a rate needs an initial 0
            for biz_type in (*self._known, _OTHER):
                metrics.quarantined.labels(stage, reason.value, biz_type)
        self._worker = f"{stage}/{version('broker-events')}"
        self._limit = QuarantineLimit(
            settings.quarantine_limit_share, settings.quarantine_limit_records, settings.quarantine_limit_consecutive
        )
        self._stops = settings.quarantine_limit_action == "stop"
        # Of this batch, by offset: reason and biz_type.
        self._rejected: dict[TopicPartition, dict[int, tuple[Reason, str]]] = {}
        self._batches: list[_Batch] = []  # of the open transaction
        self._is_exceeded = False
        # The error that ends the worker.
        self.end_of_work: QuarantineLimitExceeded | None = None

    def put(
        self, transaction: Transaction, record: KafkaRecord, problem: InvalidEvent, audit: Headers | None = None
    ) -> None:
        """Produce the quarantine record of `record`. `audit`: its headers, if an operator skips the record."""
        key, value, headers = record.key(), record.value(), record.headers() or []
        event_id, event_type, biz_type = _UNKNOWN if problem.reason in _UNREADABLE else _identity(value)
        by_name = dict(headers)
        quarantined: QuarantinedEvent = {
            "reason": str(problem.reason),
            "stage": self._stage,
            "detail": problem.detail or None,
            "pointer": problem.pointer,
            "topic": record.topic(),
            "partition": record.partition(),
            "offset": record.offset(),
            "timestamp": record.timestamp()[1] * 1000,
            "key": key,
            "value": value,
            "headers": [{"name": name, "value": value} for name, value in headers],
            "event_id": event_id,
            "event_type": event_type,
            "biz_type": biz_type,
            "worker": self._worker,
            "recovered_from": _text(by_name.get(RECOVERED_FROM)),
            "recovery_id": _text(by_name.get(RECOVERY_ID)),
        }
        own = [*(audit or []), (SIMULATED, b"true")] if SIMULATED in by_name else audit
        transaction.produce(self._topic, self._codec.encode(quarantined), key, record.partition(), own)
        counted = self._biz_types.get(record.topic(), biz_type)  # a typed record is not JSON
        self._rejected.setdefault(partition_of(record), {})[record.offset()] = (
            problem.reason,
            counted if counted in self._known else _OTHER,
        )

    def end_batch(self, partitions: Partitions) -> None:
        """Note the rejected records of a processed batch, which are counted once they are committed."""
        rejected: list[int] = []
        kinds: Counter[tuple[Reason, str]] = Counter()
        first = 0
        for tp, records in partitions.items():
            if (found := self._rejected.pop(tp, None)) is not None:
                kinds.update(found.values())
                rejected += [first + index for index, record in enumerate(records) if record.offset() in found]
            first += len(records)
        self._batches.append(_Batch(first, rejected, kinds))

    def after_commit(self) -> None:
        """Count the committed batches, and raise or clear the alarm of `QuarantineLimit`."""
        batches, self._batches = self._batches, []
        for batch in batches:
            self._count(batch)

    def after_abort(self) -> None:
        """Forget what was aborted."""
        self._rejected.clear()
        self._batches.clear()

    def _count(self, batch: _Batch) -> None:
        for (reason, biz_type), count in batch.kinds.items():
            self._metrics.quarantined.labels(self._stage, reason, biz_type).inc(count)
        exceeded = self._limit.count(batch.total, batch.rejected)
        self._health.alarm(exceeded)
        if (exceeded is not None) == self._is_exceeded:
            return
        self._is_exceeded = exceeded is not None
        self._metrics.quarantine_limit_exceeded.set(self._is_exceeded)
        if exceeded is not None and self._stops:
            self.end_of_work = self.end_of_work or QuarantineLimitExceeded(
                f"{exceeded}, and QUARANTINE_LIMIT_ACTION is stop"
            )
        else:
            log.warning("%s", exceeded or "quarantine is within its limits again")


def internal_error(record: KafkaRecord, error: Exception) -> InvalidEvent:
    """Log an unexpected exception and return it as `InvalidEvent` for quarantine.

    The log has its notes (`add_note`), which must not quote the record.
    """
    at = (record.topic(), record.partition(), record.offset())
    frames = "".join(traceback.format_tb(error.__traceback__))  # the error's message may quote the record
    what = "; ".join([type(error).__name__, *getattr(error, "__notes__", ())])
    log.error("%s[%d]@%d: internal error, %s\n%s", *at, what, frames)
    # The message may quote megabytes or lone surrogates. Neither may prevent the quarantine record.
    text = str(error)[:_DETAIL].encode("utf-8", "backslashreplace").decode()
    return InvalidEvent(Reason.INTERNAL_ERROR, "", f"{type(error).__name__}: {text}")


def _text(header: bytes | None) -> str | None:
    return None if header is None else header[:_DETAIL].decode("utf-8", "replace")


def _identity(value: bytes | None) -> tuple[str | None, str | None, str | None]:
    """Return id, event_type and biz_type, None for each that cannot be read."""
    try:
        event: Any = orjson.loads(value or b"")
    except orjson.JSONDecodeError:  # also raised for numbers that no float holds
        try:
            event = lossless_json.parse(value or b"").root
        except InvalidEvent:
            return _UNKNOWN
    if not isinstance(event, dict):
        return _UNKNOWN
    payload = event.get("payload")
    biz_type = payload.get("biz_type") if isinstance(payload, dict) else None
    return _if_text(event.get("id")), _if_text(event.get("event_type")), _if_text(biz_type)


def _if_text(member: object) -> str | None:
    return member if isinstance(member, str) else None
