"""The time of a raw record: only none at all is quarantined, whatever this machine's clock says."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import Mock

import pytest
from test_audit_reconciliation import Rec

from broker_events.processors.router import Router
from broker_events.processors.routing import Routing
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.events.duplicate_window import duplicate_window
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import RAW, load_catalog
from broker_events.schemas.invalid_event import Reason

CATALOG = load_catalog()
EVENT = (
    b'{"id":"e","event_type":"FUNDING","timestamp":"2026-01-01T00:00:00Z","payload":{"biz_type":"CREDIT",'
    b'"account_id":"ACC","amount":"1","currency":"USD","status":"COMPLETED"}}'
)
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("at_ms", "is_typed"),
    [(-HOUR_MS, True), (HOUR_MS, True), (48 * HOUR_MS, True), (None, False)],
)
def test_a_record_ahead_of_this_machines_clock(at_ms: int | None, is_typed: bool) -> None:  # noqa: FBT001 (expected by the case)
    settings = Settings()
    routing = Routing(CATALOG.events, dict.fromkeys(CATALOG.topics, 7), settings.topic, 10**7)
    quarantine, transaction = Mock(), Mock(**{"writer.return_value": None})
    router = Router(routing, Mock(), quarantine, transaction, Mock(), Mock())
    router._windows = {0: duplicate_window(10)}
    time_ms = 0 if at_ms is None else round(time.time() * 1000) + at_ms
    record: Any = Rec(3, EVENT, settings.topic(RAW), timestamp_=time_ms)
    batch: Any = Mock(partitions={TopicPartition(settings.topic(RAW), 0): [record]})
    router.process(batch)
    assert transaction.produce.called == is_typed
    if not is_typed:
        assert quarantine.put.call_args.args[2].reason is Reason.BAD_TIME
        assert router._windows[0].body("e") is None
