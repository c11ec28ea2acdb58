"""What a quarantine record says of its event: id and types, wherever they can be read."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from broker_events.runtime.quarantine.writer import Quarantine
from broker_events.runtime.settings import Settings
from broker_events.schemas.invalid_event import InvalidEvent, Reason

NOTHING = (None, None, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"id":"e1","event_type":"F","payload":{"biz_type":"C","amount":"x"}}', ("e1", "F", "C")),
        (b'{"id":"e1","event_type":"F","payload":{"biz_type":"C","amount":1e999}}', ("e1", "F", "C")),
        (b'{"id":1e999,"event_type":"F","payload":{"biz_type":1}}', (None, "F", None)),
        (b'{"id":"e1","payload":[1e999]}', ("e1", None, None)),
        (b'{"id":"e1",', NOTHING),
        (b"[1e999]", NOTHING),
        (None, NOTHING),
    ],
)
def test_id_and_types(value: bytes | None, expected: tuple[str | None, ...]) -> None:
    codec: Any = Mock()
    record: Any = Mock(**{"headers.return_value": [], "timestamp.return_value": (1, 1), "value.return_value": value})
    Quarantine(Settings(), "router", codec, Mock(), Mock()).put(Mock(), record, InvalidEvent(Reason.BAD_AMOUNT, ""))
    event = codec.encode.call_args.args[0]
    assert (event["event_id"], event["event_type"], event["biz_type"]) == expected
