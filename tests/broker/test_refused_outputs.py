"""An output that Kafka refuses for what it is: its source record is quarantined, or stops a projector."""

from __future__ import annotations

import sys
from base64 import b64encode
from pathlib import Path
from random import Random

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, Worker, credit, environment
from test_projector import snapshot

from broker_events.runtime.kafka.clients import admin_client
from broker_events.schemas.models import Alert, Credit, QuarantinedEvent

LIMIT = 8_000
TOO_LARGE = (40, 41, 77)
PYTHON = str(Path(__file__).with_name("python_worker.py"))


@pytest.fixture
def pipeline(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> Pipeline:
    return Pipeline(cluster, topic_prefix, tmp_path, partitions=2).made()


def limit(pipeline: Pipeline, topic: str, most_bytes: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(most_bytes), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, pipeline.settings.topic(topic), incremental_configs=[entry])
    admin = admin_client(pipeline.settings)  # without a name it would end before it answers
    [altered] = admin.incremental_alter_configs([resource]).values()
    altered.result()


def noise(size: int) -> str:
    """Text that no compression makes small."""
    return b64encode(Random(size).randbytes(size)).decode()  # noqa: S311 (no secret)


def router(pipeline: Pipeline, *, native: bool) -> Worker:
    if native:
        return pipeline.worker("router")
    arguments = [sys.executable, PYTHON, "router", "--instance-id", "router-a", "--http-port", "0"]
    return Worker(arguments, environment(pipeline.settings), pipeline.folder / "python.log")


@pytest.mark.parametrize("native", [True, False])
def test_a_typed_record_above_its_topics_limit_goes_to_quarantine(pipeline: Pipeline, *, native: bool) -> None:
    events = [
        (f"ACC-{n % 4}", credit(f"e{n}", f"ACC-{n % 4}", note=noise(2 * LIMIT) if n in TOO_LARGE else "n"))
        for n in range(120)
    ]
    with router(pipeline, native=native) as worker:
        pipeline.produce_all("raw", events[:10])
        pipeline.wait_for("event.credit", 10)
        limit(pipeline, "event.credit", LIMIT)
        pipeline.produce_all("raw", events[10:])
        typed = pipeline.wait_for("event.credit", len(events) - 3)
        pipeline.produce_all("raw", [*events[5:30], ("ACC-1", credit("last", "ACC-1"))])  # the window forgot none
        pipeline.wait_for("event.credit", len(events) - 3 + 1)
        assert worker.stop() == 0, worker.log
    ids = [
        (record.key(), int(event.event_id[1:]))
        for record in typed
        if isinstance(event := pipeline.decode(record), Credit)
    ]
    for number in range(4):
        of_account = [event_id for key, event_id in ids if key == b"ACC-%d" % number]
        assert of_account == [n for n in range(number, 120, 4) if n not in TOO_LARGE]
    refused = [event for event in pipeline.decoded("quarantine") if isinstance(event, QuarantinedEvent)]
    assert sorted((event.event_id, event.reason) for event in refused) == [(f"e{n}", "too_large") for n in TOO_LARGE]
    assert all("MSG_SIZE_TOO_LARGE" in (event.detail or "") for event in refused)
    done = pipeline.command("ledger")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_above_its_topics_limit_stops_the_projector_until_the_limit_is_set(pipeline: Pipeline) -> None:
    accounts = [f"ACC-{n}" for n in range(30)]
    events = [(a, snapshot(a, a, "2026-01-31T09:30:00Z", "HK_STOCK_LIQUIDATE_ONLY")) for a in accounts]
    with pipeline.worker("router"), pipeline.worker("projector") as projector:
        pipeline.produce_all("raw", events[:5])
        pipeline.wait_for("alerts", 5)
        limit(pipeline, "alerts", 300)
        pipeline.produce_all("raw", events[5:])
        assert projector.wait() == 70, projector.log
        assert "too_large: Kafka refuses the derived record" in projector.log
        with pipeline.worker("projector") as again:
            assert again.wait() == 2, again.log
            assert "max.message.bytes is 300" in again.log
        assert pipeline.command("topics", "apply").returncode == 0
        with pipeline.worker("projector") as mended:
            alerts = [alert for _ in [pipeline.wait_for("alerts", 30)] for alert in pipeline.decoded("alerts")]
            assert mended.stop() == 0
    assert sorted(alert.event_id for alert in alerts if isinstance(alert, Alert)) == sorted(accounts)
    assert pipeline.read("quarantine") == []
