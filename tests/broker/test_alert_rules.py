"""Rules as data on a real Kafka: their alerts once, also after kills, repeated reads and a rebuild."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, envelope, eventually, headers_of

from broker_events.processors.alert_rules.load import SHIPPED
from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.kafka.clients import admin_client
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


ALL = "no-trade,transfer-rejected,fee-failed,account-closed"


def snapshot(event_id: str, account: str, at: str, *codes: str) -> bytes:
    payload = {"account_id": account, "account_number": f"N{account}", "biz_type": "ACCOUNT_UPDATE"}
    return envelope(event_id, "ACCOUNT", payload | {"restrictions": codes}, at)


def closed(event_id: str, account: str, at: str) -> bytes:
    payload = {"account_id": account, "status": "APPROVED", "client_request_id": event_id, "biz_type": "ACCOUNT_CLOSE"}
    return envelope(event_id, "ACCOUNT", payload, at)


def command(pipeline: Pipeline, *arguments: str, rules: str = ALL, code: int = 0) -> list[dict[str, Any]]:
    done = pipeline.command(*arguments, "--json", rules=rules)
    assert done.returncode == code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def read_again(pipeline: Pipeline) -> None:
    """Set the projectors' offsets to the beginning, as kafka-consumer-groups --reset-offsets does."""
    group, admin = pipeline.settings.group("projector"), admin_client(pipeline.settings)
    [found] = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
    moved = [TopicPartition(tp.topic, tp.partition, 0) for tp in found.result().topic_partitions]
    [altered] = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, moved)]).values()
    altered.result()


@pytest.fixture
def own_pipeline(cluster: KafkaCluster, tmp_path: Path) -> Pipeline:
    return Pipeline(cluster, f"test-{uuid4().hex[:12]}", tmp_path, partitions=1).made()


def test_alerts_are_the_same_after_repeated_reads_a_rebuild_and_a_backtest(own_pipeline: Pipeline) -> None:
    pipeline, account = own_pipeline, "ACC-1"
    events = [
        snapshot("set", account, "2026-01-31T09:30:00Z", "HK_STOCK_NO_TRADE", "US_STOCK_NO_TRADE"),
        snapshot("late", account, "2026-01-31T09:00:00Z"),
        snapshot("lifted", account, "2026-01-31T10:30:00Z", "US_STOCK_NO_TRADE"),
        transfer("rejected", account, "REJECTED", "2026-01-31T09:30:00Z", "REQ-1"),
        transfer("again", account, "REJECTED", "2026-01-31T09:31:00Z", "REQ-1"),
        closed("closed", account, "2026-01-31T09:30:00Z"),
    ]
    wanted = [
        ("NO_TRADE", "FIRING", "HK", "set"),
        ("NO_TRADE", "FIRING", "US", "set"),
        ("NO_TRADE", "RESOLVED", "HK", "lifted"),
        ("TRANSFER_REJECTED", "FIRING", "REQ-1", "rejected"),
        ("ACCOUNT_CLOSED", "FIRING", "closed", "closed"),
    ]
    pipeline.produce_all("raw", [(account, value) for value in events])
    with pipeline.worker("router") as router, pipeline.worker("projector", rules=ALL) as projector:
        pipeline.wait_for("alerts", len(wanted))
        assert projector.metric("active_alerts", rule="NO_TRADE") == 1
        assert router.stop() == projector.stop() == 0
    found = alerts_of(pipeline, account)
    assert sorted((each.rule, each.status, each.subject, each.event_id) for each in found) == sorted(wanted)
    active = [each for each in pipeline.read("alerts.active") if each.key() == f"NO_TRADE/{account}/HK".encode()]
    assert [each.value() is None for each in active] == [False, True]

    assert not [each for each in command(pipeline, "rebuild") if "verdict" in each]
    assert command(pipeline, "rebuild", rules="", code=1), "without the rules the tables differ: this can fail"
    assert not [each for each in command(pipeline, "rebuild", "--emit-alerts") if "alert_id" in each]
    backtested = command(pipeline, "rules", "backtest", "no-trade", rules="")
    assert [each["alert_id"] for each in backtested] == [each.alert_id for each in found if each.rule == "NO_TRADE"]
    shown = pipeline.command("rules", "backtest", "no-trade")
    assert "3 alerts from 3 events" in shown.stdout
    assert "█" in shown.stdout

    read_again(pipeline)
    pipeline.produce_all("raw", [(account, snapshot("end", account, "2026-01-31T11:30:00Z"))])
    with pipeline.worker("router"), pipeline.worker("projector", rules=ALL):
        pipeline.wait_for("alerts", len(wanted) + 1)
    assert [each.event_id for each in alerts_of(pipeline, account)[len(wanted) :]] == ["end"]
    assert not [each for each in command(pipeline, "rebuild") if "verdict" in each]


def test_an_expression_without_a_value_stops_the_projector_and_loses_no_alert(own_pipeline: Pipeline) -> None:
    pipeline, account = own_pipeline, "ACC-1"
    folder = pipeline.folder / "rules" / "big-rejection"
    shutil.copytree(SHIPPED / "transfer-rejected", folder)
    file = folder / "rule.toml"
    right = file.read_text(encoding="utf-8")
    when = """event.status.spells("REJECTED")"""
    file.write_text(right.replace(when, f'{when} && (event.currency != "X" || decimal(event.currency) > event.amount)'))
    settings: dict[str, Any] = {"rules": "big-rejection", "rules_folder": folder.parent}
    values = [transfer("bad", account, "REJECTED", "2026-01-31T09:30:00Z", "R").replace(b'"USD"', b'"X"')]
    values.append(transfer("next", account, "REJECTED", "2026-01-31T09:31:00Z", "S"))
    pipeline.produce_all("raw", [(account, value) for value in values])
    with pipeline.worker("router"):
        codes = []
        for _ in range(4):
            with pipeline.worker("projector", **settings) as projector:
                codes.append(projector.wait())
                assert "the rule big-rejection has no value for this event: EvaluationError" in projector.log
        assert codes == [70, 70, 70, 3], "a record that fails blocks its partition until a person decides"
        assert pipeline.read("alerts") == pipeline.read("quarantine") == []
        file.write_text(right)
        with pipeline.worker("projector", **settings):
            pipeline.wait_for("alerts", 2)
    assert [each.event_id for each in alerts_of(pipeline, account)] == ["bad", "next"]


def test_a_wrong_rule_stops_the_start_with_file_line_and_column(pipeline: Pipeline, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "transfer-rejected", tmp_path / "float")
    file = tmp_path / "float" / "rule.toml"
    file.write_text(file.read_text().replace("""'event.status.spells("REJECTED")'""", "'event.amount > 1.5'"))
    with pipeline.worker("projector", rules="float", rules_folder=tmp_path) as projector:
        assert projector.wait() == 2
        assert (
            f"{file}:8:22: when: found no matching overload for '_>_' applied to '(decimal, double)'" in projector.log
        )
    done = pipeline.command("rules", "test", "float", rules_folder=tmp_path)
    assert (done.returncode, f"wrong  float  {file}:8:22: when: " in done.stdout) == (1, True), done.stdout
