"""An alert as a Kafka record: its value, and CloudEvents 1.0 attributes as headers (binary content mode). Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from broker_events.runtime.kafka.clients import Headers
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import Alert

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 (no offset in its text)


class AlertRecord(NamedTuple):
    """An alert, its value in the wire format and its headers."""

    alert: Alert
    value: bytes
    headers: Headers

    def size(self, key: bytes) -> int:
        """Return the bytes of its larger record: with `key` in alerts, or with `dedup_key` in alerts.active."""
        keys = len(key), len(self.alert["dedup_key"].encode())
        return len(self.value) + max(keys) + sum(len(name) + len(content or "") for name, content in self.headers)


class AlertWriter(NamedTuple):
    """Encodes alerts; `source`: see `alert_headers`."""

    codec: Codec[Alert]
    source: str

    def record(self, alert: Alert, trace: Headers) -> AlertRecord:
        """Encode an alert; `trace`: further headers."""
        return AlertRecord(alert, self.codec.encode(alert), alert_headers(alert, self.source) + trace)


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
