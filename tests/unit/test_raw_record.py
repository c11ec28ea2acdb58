"""Raw records keep every byte of the event as received."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_events.ingest.raw_record import RawRecord, iso_micros, to_raw, wrap
from broker_events.ingest.sources.source import Received

AT = 1_767_225_600_000_001  # 2026-01-01T00:00:00.000001Z
INNER = b'{ "account_id": "A1", "amount": 1.10, "biz_type":"CREDIT", "amount": 2.20 }'
WHOLE = (
    b'{"id":"e1","event_type":"FUNDING","position":"p1","timestamp":"2026-01-01T00:00:00Z", "payload": ' + INNER + b"}"
)


def message(payload: bytes, **fields: Any) -> Received:
    return Received(payload, AT, "e1", "FUNDING", "p1", "2026-01-01T00:00:00Z")._replace(**fields)


def header(record: RawRecord, name: str) -> str | None:
    values = [value for found, value in record.headers if found == name]
    assert len(values) <= 1, f"header {name} is there {len(values)} times"
    return values[0].decode() if values and isinstance(values[0], bytes) else None


def test_a_whole_envelope_is_kept_as_received() -> None:
    record = to_raw(message(WHOLE), "grpc")
    assert record.value == WHOLE
    assert record.key == "A1"
    assert dict(record.headers) == {
        "source": b"grpc",
        "received_at": b"2026-01-01T00:00:00.000001Z",
        "event_id": b"e1",
        "event_type": b"FUNDING",
        "biz_type": b"CREDIT",
        "position": b"p1",
    }


def test_a_line_of_a_file_needs_no_fields_beside_it() -> None:
    assert to_raw(Received(WHOLE, AT), "file") == to_raw(message(WHOLE), "file")


def test_an_inner_payload_gets_an_envelope_of_the_messages_fields() -> None:
    record = to_raw(message(INNER, version='1"0'), "grpc")
    assert record.value == (
        b'{"id":"e1","event_type":"FUNDING","position":"p1","timestamp":"2026-01-01T00:00:00Z","version":"1\\"0","payload":'
        + INNER
        + b"}"
    )
    assert record.key == "A1"
    assert header(record, "biz_type") == "CREDIT"
    assert header(record, "version") == '1"0'


def test_a_position_and_version_that_are_empty_are_left_out() -> None:
    record = to_raw(message(INNER, position="", version=""), "grpc")
    assert list(json.loads(record.value)) == ["id", "event_type", "timestamp", "payload"]
    assert header(record, "position") is None


def test_the_envelopes_own_fields_win_over_the_messages() -> None:
    record = to_raw(message(WHOLE, event_id="other", event_type="ACCOUNT", position="other"), "grpc")
    assert (record.event_id, record.event_type, record.position) == ("e1", "FUNDING", "p1")


def test_a_payload_that_has_an_event_type_of_its_own_is_still_a_payload() -> None:
    dividend = message(b'{"biz_type":"CA_EVENT","event_type":"DIVIDEND"}', event_type="INSTRUMENT")
    record = to_raw(dividend, "grpc")
    assert record.value == wrap(dividend)
    assert header(record, "event_type") == "INSTRUMENT"


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        (b'{"account_id":"a","account":"b","account_number":"c"}', "a"),
        (b'{"account_id":"","account":"b","contra_account":"x"}', "b"),
        (b'{"account_id":null,"account_number":"c"}', "c"),
        (b'{"client_request_id":"d"}', "d"),
        (b'{"contra_account":"x"}', None),
        (b'{"account_id":7}', None),
        ('{"account_id":"帳"}'.encode(), "帳"),
        (b'{"account_id":"a","amount":1e999}', "a"),
    ],
)
def test_the_key_is_the_account(payload: bytes, key: str | None) -> None:
    record = to_raw(message(payload), "grpc")
    assert record.key == key
    assert header(record, "error") is None


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "no_value"),
        (b"not json", "not_json"),
        (b'{"id":"e1"', "not_json"),
        (b'{"a":NaN}', "not_json"),
        (b'{"a":"\\ud800"}', "not_json"),
        (b'{"a":"\xff"}', "not_utf8"),
        (b"[1]", "no_envelope"),
        (b'"text"', "no_envelope"),
        (b"null", "no_envelope"),
        (b'{"event_type":"FUNDING","payload":null}', "no_payload"),
        (b'{"event_type":"FUNDING","payload":"{}"}', "no_payload"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep"),
    ],
)
def test_what_has_no_usable_envelope_is_kept_with_all_that_came_with_it(payload: bytes, reason: str) -> None:
    record = to_raw(message(payload, version="v7"), "grpc")
    assert record.value == payload
    assert record.key is None
    assert (header(record, "error") or "").split(":")[0] == reason
    assert {name: header(record, name) for name in ("event_id", "event_type", "position", "timestamp", "version")} == {
        "event_id": "e1",
        "event_type": "FUNDING",
        "position": "p1",
        "timestamp": "2026-01-01T00:00:00Z",
        "version": "v7",
    }


def test_an_object_without_an_event_type_anywhere_is_no_event() -> None:
    record = to_raw(Received(INNER, AT), "file")
    assert record.value == INNER
    assert record.key is None
    assert (header(record, "error") or "").startswith("no_envelope")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
encodable = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    members=st.dictionaries(st.text(), json_values, max_size=6),
    ascii_only=st.booleans(),
    indent=st.none() | st.integers(0, 3),
    event_id=encodable,
    event_type=encodable.filter(bool),
    version=encodable,
)
def test_the_inner_text_is_inside_unchanged(
    *, members: dict[str, object], ascii_only: bool, indent: int | None, event_id: str, event_type: str, version: str
) -> None:
    text = json.dumps(members, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    record = to_raw(message(text, event_id=event_id, event_type=event_type, version=version), "grpc")
    if header(record, "error") or ("event_type" in members and "payload" in members):
        assert record.value == text
        return
    assert record.value.endswith(b',"payload":' + text + b"}")
    envelope = json.loads(record.value)
    assert envelope["payload"] == members
    assert (envelope["id"], envelope["event_type"], envelope.get("version", "")) == (event_id, event_type, version)


@given(payload=st.binary(max_size=200), event_type=encodable)
def test_any_bytes_whatever_become_a_record_that_holds_them(payload: bytes, event_type: str) -> None:
    assert payload in to_raw(message(payload, event_type=event_type), "grpc").value


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_709_251_199_999_999, "2024-02-29T23:59:59.999999Z"),
        (AT, "2026-01-01T00:00:00.000001Z"),
    ],
)
def test_times_are_utc_with_microseconds(micros: int, text: str) -> None:
    assert iso_micros(micros) == text


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_the_trace_context_that_came_is_kept_as_a_header() -> None:
    traced = WHOLE.replace(b'"payload"', f'"traceparent":"{TRACE}","payload"'.encode())
    record = to_raw(message(traced), "grpc")
    assert record.value == traced
    assert header(record, "traceparent") == TRACE


@pytest.mark.parametrize(
    "value",
    [
        WHOLE,
        WHOLE.replace(b'"account_id"', f'"traceparent":"{TRACE}","account_id"'.encode()),  # the payload's own business
        INNER.replace(b'"account_id"', f'"traceparent":"{TRACE}","account_id"'.encode()),
        WHOLE.replace(b'"payload"', b'"traceparent":"","payload"'),
        WHOLE.replace(b'"payload"', b'"traceparent":1,"payload"'),
        WHOLE.replace(b'"payload"', f'"traceparent":"{TRACE.upper()}","payload"'.encode()),
        WHOLE.replace(b'"payload"', f'"traceparent":"ff{TRACE[2:]}","payload"'.encode()),
        WHOLE.replace(b'"payload"', f'"traceparent":"00-{"0" * 32}-{TRACE[36:]}","payload"'.encode()),
        WHOLE.replace(b'"payload"', f'"traceparent":"{TRACE}\\n","payload"'.encode()),
    ],
)
def test_no_trace_context_is_made_up(value: bytes) -> None:
    assert header(to_raw(message(value), "grpc"), "traceparent") is None


def test_a_simulated_event_says_so_in_a_header_and_in_the_envelope_that_it_gets() -> None:
    wrapped = to_raw(message(INNER, simulated=True), "grpc")
    assert wrapped.value.endswith(b',"simulated":true,"payload":' + INNER + b"}")
    assert header(wrapped, "simulated") == "true"
    for unusable in (b"{", WHOLE):
        record = to_raw(message(unusable, simulated=True), "grpc")
        assert (record.value, header(record, "simulated")) == (unusable, "true")


def test_an_envelope_that_says_it_is_simulated_needs_no_stream_that_does() -> None:
    marked = WHOLE.replace(b'"payload"', b'"simulated":true,"payload"')
    assert header(to_raw(message(marked), "file"), "simulated") == "true"
    for other in (WHOLE, marked.replace(b"true", b"false"), INNER.replace(b"{", b'{"simulated":true,', 1)):
        assert header(to_raw(message(other), "file"), "simulated") is None


def test_its_size_counts_what_key_and_headers_quote() -> None:
    account, event_id = b"A" * 3000, "ü".encode() * 500
    record = to_raw(message(WHOLE.replace(b"A1", account).replace(b"e1", event_id)), "grpc")
    assert record.size > len(record.value) + len(account) + len(event_id)
