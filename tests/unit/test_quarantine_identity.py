"""What a quarantine record says of its event: id and types, wherever they can be read."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.process.health import Health
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.quarantine.writer import Quarantine
from broker_events.runtime.settings import Settings
from broker_events.schemas.invalid_event import InvalidEvent, Reason

NOTHING = (None, None, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"id":"e1","event_type":"F","payload":{"biz_type":"C","amount":"x"}}', ("e1", "F", "C")),
        (b'{"id":"e1","event_type":"F","payload":{"biz_type":"C","amount":1e999}}', ("e1", "F", "C")),
        (b'{"id":1e999,"event_type":"F","payload":{"biz_type":1}}', (None, "F", None)),
        (b'{"id":"e1","payload":[1e999]}', ("e1", None, None)),
        (b'{"id":"e1",', NOTHING),
        (b"[1e999]", NOTHING),
        (None, NOTHING),
    ],
)
def test_id_and_types(value: bytes | None, expected: tuple[str | None, ...]) -> None:
    codec: Any = Mock()
    record: Any = Mock(**{"headers.return_value": [], "timestamp.return_value": (1, 1), "value.return_value": value})
    quarantine = Quarantine(Settings(), "router", codec, Mock(), Mock(), {})
    quarantine.put(Mock(), record, InvalidEvent(Reason.BAD_AMOUNT, ""))
    event = codec.encode.call_args.args[0]
    assert (event["event_id"], event["event_type"], event["biz_type"]) == expected


@pytest.mark.parametrize(
    ("topic", "value", "label"),
    [
        ("raw", b'{"id":"e1","payload":{"biz_type":"ACCOUNT_UPDATE"}}', "ACCOUNT_UPDATE"),
        ("raw", b'{"id":"e1","payload":{"biz_type":"made up, by millions"}}', "other"),
        ("raw", b"not JSON", "other"),
        ("event.account-update", b"\0Avro", "ACCOUNT_UPDATE"),
    ],
)
def test_the_counter_names_a_biz_type_of_the_catalog_alone(topic: str, value: bytes, label: str) -> None:
    metrics, codec = Metrics(), Mock()
    record: Any = Mock(
        **{"headers.return_value": [], "timestamp.return_value": (1, 1), "value.return_value": value},
        **{"topic.return_value": topic, "partition.return_value": 0, "offset.return_value": 7},
    )
    biz_types = {"event.account-update": "ACCOUNT_UPDATE", "event.credit": "CREDIT"}
    quarantine = Quarantine(Settings(), "router", codec, metrics, Health(), biz_types)
    counted = {"stage": "router", "reason": "bad_amount", "biz_type": label}
    assert metrics.registry.get_sample_value("broker_events_quarantined_total", counted) == 0
    quarantine.put(Mock(), record, InvalidEvent(Reason.BAD_AMOUNT, ""))
    quarantine.end_batch({TopicPartition(topic, 0): [record]})
    quarantine.after_commit()
    assert metrics.registry.get_sample_value("broker_events_quarantined_total", counted) == 1
    shown = {
        sample.labels["biz_type"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "broker_events_quarantined_total"
    }
    assert shown == {"ACCOUNT_UPDATE", "CREDIT", "other"}
