"""A defect's message goes into the quarantine record, whatever it is."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from broker_events.runtime.quarantine.writer import internal_error
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.invalid_event import Reason
from broker_events.schemas.storage_types import QuarantinedEvent


@pytest.mark.parametrize("text", ["half a pair \ud800", "x" * 10_000_000])
def test_it_can_be_written(text: str) -> None:
    record: Any = Mock(**{"topic.return_value": "raw", "partition.return_value": 0, "offset.return_value": 0})
    problem = internal_error(record, ValueError(text))
    assert problem.reason is Reason.INTERNAL_ERROR
    quarantined: QuarantinedEvent = {
        "reason": problem.reason.value,
        "stage": "router",
        "detail": problem.detail,
        "pointer": "",
        "topic": "raw",
        "partition": 0,
        "offset": 0,
        "timestamp": 0,
        "key": None,
        "value": None,
        "headers": [],
        "event_id": None,
        "event_type": None,
        "biz_type": None,
        "worker": "w",
        "recovered_from": None,
        "recovery_id": None,
    }
    codec: Codec[QuarantinedEvent] = Codec(load_catalog().contracts["quarantined-event"], 7)
    assert len(codec.encode(quarantined)) < 2000
