"""What a replay writes and previews, without Kafka."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import Mock

import pytest

from broker_events.cli.quarantine_records import Choice
from broker_events.processors.replay_preview import DUPLICATE, ReplayPreview
from broker_events.processors.routing import Routing
from broker_events.runtime.quarantine.replay import Quarantined, is_too_large, replay_headers
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.headers import raw_offset
from broker_events.schemas.models import Header, QuarantinedEvent

CATALOG = load_catalog()


def event(event_id: str = "e-1", *, biz_type: str = "CREDIT", amount: str = "1.50") -> bytes:
    payload = {"account": "ACC-1", "biz_type": biz_type, "status": "COMPLETED", "amount": amount, "currency": "USD"}
    at = "2026-01-31T09:30:00Z"
    members = {"client_request_id": event_id} | payload
    return json.dumps({"id": event_id, "event_type": "FUNDING", "timestamp": at, "payload": members}).encode()


def refused(value: bytes | None, **members: Any) -> QuarantinedEvent:
    common = {"reason": "unknown_biz_type", "stage": "router", "topic": "broker.raw", "partition": 3, "offset": 17}
    return QuarantinedEvent.model_validate(
        common | {"key": b"ACC-1", "value": value, "headers": (), "worker": "router/0"} | members
    )


def quarantined(at: int = 1000, **members: Any) -> Quarantined:
    place = {"topic.return_value": "broker.quarantine", "partition.return_value": 3, "offset.return_value": 40}
    record: Any = Mock(**place, **{"timestamp.return_value": (1, at)})
    return Quarantined(record, refused(b"x", **members))


def test_headers_of_the_first_replay() -> None:
    original = (Header(name="source", value=b"\xff"), Header(name="source"), Header(name="position", value=b"p"))
    assert replay_headers(quarantined(headers=original), "run-2") == [
        ("source", b"\xff"),
        ("source", None),
        ("position", b"p"),
        ("recovered_from", b"broker.quarantine/3/40"),
        ("recovery_id", b"run-2"),
        ("raw_offset", b"17"),
    ]


def test_a_later_replay_replaces_what_an_earlier_one_has_added() -> None:
    names = ("recovered_from", "source", "recovery_id", "raw_offset")
    again = quarantined(headers=tuple(Header(name=name, value=b"old") for name in names), offset=99)
    headers = replay_headers(again, "run-2")
    assert [name for name, _ in headers] == ["source", "recovered_from", "recovery_id", "raw_offset"]
    assert raw_offset([(name, value) for name, value in headers if isinstance(value, bytes)]) == 99


def test_a_record_needs_room_for_the_headers() -> None:
    assert not is_too_large(refused(b"x" * 8000), 10_000)
    assert is_too_large(refused(b"x" * 9000), 10_000)
    assert is_too_large(refused(b"x" * 8000, headers=(Header(name="h", value=b"x" * 1000),)), 10_000)
    assert not is_too_large(refused(None, key=None), 1024)


@pytest.fixture
def preview() -> ReplayPreview:
    routing = Routing(CATALOG.events, dict.fromkeys(CATALOG.topics, 1), "broker.{}".format, 1000)
    return ReplayPreview(routing, 100)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"value": event()}, "typed into broker.event.credit"),
        ({"value": event(amount="1e20")}, "rejected again: bad_amount"),
        ({"value": event(biz_type="NO_SUCH_TYPE")}, "rejected again: unknown_biz_type"),
        ({"value": event(), "key": None}, "rejected again: no_account"),
        ({"value": event(), "reason": "id_conflict"}, "rejected again: id_conflict"),
        ({"value": event()[:-1] + b',"more":"' + b"x" * 1000 + b'"}'}, "rejected again: too_large"),
        ({"value": None}, "rejected again: no_value"),
    ],
)
def test_what_would_become_of_a_record(preview: ReplayPreview, members: dict[str, Any], expected: str) -> None:
    assert preview.of(refused(**members)) == expected


def test_an_event_that_was_rejected_twice_is_typed_once(preview: ReplayPreview) -> None:
    twice = [refused(event(), offset=offset) for offset in (17, 18)]
    assert [preview.of(each) for each in twice] == ["typed into broker.event.credit", DUPLICATE]
    assert preview.of(refused(event(amount="2"), offset=19)) == "rejected again: id_conflict"
    assert preview.of(refused(event(), partition=4)) == "typed into broker.event.credit", "windows are by partition"


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        (Choice(), True),
        (Choice(reason="unknown_biz_type", account="ACC-1", biz_type="A", event_id="e", since=1000, until=1001), True),
        (Choice(reason="bad_amount"), False),
        (Choice(biz_type="B"), False),
        (Choice(account="ACC-2"), False),
        (Choice(event_id="f"), False),
        (Choice(since=1001), False),
        (Choice(until=1000), False),
    ],
)
def test_every_option_narrows_the_choice(choice: Choice, taken: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    assert choice.takes(quarantined(biz_type="A", event_id="e")) == taken


def test_a_renamed_reason_finds_its_older_records() -> None:
    former = quarantined(reason="unforeseen")
    assert Choice(reason="internal_error").takes(former)
    assert not Choice(reason="bad_amount").takes(former)
