"""Alerts to real HTTP receivers: deliver as a process, fed by a real router and projector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from alert_receiver import AlertReceiver, receivers_file, webhook
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, envelope, eventually, headers_of

from broker_events.runtime.events.record_json import json_line
from broker_events.schemas.models import Alert, Delivery


def snapshot(event_id: str, account: str, at: str, *codes: str) -> bytes:
    """Return an ACCOUNT_UPDATE with these restrictions."""
    payload = {"account_id": account, "account_number": f"N{account}", "biz_type": "ACCOUNT_UPDATE"}
    return envelope(event_id, "ACCOUNT", payload | {"restrictions": codes}, at)


@pytest.fixture
def pipeline(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> Pipeline:
    return Pipeline(cluster, topic_prefix, tmp_path, partitions=2).made()


def deliveries(pipeline: Pipeline) -> list[Delivery]:
    return [each for each in pipeline.decoded("alerts.deliveries") if isinstance(each, Delivery)]


def test_a_pushed_event_becomes_a_signed_request(pipeline: Pipeline, tmp_path: Path) -> None:
    with AlertReceiver() as receiver:
        file = receivers_file(tmp_path, webhook(receiver.url))
        with (
            pipeline.worker("router"),
            pipeline.worker("projector"),
            pipeline.worker("deliver", delivery_receivers=file) as worker,
        ):
            for number in range(6):
                account = f"ACC-{number % 3}"
                codes = ("HK_STOCK_LIQUIDATE_ONLY",) if number < 3 else ()
                pipeline.produce(
                    "raw", snapshot(f"e{number}", account, f"2026-01-31T09:30:0{number}Z", *codes), account
                )
            eventually(lambda: len(receiver.accepted) >= 6, lambda: f"6 requests:\n{worker.log}")
            pipeline.wait_for("alerts.deliveries", 6)
            assert worker.stop() == 0, worker.log
    records = {headers_of(record)["ce_id"]: record for record in pipeline.read("alerts")}
    alerts = {alert_id: pipeline.decode(record) for alert_id, record in records.items()}
    assert len(receiver.verified()) == len(records) == 6
    for request in receiver.accepted:
        alert = alerts[request.alert_id]
        assert isinstance(alert, Alert)
        assert request.body.decode() == json_line(alert.model_dump())
        assert request.headers["content-type"] == "application/json"
        assert request.headers["ce-id"] == alert.alert_id
        assert request.headers["ce-type"] == f"broker.events.alert.liquidate_only.{alert.status.lower()}"
    for account in ("ACC-0", "ACC-1", "ACC-2"):
        found = [json.loads(request.body) for request in receiver.accepted]
        assert [each["status"] for each in found if each["account_key"] == account] == ["FIRING", "RESOLVED"]
    assert {(each.receiver, each.alert_id, each.outcome, each.attempts) for each in deliveries(pipeline)} == {
        ("desk", alert_id, "DELIVERED", 1) for alert_id in records
    }
    assert receiver.url not in worker.log
