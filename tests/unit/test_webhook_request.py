"""The headers of a webhook: CloudEvents attributes in ASCII, none longer than servers take."""

from __future__ import annotations

from typing import Any

from broker_events.schemas.models import Alert
from broker_events.sinks.deliver.webhook_request import webhook_request


def request_of(*headers: tuple[str, bytes]) -> dict[str, str]:
    members: dict[str, Any] = dict.fromkeys(Alert.model_fields) | {"alert_id": "id-1"}
    return webhook_request(Alert.model_construct(**members), headers).headers


def test_attributes_are_percent_encoded_headers() -> None:
    assert request_of(("ce_id", b"1"), ("ce_subject", "RULE/\u00e9 %/HK".encode()), ("event_id", b"x")) == {
        "content-type": "application/json",
        "ce-id": "1",
        "ce-subject": "RULE/%C3%A9%20%25/HK",
    }


def test_a_header_that_a_server_would_refuse_is_left_out() -> None:
    assert "ce-subject" not in request_of(("ce_subject", "\U0010ffff".encode() * 100))
    assert "ce-subject" in request_of(("ce_subject", b"s" * 1024))
