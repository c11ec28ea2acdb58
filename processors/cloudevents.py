"""CloudEvents 1.0 attributes of an alert as Kafka headers (Kafka protocol binding, binary content mode). Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.records import Alert

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def alert_headers(alert: Alert, source: str) -> list[tuple[str, str | bytes | None]]:
    """Headers of an alert record; `source` is the URI reference of the pipeline, such as `/broker/projector`."""
    time = _EPOCH + timedelta(microseconds=alert["event_time"])
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": alert["alert_id"],
        "ce_source": source,
        "ce_type": f"broker.events.alert.{alert['rule']}.{alert['status']}".lower(),
        "ce_subject": alert["dedup_key"],
        "ce_time": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "ce_partitionkey": alert["account_key"],
        "content-type": "application/avro",
    }
    return [(name, value.encode()) for name, value in attributes.items()]
