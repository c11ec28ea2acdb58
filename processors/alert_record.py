"""An alert as a Kafka record. Pure."""

from __future__ import annotations

from typing import NamedTuple

from broker_events.processors.cloudevents import alert_headers
from broker_events.runtime.kafka.clients import Headers
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import Alert


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
