"""Alerts to real HTTP receivers: deliver as a process, fed by a real router and projector."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from alert_receiver import AlertReceiver, accept, answer, receivers_file, webhook
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, envelope, eventually, headers_of
from raised_alerts import AlertTopics, alert

from broker_events.runtime.events.record_json import json_line
from broker_events.schemas.models import Alert, Delivery

SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "alert.schema.json"


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
        jsonschema.validate(json.loads(request.body), json.loads(SCHEMA.read_text()))
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
    verified = pipeline.command("deliver", "verify", delivery_receivers=file)
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout == "desk: proved: 6 alerts, 6 delivered, 0 given up, 0 skipped, 0 waiting\n"
    trace = pipeline.command("explain", "e0")
    assert "delivered to desk" in trace.stdout, trace.stdout + trace.stderr


def test_an_alert_that_was_given_up_is_sent_again(pipeline: Pipeline, tmp_path: Path) -> None:
    alerts = [alert("ACC-1", market=f"M{number}") for number in range(3)]
    wanted = [webhook("http://127.0.0.1:9/", "nobody", severities='["warning"]')]
    with AlertReceiver(answer(422, "unknown account")) as receiver:
        file = receivers_file(tmp_path, webhook(receiver.url), *wanted)
        AlertTopics(pipeline).write(alerts[:1])
        with pipeline.worker("deliver", delivery_receivers=file) as worker:
            eventually(lambda: len(deliveries(pipeline)) == 2, lambda: worker.log)
            receiver.behave = accept
            AlertTopics(pipeline).write(alerts[1:])
            eventually(lambda: len(deliveries(pipeline)) == 6, lambda: worker.log)
            assert worker.stop() == 0, worker.log
        shown = pipeline.command("deliver", "list", "--outcome", "GIVEN_UP", delivery_receivers=file)
        assert alerts[0]["alert_id"] in shown.stdout
        assert "HTTP 422, after 5 attempts" in shown.stdout
        receiver.behave = answer(503)
        retry = ("deliver", "retry", "--receiver", "desk")
        assert pipeline.command(*retry, delivery_receivers=file).returncode == 1
        receiver.behave = accept
        assert pipeline.command(*retry, "--dry-run", delivery_receivers=file).returncode == 0
        again = pipeline.command(*retry, delivery_receivers=file)
        assert again.returncode == 0, again.stderr
        assert pipeline.command(*retry, delivery_receivers=file).returncode == 1, "none is left"
        checked = pipeline.command("deliver", "check", delivery_receivers=file)
        assert checked.returncode == 1
        assert "desk" in checked.stdout.splitlines()[1]
        assert [line.split()[2] for line in checked.stdout.splitlines()[1:]] == ["accepted", "NOT"]
    assert receiver.requests[-1].headers["ce-type"] == "broker.events.alert.test"
    assert [each["alert_id"] for each in receiver.verified()[:3]] == [alerts[n]["alert_id"] for n in (1, 2, 0)]
    log = tmp_path / "requests.ndjson"
    lines = [json.dumps(request.headers | {"body": request.body.decode()}) for request in receiver.accepted]
    log.write_text("\n".join(lines))
    verify = ("deliver", "verify", "--receiver", "desk", "--receiver-log", str(log), "--json")
    proved = pipeline.command(*verify, delivery_receivers=file)
    assert proved.returncode == 0, proved.stdout + proved.stderr
    assert json.loads(proved.stdout)["delivered"] == 3
    log.write_text("\n".join(lines[1:]))
    assert json.loads(pipeline.command(*verify, delivery_receivers=file).stdout)["examples"] == {
        "not_in_log": [alerts[1]["alert_id"]]
    }
    log.write_text("\n".join([lines[1], lines[0], *lines[2:]]).replace("liquidate only", "is free"))
    found = json.loads(pipeline.command(*verify, delivery_receivers=file).stdout)
    assert found["wrongly_signed_count"] >= 3


def test_a_lost_delivery_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    alerts = [alert(f"ACC-{number}") for number in range(4)]
    with AlertReceiver() as receiver:
        file = receivers_file(tmp_path, webhook(receiver.url))
        AlertTopics(pipeline).write(alerts)
        with pipeline.worker("deliver", delivery_receivers=file) as worker:
            eventually(lambda: len(deliveries(pipeline)) == 4, lambda: worker.log)
            assert worker.stop() == 0
    lost = alerts[2]["alert_id"]
    (record,) = [each for each in pipeline.read("alerts.deliveries") if lost.encode() in (each.key() or b"")]
    pipeline.produce("alerts.deliveries", record.value(), "desk/" + alerts[0]["alert_id"], record.partition())
    found = pipeline.command("deliver", "verify", delivery_receivers=file)
    assert found.returncode == 1
    assert f"doubled: {lost}" in found.stdout
