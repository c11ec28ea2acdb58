"""A raw record whose time no typed topic takes: it alone goes to quarantine."""

from __future__ import annotations

import time
from pathlib import Path

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from kafka_cluster import KafkaCluster
from pipeline_processes import COMMAND, Pipeline, Worker, credit, environment

from broker_events.runtime.kafka.clients import admin_client
from broker_events.schemas.models import QuarantinedEvent

AHEAD_MS = 2 * 86_400_000


def test_kafka_stamps_what_workers_with_a_wrong_clock_write(
    cluster: KafkaCluster, topic_prefix: str, tmp_path: Path
) -> None:
    pipeline = Pipeline(cluster, topic_prefix, tmp_path, partitions=1).made()
    own_ms = round(time.time() * 1000)
    for topic in ("alerts", "alerts.active", "state.accounts", "state.movements", "quarantine"):
        for off_ms in (-400 * AHEAD_MS, AHEAD_MS):
            written = pipeline.produce(topic, b"value", b"key", timestamp=own_ms + off_ms)
            assert abs(written.timestamp()[1] - own_ms) < AHEAD_MS / 100
    behind = tmp_path / "sitecustomize.py"
    behind.write_text("import time\nown = time.time\ntime.time = lambda: own() - 7200\n")
    variables = environment(pipeline.settings) | {"PYTHONPATH": str(tmp_path)}
    arguments = [*COMMAND, "router", "--instance-id", "behind", "--http-port", "0"]
    with Worker(arguments, variables, tmp_path / "behind.log") as router:
        pipeline.produce("raw", credit("e"), "ACC-1")
        pipeline.wait_for("event.credit", 1)
        assert router.stop() == 0


def test_a_record_from_the_day_after_tomorrow(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    pipeline = Pipeline(cluster, topic_prefix, tmp_path, partitions=1).made()
    bound = ConfigEntry("message.timestamp.after.max.ms", str(2**63 - 1), incremental_operation=AlterConfigOpType.SET)
    raw = ConfigResource(ResourceType.TOPIC, pipeline.settings.topic("raw"), incremental_configs=[bound])
    admin = admin_client(pipeline.settings)
    [altered] = admin.incremental_alter_configs([raw]).values()
    altered.result()
    for number in range(3):
        ahead_ms = AHEAD_MS if number == 1 else 0
        pipeline.produce("raw", credit(f"e{number}"), "ACC-1", timestamp=round(time.time() * 1000) + ahead_ms)
    with pipeline.worker("router") as router:
        typed = [pipeline.decode(record) for record in pipeline.wait_for("event.credit", 2)]
        assert router.stop() == 0
    assert [getattr(event, "event_id", None) for event in typed] == ["e0", "e2"]
    [refused] = pipeline.decoded("quarantine")
    assert isinstance(refused, QuarantinedEvent)
    assert (refused.event_id, refused.reason) == ("e1", "bad_time")
