"""A thirteenth event type is one folder: no Python knows of it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from decimal import Decimal
from pathlib import Path

import fastavro
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, Worker, credit, envelope, environment, headers_of

import schemas
from runtime.kafka import admin_client
from runtime.schema_ids import open_registry
from runtime.topics import apply_topics, plan_topics
from schemas.catalog import Catalog, load_catalog
from schemas.registry import desired_subjects

# What `broker-events router` runs, with another catalog.
ROUTER = """
import sys
from pathlib import Path
from processors import router
from runtime.process import run_process
from runtime.settings import load_settings
from schemas.catalog import load_catalog

catalog = load_catalog(Path(sys.argv[1]))
sys.exit(run_process(load_settings(), "router", lambda stop: router.run(load_settings(), stop, catalog)))
"""
CONTRACT = """
owner = "broker-events"
description = "A dividend has been paid."
source = "A test"
biz_type = "DIVIDEND"
event_type = "FUNDING"

[[topics]]
name = "event.dividend"
key = "account key"
cleanup = "delete"
retention_days = 30
"""
TIME = {"type": "long", "logicalType": "timestamp-micros"}
AMOUNT = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}


def catalog_with_dividends(root: Path) -> Catalog:
    """Copy the contracts and add one."""
    for group in ("events", "state", "alerts", "internal"):
        shutil.copytree(Path(str(schemas.__file__)).parent / group, root / group)
    example = json.loads((root / "events/credit/schema.avsc").read_text(encoding="utf-8"))
    common = example["fields"][:7]
    extra = example["fields"][-1]
    own = [
        {"name": "amount", "type": AMOUNT, "doc": "What was paid."},
        {"name": "shares", "type": ["null", "long"], "default": None, "doc": "For how many shares."},
        {"name": "paid_at", "type": TIME, "doc": "When."},
        {"name": "paid_at_text", "type": "string", "from": "/payload/paid_at", "doc": "When, as received."},
    ]
    schema = {**example, "name": "Dividend", "doc": "A dividend has been paid.", "fields": [*common, *own, extra]}
    folder = root / "events/dividend"
    folder.mkdir()
    (folder / "contract.toml").write_text(CONTRACT, encoding="utf-8")
    (folder / "schema.avsc").write_text(json.dumps(schema), encoding="utf-8")
    return load_catalog(root)


def test_a_new_folder_is_a_new_typed_topic(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    catalog = catalog_with_dividends(tmp_path / "schemas")
    pipeline = Pipeline(cluster, topic_prefix, tmp_path)
    settings = pipeline.settings
    apply_topics(admin_client(settings), plan_topics(catalog, settings))
    open_registry(settings).register(desired_subjects(catalog, settings.topic_prefix))
    payload = {
        "account_id": "ACC-1",
        "biz_type": "DIVIDEND",
        "amount": "0.300000000000000001",
        "shares": 100,
        "paid_at": "2026-01-31T09:30:00.123456789Z",
        "note": "interim",
    }
    raw = pipeline.produce("raw", envelope("dividend-1", "FUNDING", payload), "ACC-1")
    pipeline.produce("raw", envelope("dividend-2", "FUNDING", payload | {"amount": "1e5"}), "ACC-1")
    pipeline.produce("raw", credit("credit-1"), "ACC-1")

    arguments = [sys.executable, "-c", ROUTER, str(tmp_path / "schemas")]
    with Worker(arguments, environment(settings), tmp_path / "router.log") as router:
        (record,) = pipeline.wait_for("event.dividend", 1)
        pipeline.wait_for("event.credit", 1)
        pipeline.wait_for("quarantine", 1)
        assert router.metric("routed_total", biz_type="DIVIDEND") == 1
        assert router.metric("quarantined_total", stage="router", reason="bad_amount") == 1
        assert router.stop() == 0

    assert (record.key(), record.partition()) == (b"ACC-1", raw.partition())
    assert headers_of(record) == {"raw_offset": str(raw.offset())}
    value = record.value() or b""
    schema_text = open_registry(settings).schema_text(int.from_bytes(value[1:5], "big"))
    event = fastavro.schemaless_reader(io.BytesIO(value[5:]), fastavro.parse_schema(json.loads(schema_text)), None)
    assert isinstance(event, dict)
    assert event["event_id"] == "dividend-1"
    assert event["amount"] == Decimal("0.300000000000000001")
    assert event["shares"] == 100
    assert event["paid_at"].isoformat() == "2026-01-31T09:30:00.123456+00:00"
    assert event["paid_at_text"] == payload["paid_at"]
    assert event["extra"] == {"/payload/note": '"interim"'}
