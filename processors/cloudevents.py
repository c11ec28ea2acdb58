"""CloudEvents 1.0 attributes of an alert as Kafka headers (Kafka protocol binding, binary content mode). Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from broker_events.schemas.storage_types import Alert

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 (no offset in its text)


def alert_headers(alert: Alert, source: str) -> list[tuple[str, str | bytes | None]]:
    """Return the headers of an alert record; `source`: URI reference of the pipeline, such as `/broker/projector`."""
    time = _EPOCH + timedelta(microseconds=alert["event_time"])
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", alert["alert_id"].encode()),
        ("ce_source", source.encode()),
        ("ce_type", f"broker.events.alert.{alert['rule']}.{alert['status']}".lower().encode()),
        ("ce_subject", alert["dedup_key"].encode()),
        ("ce_time", f"{time.isoformat(timespec='microseconds')}Z".encode()),
        ("ce_partitionkey", alert["account_key"].encode()),
        ("content-type", b"application/avro"),
    ]
