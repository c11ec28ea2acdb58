"""CloudEvents headers of an alert."""

from __future__ import annotations

import pytest

from broker_events.processors.alert_record import alert_headers
from broker_events.schemas.storage_types import Alert

ALERT: Alert = {
    "alert_id": "6261f28f-fc6c-59a7-817f-efdca5dc1481",
    "rule": "LIQUIDATE_ONLY",
    "rule_version": 1,
    "status": "RESOLVED",
    "severity": "critical",
    "dedup_key": "LIQUIDATE_ONLY/Konto-ä/HK",
    "account_key": "Konto-ä",
    "account_id": None,
    "account_number": None,
    "subject": "HK",
    "first_sight": False,
    "summary": "",
    "event_id": "e",
    "event_type": "ACCOUNT",
    "biz_type": "ACCOUNT_UPDATE",
    "event_time": 0,
    "event_time_text": "",
    "source_topic": "",
    "source_partition": 0,
    "source_offset": 0,
    "restriction": None,
    "transfer": None,
    "condition": None,
    "movement": None,
}


def headers(alert: Alert) -> dict[str, str]:
    pairs = alert_headers(alert, "/broker/projector")
    assert len(dict(pairs)) == len(pairs)
    return {name: value.decode() for name, value in pairs if isinstance(value, bytes)}


def test_attributes() -> None:
    """CloudEvents 1.0: the required ones, and those that consumers filter by, prefixed as the Kafka binding says."""
    assert headers(ALERT) == {
        "ce_specversion": "1.0",
        "ce_id": "6261f28f-fc6c-59a7-817f-efdca5dc1481",
        "ce_source": "/broker/projector",
        "ce_type": "broker.events.alert.liquidate_only.resolved",
        "ce_subject": "LIQUIDATE_ONLY/Konto-ä/HK",
        "ce_time": "1970-01-01T00:00:00.000000Z",
        "ce_partitionkey": "Konto-ä",
        "content-type": "application/avro",
    }


@pytest.mark.parametrize(
    ("micros", "expected"),
    [
        (1, "1970-01-01T00:00:00.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_769_851_800_123_456, "2026-01-31T09:30:00.123456Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
        (-62_135_596_800_000_000, "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_time_has_every_microsecond(micros: int, expected: str) -> None:
    assert headers({**ALERT, "event_time": micros})["ce_time"] == expected
