"""A router reports the oldest quarantined record that waits for a replay."""

from __future__ import annotations

from pathlib import Path

from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, credit, eventually

METRIC = "quarantine_oldest_timestamp_seconds"


def test_the_oldest_record_that_waits_is_reported(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    pipeline = Pipeline(cluster, topic_prefix, tmp_path).made()
    pipeline.produce("raw", b"no JSON at all", "ACC-1")
    pipeline.produce("raw", credit("new", biz_type="FEE_FORECAST"), "ACC-1")
    pipeline.produce("raw", credit("bad", amount="1,000"), "ACC-1")
    with pipeline.worker("router") as router:
        records = pipeline.wait_for("quarantine", 3)
        assert router.stop() == 0
    with pipeline.worker("router") as router:
        router.wait_ready()
        eventually(lambda: router.metric(METRIC) > 0, lambda: router.log)
        assert router.metric(METRIC) == records[1].timestamp()[1] / 1000
        assert router.stop() == 0
    done = pipeline.command("quarantine", "replay", "--all", "--include-rejected", "--yes")
    assert done.returncode == 0, done.stderr
    replayed = pipeline.wait_for("raw", 6)
    with pipeline.worker("router") as router:
        again = pipeline.wait_for("quarantine", len(replayed))
        assert router.stop() == 0
    with pipeline.worker("router") as router:
        router.wait_ready()
        eventually(lambda: router.metric(METRIC) > 0, lambda: router.log)
        assert router.metric(METRIC) == again[4].timestamp()[1] / 1000
