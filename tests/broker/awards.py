"""A thirteenth event type: its folder beside the others, its events, and processes that know it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from pipeline_processes import Pipeline, Worker, envelope, environment

from broker_events import schemas
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.topics import apply_topics, plan_topics
from broker_events.runtime.schema_ids import open_registry
from broker_events.schemas.catalog import Catalog, load_catalog
from broker_events.schemas.registry import desired_subjects

# `broker-events` with another catalog.
COMMAND = """
import sys
from pathlib import Path
from broker_events.cli.main import main
from broker_events.schemas.catalog import load_catalog

load_catalog.__defaults__ = (Path(sys.argv.pop(1)),)
main()
"""
CONTRACT = """
owner = "broker-events"
channel = "a test"
version = "1.0.0"
description = "An award has been paid."
source = "A test"
biz_type = "TEST_AWARD"
event_type = "FUNDING"

[[topics]]
name = "event.test-award"
key = "account key"
key_class = "personal"
cleanup = "delete"
retention_days = 30
promises = ["latency-derived", "retention-days", "order-account", "deduplication-event"]
"""
TIME = {"type": "long", "logicalType": "timestamp-micros"}
AMOUNT = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}
PAID_AT = "2026-01-31T09:30:00.123456789Z"


def award(event_id: str, account: str, amount: str = "0.300000000000000001") -> bytes:
    payload = {
        "account_id": account,
        "biz_type": "TEST_AWARD",
        "amount": amount,
        "shares": 100,
        "paid_at": PAID_AT,
        "note": "interim",
    }
    return envelope(event_id, "FUNDING", payload)


def copy_catalog(root: Path) -> None:
    """Copy the contracts to this folder."""
    for group in ("events", "state", "alerts", "internal"):
        shutil.copytree(Path(str(schemas.__file__)).parent / group, root / group)
    shutil.copy(Path(str(schemas.__file__)).parent / "promises.toml", root)


def catalog_with_awards(root: Path) -> Catalog:
    """Copy the contracts and add one."""
    copy_catalog(root)
    example = json.loads((root / "events/credit/schema.avsc").read_text(encoding="utf-8"))
    common = example["fields"][:7]
    extra = example["fields"][-1]
    own = [
        {"name": "amount", "type": AMOUNT, "class": "internal", "doc": "What was paid."},
        {"name": "shares", "type": ["null", "long"], "default": None, "class": "internal", "doc": "How many."},
        {"name": "paid_at", "type": TIME, "class": "internal", "doc": "When."},
        {
            "name": "paid_at_text",
            "type": "string",
            "from": "/payload/paid_at",
            "class": "internal",
            "doc": "When, as received.",
        },
    ]
    schema = {**example, "name": "TestAward", "doc": "An award has been paid.", "fields": [*common, *own, extra]}
    folder = root / "events/test-award"
    folder.mkdir()
    (folder / "contract.toml").write_text(CONTRACT, encoding="utf-8")
    (folder / "schema.avsc").write_text(json.dumps(schema), encoding="utf-8")
    return load_catalog(root)


def make(pipeline: Pipeline, catalog: Catalog) -> None:
    """Create the catalog's topics and register its schemas."""
    settings = pipeline.settings
    apply_topics(admin_client(settings), plan_topics(catalog, settings))
    open_registry(settings).register(desired_subjects(catalog, settings.topic_prefix))


def command_line(root: Path, *arguments: str) -> list[str]:
    """Arguments that run a command of `broker-events` with the catalog of this folder."""
    return [sys.executable, "-c", COMMAND, str(root), *arguments]


def router(pipeline: Pipeline, root: Path) -> Worker:
    """Start a router with the catalog of this folder."""
    arguments = command_line(root, "router", "--instance-id", "router-a", "--http-port", "0")
    return Worker(arguments, environment(pipeline.settings), pipeline.folder / "router-with-awards.log")
