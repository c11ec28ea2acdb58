"""From bytes to the envelope, and to the account that it is about."""

import json
from typing import Any

import pytest

from broker_events.runtime.events.account_key import account_key
from broker_events.runtime.events.lossless_json import Number, parse
from broker_events.runtime.events.pushed_event import check_envelope, parse_event
from broker_events.schemas.invalid_event import InvalidEvent, Reason

EVENT: dict[str, Any] = {"id": "1", "event_type": "TEST", "timestamp": "whenever", "payload": {"a": 1}}


def test_an_envelope_passes_with_what_else_it_has() -> None:
    event = {**EVENT, "version": [1.5]}
    encoded = json.dumps(event).encode()
    assert parse_event(encoded) == parse(encoded)


def without(member: str) -> dict[str, Any]:
    return {name: value for name, value in EVENT.items() if name != member}


@pytest.mark.parametrize(
    ("value", "reason", "pointer"),
    [
        (None, Reason.NO_VALUE, ""),
        (b"", Reason.NO_VALUE, ""),
        (b"\xff", Reason.NOT_UTF8, ""),
        (b'{"id":"\xff"}', Reason.NOT_UTF8, ""),
        (b"{", Reason.NOT_JSON, ""),
        (b'{"id":"\\ud800"}', Reason.NOT_JSON, ""),
        (b"[" * 5000 + b"]" * 5000, Reason.TOO_DEEP, ""),
        (b"[]", Reason.NO_ENVELOPE, ""),
        (b"null", Reason.NO_ENVELOPE, ""),
        (b'"payload"', Reason.NO_ENVELOPE, ""),
        (without("id"), Reason.NO_ENVELOPE, "/id"),
        (without("event_type"), Reason.NO_ENVELOPE, "/event_type"),
        (without("timestamp"), Reason.NO_ENVELOPE, "/timestamp"),
        ({**EVENT, "id": 7}, Reason.WRONG_TYPE, "/id"),
        ({**EVENT, "event_type": None}, Reason.WRONG_TYPE, "/event_type"),
        ({**EVENT, "timestamp": 1743231753}, Reason.WRONG_TYPE, "/timestamp"),
        ({**EVENT, "id": ""}, Reason.EMPTY_ID, "/id"),
        (without("payload"), Reason.NO_PAYLOAD, "/payload"),
        ({**EVENT, "payload": None}, Reason.NO_PAYLOAD, "/payload"),
        ({**EVENT, "payload": []}, Reason.NO_PAYLOAD, "/payload"),
        ({**EVENT, "payload": '{"a":1}'}, Reason.NO_PAYLOAD, "/payload"),
    ],
)
def test_what_is_no_envelope_has_a_reason(value: Any, reason: Reason, pointer: str) -> None:
    encoded = json.dumps(value).encode() if isinstance(value, dict) else value
    with pytest.raises(InvalidEvent) as caught:
        parse_event(encoded)
    assert (caught.value.reason, caught.value.pointer) == (reason, pointer)
    if isinstance(value, dict):
        with pytest.raises(InvalidEvent) as again:
            check_envelope(parse(encoded).root)
        assert str(again.value) == str(caught.value)


def test_a_number_that_no_float_can_hold_is_no_reason_to_refuse_an_event() -> None:
    event = parse_event(b'{"id":"1","event_type":"TEST","timestamp":"t","payload":{"a":1e999,"b":1}}')
    assert event.root["payload"] == {"a": Number("1e999"), "b": Number("1")}


def test_a_payload_nested_deeper_than_we_read_is_too_deep_or_passes_but_does_not_crash() -> None:
    for depth in (10, 900, 990, 1020, 1030, 100_000):
        value = b'{"id":"1","event_type":"T","timestamp":"t","payload":{"a":%s}}' % (b"[" * depth + b"]" * depth)
        try:
            parse_event(value)
        except InvalidEvent as problem:
            assert problem.reason is Reason.TOO_DEEP  # noqa: PT017  (it need not be raised)


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        ({"account_id": "a", "account": "b", "account_number": "c", "client_request_id": "d"}, "a"),
        ({"account_id": "", "account": "b", "account_number": "c"}, "b"),
        ({"account_id": None, "account": 5, "account_number": "c"}, "c"),
        ({"contra_account": "x", "client_request_id": "d"}, "d"),
        ({"account_id": ["a"], "contra_account": "x"}, None),
        ({}, None),
    ],
)
def test_the_account_key_is_the_first_text_that_names_the_account(payload: dict[str, Any], key: str | None) -> None:
    assert account_key(payload) == key
