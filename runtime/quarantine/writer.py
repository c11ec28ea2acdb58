"""What can't be processed, kept whole: the source record with its coordinates and the reason."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from importlib.metadata import version
from typing import Any, Final

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
from broker_events.schemas.headers import RECOVERED_FROM, RECOVERY_ID
from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.storage_types import QuarantinedEvent

log = logging.getLogger(__name__)

QUARANTINE: Final = "quarantine"
_DETAIL: Final = 1000
_UNKNOWN: Final = (None, None, None)
# Where there is no JSON, so nothing to be read of the event.
_UNREADABLE: Final = {Reason.NO_VALUE, Reason.NOT_UTF8, Reason.NOT_JSON}


class Quarantine:
    """Writes quarantine records of one stage into the open transaction.

    Key and partition are those of the source record. The record's own Kafka timestamp says when it was quarantined.
    """

    def __init__(
        self, settings: Settings, stage: str, codec: Codec[QuarantinedEvent], metrics: Metrics, health: Health
    ) -> None:
        self._topic = settings.topic(QUARANTINE)
        self._stage = stage
        self._codec = codec
        self._metrics = metrics
        self._health = health
        for reason in Reason:  # a rate needs the 0 before the first one
            metrics.quarantined.labels(stage, reason.value)
        self._worker = f"{stage}/{version('broker-events')}"
        self._limit = QuarantineLimit(
            settings.quarantine_limit_share, settings.quarantine_limit_records, settings.quarantine_limit_consecutive
        )
        self._stops = settings.quarantine_limit_action == "stop"
        self._refused: dict[TopicPartition, dict[int, Reason]] = {}  # of this batch, by offset
        self._is_exceeded = False
        # What the worker is to end with, once it has committed.
        self.end_of_work: QuarantineLimitExceeded | None = None

    def put(
        self, transaction: Transaction, record: KafkaRecord, problem: InvalidEvent, audit: Headers | None = None
    ) -> None:
        """Produce the quarantine record of `record`; `audit`: its own headers, where a person has decided it."""
        key, value, headers = record.key(), record.value(), record.headers() or []
        event_id, event_type, biz_type = _UNKNOWN if problem.reason in _UNREADABLE else _identity(value)
        told = dict(headers)
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
            "recovered_from": _text(told.get(RECOVERED_FROM)),
            "recovery_id": _text(told.get(RECOVERY_ID)),
        }
        transaction.produce(self._topic, self._codec.encode(quarantined), key, record.partition(), audit)
        self._refused.setdefault(partition_of(record), {})[record.offset()] = problem.reason

    def end_batch(self, partitions: Partitions) -> None:
        """These records are done: count what was refused of them, raise or end the alarm of `QuarantineLimit`."""
        refused: list[int] = []
        first = 0
        for tp, records in partitions.items():
            if (reasons := self._refused.pop(tp, None)) is not None:
                for reason, count in Counter(reasons.values()).items():
                    self._metrics.quarantined.labels(self._stage, reason).inc(count)
                refused += [first + index for index, record in enumerate(records) if record.offset() in reasons]
            first += len(records)
        exceeded = self._limit.count(sum(map(len, partitions.values())), refused)
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
    """Say what went wrong with a record that met a defect of ours, in quarantine and in the log."""
    at = (record.topic(), record.partition(), record.offset())
    frames = "".join(traceback.format_tb(error.__traceback__))  # the error's own text may quote the record
    log.error("%s[%d]@%d: a defect of this program, %s\n%s", *at, type(error).__name__, frames)
    # It may quote megabytes, or what has no UTF-8 form: neither must keep the record out of quarantine.
    text = str(error)[:_DETAIL].encode("utf-8", "backslashreplace").decode()
    return InvalidEvent(Reason.INTERNAL_ERROR, "", f"{type(error).__name__}: {text}")


def _text(header: bytes | None) -> str | None:
    return None if header is None else header[:_DETAIL].decode("utf-8", "replace")


def _identity(value: bytes | None) -> tuple[str | None, str | None, str | None]:
    """Id, event_type and biz_type as far as they can be read."""
    try:
        event: Any = orjson.loads(value or b"")
    except orjson.JSONDecodeError:  # also of numbers that no float holds
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
