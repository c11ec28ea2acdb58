"""Rules as data on a real Kafka: their alerts once, also after kills, repeated reads and a rebuild."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, envelope, eventually, headers_of

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.schemas.models import Alert

RULES = "transfer-rejected"


@pytest.fixture(scope="module")
def pipeline(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("rules")
    pipeline = Pipeline(cluster, f"test-{uuid4().hex[:12]}", folder, partitions=2).made()
    with pipeline.worker("router"):
        yield pipeline


@pytest.fixture
def account() -> str:
    """Return an account that no other test has."""
    return f"ACC-{uuid4().hex[:8]}"


def transfer(event_id: str, account: str, status: str, at: str, request: str) -> bytes:
    payload = {
        "account_id": account,
        "client_request_id": request,
        "transfer_type": "WIRE",
        "direction": "WITHDRAWAL",
        "amount": "1234.50",
        "currency": "USD",
        "status": status,
        "biz_type": "TRANSFER",
    }
    return envelope(event_id, "FUNDING", payload, at)


def records_of(pipeline: Pipeline, topic: str, account: str) -> list[KafkaRecord]:
    return [record for record in pipeline.read(topic) if account.encode() in (record.key() or b"")]


def alerts_of(pipeline: Pipeline, account: str) -> list[Alert]:
    found = [pipeline.decode(record) for record in records_of(pipeline, "alerts", account)]
    return [alert for alert in found if isinstance(alert, Alert)]


def wait_for_state(pipeline: Pipeline, topic: str, account: str, text: str) -> None:
    eventually(
        lambda: any(text.encode() in (record.value() or b"") for record in records_of(pipeline, topic, account)),
        lambda: f"{text} in {topic}",
    )


def test_a_rejected_transfer_raises_its_alert_once(pipeline: Pipeline, account: str) -> None:
    with pipeline.worker("projector", rules=RULES) as projector:
        raw = pipeline.produce("raw", transfer("first", account, "REJECTED", "2026-01-31T09:30:00Z", "REQ-1"), account)
        eventually(lambda: len(alerts_of(pipeline, account)) == 1)
        assert projector.metric("alerts_total", rule="TRANSFER_REJECTED", status="FIRING") == 1
        projector.kill()
    with pipeline.worker("projector", rules=RULES):
        pipeline.produce("raw", transfer("again", account, "REJECTED", "2026-01-31T09:31:00Z", "REQ-1"), account)
        pipeline.produce("raw", transfer("other", account, "REJECTED", "2026-01-31T09:32:00Z", "REQ-2"), account)
        wait_for_state(pipeline, "state.movements", account, "other")
        eventually(lambda: len(alerts_of(pipeline, account)) == 2)
    first, other = alerts_of(pipeline, account)
    assert (first.event_id, other.event_id) == ("first", "other")
    assert (first.rule, first.rule_version, first.status, first.severity) == (
        "TRANSFER_REJECTED",
        1,
        "FIRING",
        "warning",
    )
    assert first.subject == "REQ-1"
    assert first.dedup_key == f"TRANSFER_REJECTED/{account}/REQ-1"
    assert first.summary == f"WIRE WITHDRAWAL of 1234.5 USD rejected on account …{account[-4:]}"
    assert first.movement is not None
    assert first.movement.movement_id == f"{account}/TRANSFER/REQ-1"
    record = records_of(pipeline, "alerts", account)[0]
    assert (record.key(), record.partition()) == (account.encode(), raw.partition())
    headers = headers_of(record)
    assert headers["ce_type"] == "broker.events.alert.transfer_rejected.firing"
    assert headers["ce_id"] == first.alert_id
    assert records_of(pipeline, "alerts.active", account) == [], "an occurrence is never active"
