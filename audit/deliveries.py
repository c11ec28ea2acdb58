"""Reads what `deliver verify` and `deliver list` need from the topics, and a receiver's own log."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from standardwebhooks.webhooks import Webhook

from broker_events.audit.delivery_proof import AlertSeen, DeliveryProof, Ledger, Reached, Received, compare_log
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition
from broker_events.runtime.kafka.topic_reader import committed_notes, read_to_end, topic_partitions
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import DELIVERIES
from broker_events.schemas.models import Alert, Delivery
from broker_events.schemas.models import Record as Model
from broker_events.sinks.deliver.finished_offsets import decode_finished
from broker_events.sinks.deliver.group import app_of
from broker_events.sinks.deliver.receivers import ALERTS

log = logging.getLogger(__name__)

Decode = Callable[[bytes], Model]


def prove_deliveries(
    settings: Settings, receivers: Sequence[str], decode: Decode, logs: Sequence[tuple[Path, Sequence[str]]] = ()
) -> list[DeliveryProof]:
    """Compare alerts and alerts.deliveries for each receiver, and with `logs` a receiver's log and signing secrets.

    The logs are those of the first receivers, in order. Raises OperatorActionRequired for a log that can't be read.
    """
    partitions = topic_partitions(settings, settings.topic(ALERTS))
    reached = {name: _reached(settings, name, partitions) for name in receivers}  # before the records, which go on
    ledgers = {name: Ledger(name) for name in receivers}
    for delivery in read_deliveries(settings, decode):
        if delivery.receiver in ledgers:
            ledgers[delivery.receiver].add(delivery)
    alerts = [*_alerts(settings, partitions, decode)]
    proofs = [ledgers[name].prove(alerts, reached[name]) for name in receivers]
    for proof, (path, secrets) in zip(proofs, logs, strict=False):
        covered = [each for each in alerts if _covers(reached[proof.receiver], each)]
        compare_log(proof, ledgers[proof.receiver].delivered(covered), _received(path, secrets))
    return proofs


def read_deliveries(settings: Settings, decode: Decode) -> Iterator[Delivery]:
    """Yield every record of alerts.deliveries, in order within a partition."""
    topic = settings.topic(DELIVERIES)
    starts = dict.fromkeys(topic_partitions(settings, topic), 0)
    for record in chain.from_iterable(read_to_end(settings, starts)):
        found = _decoded(record, decode)
        if isinstance(found, Delivery):
            yield found


def read_alert(settings: Settings, partition: int, offset: int) -> KafkaRecord | None:
    """Return the record of alerts at this place, None if retention has deleted it."""
    at = TopicPartition(settings.topic(ALERTS), partition)
    records = chain.from_iterable(read_to_end(settings, {at: offset}, {at: offset + 1}))
    return next((record for record in records if record.offset() == offset), None)


def _alerts(settings: Settings, partitions: Sequence[TopicPartition], decode: Decode) -> Iterator[AlertSeen]:
    for record in chain.from_iterable(read_to_end(settings, dict.fromkeys(partitions, 0))):
        at, alert = (record.partition(), record.offset()), _decoded(record, decode)
        if isinstance(alert, Alert):
            yield AlertSeen(*at, alert.alert_id, alert.dedup_key)
        else:
            yield AlertSeen(*at, f"{at[0]}@{at[1]}", "")


def _decoded(record: KafkaRecord, decode: Decode) -> Model | None:
    try:
        return decode(record.value() or b"")
    except ValueError as error:
        log.warning("%s[%d]@%d: %s", record.topic(), record.partition(), record.offset(), error)
        return None


def _reached(settings: Settings, receiver: str, partitions: Sequence[TopicPartition]) -> dict[int, Reached]:
    committed = committed_notes(settings, settings.group(app_of(receiver)), partitions)
    return {
        tp.partition: Reached(offset, decode_finished(offset, note.finished))
        for tp, (offset, note) in committed.items()
        if offset >= 0
    }


def _covers(reached: dict[int, Reached], alert: AlertSeen) -> bool:
    at = reached.get(alert.partition)
    return at is not None and at.covers(alert.offset)


def _received(path: Path, secrets: Sequence[str]) -> Iterator[Received]:
    webhooks = [Webhook(secret) for secret in secrets]
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007 (the error names it)
                yield _request(json.loads(line), webhooks)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"line {number} is not a request: {error!r}"
        raise OperatorActionRequired(f"{path}: {reason}") from None


def _request(line: dict[str, str], webhooks: Sequence[Webhook]) -> Received:
    """The library's `verify` refuses what is older than five minutes: a log may be."""
    webhook_id, at = line["webhook-id"], datetime.fromtimestamp(int(line["webhook-timestamp"]), UTC)
    signatures = line["webhook-signature"].split(" ")
    return Received(webhook_id, any(each.sign(webhook_id, at, line["body"]) in signatures for each in webhooks))
