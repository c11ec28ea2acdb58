"""Requests that a person asks for: a test alert, and an alert that was given up."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.operator import operator
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import DELIVERIES
from broker_events.schemas.codec import Codec
from broker_events.schemas.models import Alert
from broker_events.schemas.models import Delivery as DeliveryModel
from broker_events.schemas.storage_types import Delivery
from broker_events.sinks.deliver.delivery_record import AlertPlace, Attempts, delivery, delivery_key
from broker_events.sinks.deliver.group import app_of
from broker_events.sinks.deliver.http_client import ReceiverClient
from broker_events.sinks.deliver.receivers import Receiver
from broker_events.sinks.deliver.retry_rule import Answer, Verdict, verdict
from broker_events.sinks.deliver.signature import Signer
from broker_events.sinks.deliver.webhook_request import WebhookRequest, webhook_request

TEST_RULE: Final = "DELIVERY_TEST"
_TEST_LASTS: Final = timedelta(minutes=1)


class Checked(NamedTuple):
    """The answer of a receiver to a test alert, and how long it took."""

    receiver: str
    kind: str
    answer: Answer
    took_s: float

    @property
    def is_accepted(self) -> bool:
        return verdict(self.answer) is Verdict.DELIVERED


def check(receiver: Receiver) -> list[Checked]:
    """Send a test alert: one result for each URL."""

    async def send() -> list[Checked]:
        async with ReceiverClient(receiver) as client:
            found = []
            for url in receiver.addresses():
                began = time.monotonic()
                answer = await _test(client, receiver, url)
                found.append(Checked(receiver.name, receiver.kind, answer, time.monotonic() - began))
            return found

    return asyncio.run(send())


async def _test(client: ReceiverClient, receiver: Receiver, url: str) -> Answer:
    test_id = f"test-{uuid.uuid4()}"
    text = f"Test of the receiver {receiver.name} by {operator()}. No action is needed."
    if receiver.kind == "webhook":
        body = json.dumps({"alert_id": test_id, "rule": TEST_RULE, "status": "FIRING", "summary": text})
        headers = {
            "content-type": "application/json",
            "ce-specversion": "1.0",
            "ce-id": test_id,
            "ce-source": "/broker-events/deliver",
            "ce-type": "broker.events.alert.test",
        }
        return await _post(client, url, WebhookRequest(test_id, body, headers), Signer(receiver.secrets()))
    now = datetime.now(UTC)
    alert = {
        "labels": {**receiver.labels, "alertname": TEST_RULE, "severity": "info", "test": test_id},
        "annotations": {"summary": text},
        "startsAt": now.isoformat(),
        "endsAt": (now + _TEST_LASTS).isoformat(),
    }
    path = url.rstrip("/") + "/api/v2/alerts"
    return await client.post(path, json.dumps([alert]).encode(), {"content-type": "application/json"})


async def _post(client: ReceiverClient, url: str, request: WebhookRequest, signer: Signer) -> Answer:
    signed = signer.headers(request.alert_id, request.body, int(time.time()))
    return await client.post(url, request.body.encode(), request.headers | signed)


class Retried(NamedTuple):
    """An alert that was sent again, and the answer; None if retention has deleted the alert."""

    alert_id: str
    answer: Answer | None


def retry(
    settings: Settings,
    receiver: Receiver,
    given_up: Iterable[DeliveryModel],
    codec: Codec[Delivery],
    read: Callable[[int, int], tuple[KafkaRecord, Alert] | None],
) -> Iterator[Retried]:
    """Send alerts that a webhook has not got once more, and commit a record for each that it accepts.

    `read` returns an alert by partition and offset. A newer retry ends this one (Fenced).
    """
    transaction = Transaction(settings, f"{settings.topic_prefix}.{app_of(receiver.name)}.retry")
    transaction.init()
    signer, topic = Signer(receiver.secrets()), settings.topic(DELIVERIES)
    url = receiver.addresses()[0]

    async def send(request: WebhookRequest) -> Answer:
        async with ReceiverClient(receiver) as client:
            return await _post(client, url, request, signer)

    for former in given_up:
        found = read(former.alert_partition, former.alert_offset)
        if found is None:
            yield Retried(former.alert_id, None)
            continue
        record, alert = found
        at_us = time.time_ns() // 1000
        answer = asyncio.run(send(webhook_request(alert, record.headers() or ())))
        if verdict(answer) is Verdict.DELIVERED:
            place = AlertPlace(record.partition(), record.offset(), alert.alert_id, alert.rule, alert.status)
            attempts = Attempts(former.attempts + 1, _micros(former.first_attempt_at) or at_us, at_us, answer.status)
            made = delivery(receiver.name, place, "DELIVERED", None, attempts, operator())
            transaction.begin()
            transaction.produce(topic, codec.encode(made), delivery_key(receiver.name, place), place.partition)
            transaction.commit()
        yield Retried(former.alert_id, answer)


def _micros(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1_000_000)
