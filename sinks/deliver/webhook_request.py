"""A webhook request: the alert as JSON, its CloudEvents attributes as `ce-` headers, and the signature. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import quote

from broker_events.runtime.consume.record import KEPT
from broker_events.runtime.events.record_json import json_line
from broker_events.schemas.models import Alert

_CLOUD_EVENTS: Final = "ce_"
# CloudEvents, HTTP binding 3.1.3.2: what is not printable ASCII, and space, quote and percent, are percent-encoded.
_SAFE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
# Most servers refuse a header line above 8,190 bytes. An id in ce_subject may be longer; the body has it whole.
_MOST_CHARS: Final = 1024


class WebhookRequest(NamedTuple):
    """The parts of a request that every attempt has in common."""

    alert_id: str
    body: str
    headers: dict[str, str]


def webhook_request(alert: Alert, headers: Iterable[tuple[str, bytes | None]]) -> WebhookRequest:
    """Return the request of an alert; `headers` are those of its record, of which long ones are left out."""
    sent = {"content-type": "application/json"}
    for name, value in headers:
        text = quote((value or b"").decode("utf-8", "replace"), safe=_SAFE)
        if len(text) > _MOST_CHARS:
            continue
        if name.startswith(_CLOUD_EVENTS):
            sent[name.replace("_", "-")] = text
        elif name in KEPT:
            sent[name] = text
    return WebhookRequest(alert.alert_id, json_line(alert.model_dump()), sent)
