"""Well-formed and malformed messages of the push stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_events.ingest.sources.event_push_pb2 import SubscribeResponse
from broker_events.ingest.sources.push_message import MessageKind, PushMessage, decode

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field of fewer than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


@given(st.integers(0, 9), TEXT, TEXT, TEXT, TEXT, TEXT, TEXT)
def test_every_field_arrives(
    kind: int, id_: str, event_type: str, position: str, time: str, version: str, payload: str
) -> None:
    data = SubscribeResponse(
        type=kind,  # type: ignore[arg-type]  # open enum: unknown numbers too
        id=id_,
        eventType=event_type,
        position=position,
        timestamp=time,
        version=version,
        payload=payload,
    ).SerializeToString()
    assert decode(data) == PushMessage(kind, id_, event_type, position, time, version, payload.encode())


def test_a_payload_that_is_not_utf8_arrives_as_it_is() -> None:
    data = b"\x08\x02" + field(2, b"e1") + field(3, b"FUND\xff") + field(4, b"p1") + field(7, b'{"a":"\xff"}')
    message = decode(data)
    assert message.kind is MessageKind.EVENT
    assert message.payload == b'{"a":"\xff"}'
    assert (message.id, message.event_type, message.position) == ("e1", "FUND\\xff", "p1")


@given(st.binary(max_size=60))
def test_no_bytes_break_it(data: bytes) -> None:
    message = decode(data)
    try:
        SubscribeResponse.FromString(data)
    except Exception:  # noqa: BLE001 (whatever protobuf has against it)
        assert message.payload in data


def test_what_is_not_protobuf_is_an_event_with_the_whole_message_as_payload() -> None:
    assert decode(b"<html>") == PushMessage(2, "", "", "", "", "", b"<html>")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (SubscribeResponse(), MessageKind.SUBSCRIBED),
        (SubscribeResponse(payload="welcome"), MessageKind.SUBSCRIBED),
        (SubscribeResponse(id="e1", payload="{}"), MessageKind.EVENT),
        (SubscribeResponse(eventType="ACCOUNT", payload="{}"), MessageKind.EVENT),
        (SubscribeResponse(payload='{"id": "e1"}'), MessageKind.EVENT),
        (SubscribeResponse(type=SubscribeResponse.Ping, id="p1"), MessageKind.PING),
        (SubscribeResponse(type=SubscribeResponse.Ping, id="p1", payload="pong"), MessageKind.PING),
        (SubscribeResponse(type=SubscribeResponse.Ping, id="e1", payload="{}"), MessageKind.EVENT),
        (SubscribeResponse(type=SubscribeResponse.Event), MessageKind.EVENT),
        (SubscribeResponse(type=SubscribeResponse.AuthError, id="e1", payload="{}"), MessageKind.REFUSED),
        (SubscribeResponse(type=SubscribeResponse.NumOfConnExceed), MessageKind.TOO_MANY_CONNECTIONS),
        (SubscribeResponse(type=SubscribeResponse.SubscribeExpired), MessageKind.EXPIRED),
        (SubscribeResponse(type=6), MessageKind.UNKNOWN),  # type: ignore[arg-type]
        (SubscribeResponse(type=6, id="e1", payload="{}"), MessageKind.EVENT),  # type: ignore[arg-type]
        (SubscribeResponse(type=6, payload="anything"), MessageKind.EVENT),  # type: ignore[arg-type]
    ],
)
def test_kinds(message: SubscribeResponse, kind: MessageKind) -> None:
    assert decode(message.SerializeToString()).kind is kind
