"""A thirteenth event type is one folder: no Python knows of it."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path

import fastavro
from awards import PAID_AT, award, catalog_with_awards, make, router
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, credit, headers_of

from broker_events.runtime.schema_ids import open_registry


def test_a_new_folder_is_a_new_typed_topic(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    root = tmp_path / "schemas"
    pipeline = Pipeline(cluster, topic_prefix, tmp_path)
    make(pipeline, catalog_with_awards(root))
    raw = pipeline.produce("raw", award("award-1", "ACC-1"), "ACC-1")
    pipeline.produce("raw", award("award-2", "ACC-1", amount="1e20"), "ACC-1")
    pipeline.produce("raw", credit("credit-1"), "ACC-1")

    with router(pipeline, root) as running:
        (record,) = pipeline.wait_for("event.test-award", 1)
        pipeline.wait_for("event.credit", 1)
        pipeline.wait_for("quarantine", 1)
        assert running.metric("routed_total", biz_type="TEST_AWARD") == 1
        assert running.metric("quarantined_total", stage="router", reason="bad_amount") == 1
        assert running.stop() == 0

    assert (record.key(), record.partition()) == (b"ACC-1", raw.partition())
    assert headers_of(record) == {"raw_offset": str(raw.offset())}
    value = record.value() or b""
    schema_text = open_registry(pipeline.settings).schema_text(int.from_bytes(value[1:5], "big"))
    event = fastavro.schemaless_reader(io.BytesIO(value[5:]), fastavro.parse_schema(json.loads(schema_text)), None)
    assert isinstance(event, dict)
    assert event["event_id"] == "award-1"
    assert event["amount"] == Decimal("0.300000000000000001")
    assert event["shares"] == 100
    assert event["paid_at"].isoformat() == "2026-01-31T09:30:00.123456+00:00"
    assert event["paid_at_text"] == PAID_AT
    assert event["extra"] == {"/payload/note": '"interim"'}
