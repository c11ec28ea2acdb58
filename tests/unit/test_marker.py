"""The marker of an event that no raw record can hold: bounded, never typed, and it locates the event."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_events.ingest.marker import to_marker
from broker_events.ingest.raw_record import RawRecord
from broker_events.ingest.sources.source import Received
from broker_events.runtime.events.pushed_event import parse_event
from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.oversized import marked

AT = 1_767_225_600_000_001
ENVELOPE = (
    b'{"id":"e1","event_type":"FUNDING","position":"p1","timestamp":"2026-01-01T00:00:00Z",'
    b'"payload":{"biz_type":"CREDIT","account_id":"A1","text":"'
)
LARGE = ENVELOPE + b"x" * 9_000_000 + b'"}}'
INNER = b'{"account_id":"A1","biz_type":"CREDIT","id":"not of the envelope","text":"' + b"x" * 9_000_000 + b'"}'


def headers_of(record: RawRecord) -> dict[str, bytes]:
    return {name: value for name, value in record.headers if isinstance(value, bytes)}


def test_it_says_what_the_event_was() -> None:
    record = to_marker(Received(LARGE, AT), "grpc", 8_000_000)
    digest = hashlib.sha256(LARGE).hexdigest()
    assert record.key == "A1"
    assert (record.event_id, record.event_type, record.biz_type, record.position) == ("e1", "FUNDING", "CREDIT", "p1")
    headers = headers_of(record)
    assert headers["content_bytes"] == b"%d" % len(LARGE)
    assert headers["content_sha256"] == digest.encode()
    assert headers["error"].startswith(b"too_large: %d bytes, SHA-256 " % len(LARGE))
    value = json.loads(record.value)
    assert value["too_large"].pop("begins").startswith('{"id":"e1"')
    assert value == {
        "id": "e1",
        "event_type": "FUNDING",
        "position": "p1",
        "timestamp": "2026-01-01T00:00:00Z",
        "too_large": {"bytes": len(LARGE), "sha256": digest},
    }
    problem = marked(list(headers.items()))
    assert problem is not None
    assert problem.reason is Reason.TOO_LARGE
    assert digest in problem.detail


def test_an_inner_payload_has_the_messages_fields() -> None:
    record = to_marker(Received(INNER, AT, "e1", "FUNDING", "p1", "t", "2"), "grpc", 8_000_000)
    assert record.key == "A1"
    assert (record.event_id, record.event_type, record.biz_type, record.position) == ("e1", "FUNDING", "CREDIT", "p1")
    assert headers_of(record)["version"] == b"2"


def test_a_line_of_a_file_names_the_line() -> None:
    received = Received(ENVELOPE, AT, file="/data/a.ndjson", line=17, whole=(9_000_000, "ab" * 32))
    record = to_marker(received, "file", 8_000_000)
    assert (headers_of(record)["file"], headers_of(record)["line"]) == (b"/data/a.ndjson", b"17")
    assert "line 17 of /data/a.ndjson" in headers_of(record)["error"].decode()
    assert json.loads(record.value)["too_large"] | {"begins": ""} == {
        "bytes": 9_000_000,
        "sha256": "ab" * 32,
        "file": "/data/a.ndjson",
        "line": 17,
        "begins": "",
    }


@pytest.mark.parametrize(
    "payload",
    [
        b'{"id":"e1","event_type":"FUNDING","payload":{"text":"' + b"x" * 9_000_000 + b'","account_id":"A"}}',
        b"x" * 9_000_000,
        b"[" * 9_000_000,
        b'{"payload":' * 900_000,
        b'{"a":' + b"9" * 9_000_000,
        b"",
    ],
    ids=["account_id behind 64 KiB", "no JSON", "nested", "nested objects", "number", "empty"],
)
def test_what_cannot_be_read_within_bounds_is_left_out(payload: bytes) -> None:
    record = to_marker(Received(payload, AT), "grpc", 8_000_000)
    assert record.key is None
    assert record.size < 20_000


@pytest.mark.parametrize("field", ["event_id", "event_type", "position", "timestamp", "version"])
def test_no_field_makes_a_marker_large(field: str) -> None:
    fields: dict[str, Any] = {field: "x" * 9_000_000}
    assert to_marker(Received(b"{}", AT)._replace(**fields), "grpc", 8_000_000).size < 20_000


@given(st.binary(max_size=300), st.integers(0, 400))
def test_whatever_the_bytes_are_it_is_a_marker_and_never_an_event(noise: bytes, cut: int) -> None:
    for payload in (noise, ENVELOPE[:cut] + noise):
        record = to_marker(Received(payload, AT), "grpc", 8_000_000)
        assert marked([*headers_of(record).items()]) is not None
        with pytest.raises(InvalidEvent):
            parse_event(record.value)


def test_other_headers_are_no_marker() -> None:
    assert marked([("error", b"not_json: x")]) is None
    assert marked(None) is None
