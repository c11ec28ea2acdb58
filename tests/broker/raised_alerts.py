"""Alerts of a test, written to alerts and alerts.active as a projector writes them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any

from pipeline_processes import Pipeline

from broker_events.processors.alert_record import alert_headers
from broker_events.runtime.kafka.partitioner import partition_for
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.schema_ids import resolve_schema_ids
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import Alert


def alert(account: str, status: str = "FIRING", *, market: str = "HK", at_us: int | None = None, **more: Any) -> Alert:
    """Return a LIQUIDATE_ONLY alert with an id of its own; `more` replaces fields."""
    at_us = time.time_ns() // 1000 if at_us is None else at_us
    alert_id = str(uuid.uuid4())
    found: dict[str, Any] = {
        "alert_id": alert_id,
        "rule": "LIQUIDATE_ONLY",
        "rule_version": 1,
        "status": status,
        "severity": "critical",
        "dedup_key": f"LIQUIDATE_ONLY/{account}/{market}",
        "account_key": account,
        "account_id": account,
        "account_number": None,
        "subject": market,
        "first_sight": False,
        "summary": f"account …{account[-4:]}: {market} liquidate only",
        "event_id": f"event-{alert_id}",
        "event_type": "ACCOUNT",
        "biz_type": "ACCOUNT_UPDATE",
        "event_time": at_us,
        "event_time_text": "2026-01-31T09:30:00Z",
        "source_topic": "broker.event.account-update",
        "source_partition": 0,
        "source_offset": 0,
        "restriction": {
            "code": f"{market}_STOCK_LIQUIDATE_ONLY",
            "restrictions": [f"{market}_STOCK_LIQUIDATE_ONLY"],
            "previous_restrictions": [],
            "fired_alert_id": alert_id,
            "since_event_id": f"event-{alert_id}",
            "since": at_us,
            "since_text": "2026-01-31T09:30:00Z",
            "duration_us": None if status == "FIRING" else 0,
        },
        "transfer": None,
    }
    names = Alert.__annotations__
    return dict.fromkeys(names) | found | more  # type: ignore[return-value]


def returned(account: str, **more: Any) -> Alert:
    """Return a TRANSFER_RETURNED alert, an occurrence."""
    subject = f"request-{uuid.uuid4().hex[:8]}"
    key = f"TRANSFER_RETURNED/{account}/{subject}"
    names = {"rule": "TRANSFER_RETURNED", "severity": "warning", "dedup_key": key, "subject": subject}
    return alert(account, **names | {"restriction": None, "biz_type": "TRANSFER"} | more)


class AlertTopics:
    """Writes alerts in transactions, conditions to alerts.active too."""

    def __init__(self, pipeline: Pipeline) -> None:
        catalog = load_catalog()
        schema_id = resolve_schema_ids(pipeline.settings, catalog)["alerts"]
        self._topic, self._active = pipeline.settings.topic("alerts"), pipeline.settings.topic("alerts.active")
        self._codec: Codec[Alert] = Codec(catalog.topics["alerts"][0], schema_id)
        self._partitions = pipeline.settings.partitions
        self._transaction = Transaction(pipeline.settings, f"{pipeline.settings.topic_prefix}.test-alerts")
        self._transaction.init()

    def write(self, alerts: Iterable[Alert]) -> None:
        """Write the alerts in one transaction."""
        self._transaction.begin()
        for each in alerts:
            value, key = self._codec.encode(each), each["account_key"]
            headers = alert_headers(each, "/test/projector")
            partition = partition_for(key.encode(), self._partitions)
            self._transaction.produce(self._topic, value, key, partition, headers)
            if each["restriction"] is not None:
                active = value if each["status"] == "FIRING" else None
                self._transaction.produce(self._active, active, each["dedup_key"], partition, headers)
        self._transaction.commit()
