"""Decodes a message of the push stream without loss, and classifies it.

Source: the brokerage's Event Subscription Guide.
"""

from enum import Enum, auto
from typing import Final, NamedTuple

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from broker_events.ingest.sources.event_push_pb2 import SubscribeResponse

_EVENT: Final = int(SubscribeResponse.Event)


class MessageKind(Enum):
    SUBSCRIBED = auto()
    PING = auto()
    EVENT = auto()
    REFUSED = auto()
    TOO_MANY_CONNECTIONS = auto()
    EXPIRED = auto()
    UNKNOWN = auto()


_KINDS: Final = {
    int(SubscribeResponse.SubscribeSuccess): MessageKind.SUBSCRIBED,
    int(SubscribeResponse.Ping): MessageKind.PING,
    _EVENT: MessageKind.EVENT,
    int(SubscribeResponse.AuthError): MessageKind.REFUSED,
    int(SubscribeResponse.NumOfConnExceed): MessageKind.TOO_MANY_CONNECTIONS,
    int(SubscribeResponse.SubscribeExpired): MessageKind.EXPIRED,
}


class PushMessage(NamedTuple):
    """The fields of a SubscribeResponse; `payload` is the bytes as received."""

    type: int
    id: str
    event_type: str
    position: str
    timestamp: str
    version: str
    payload: bytes

    @property
    def kind(self) -> MessageKind:
        """The kind by type and payload: an event must not be lost because of its type.

        A message of unknown type with a payload is an event, because a new type may carry events. Type 0 with an id, an
        event type or a JSON object is one, because a message without a type decodes to 0. So is a Ping with an id or
        event type and a JSON object.
        """
        kind = _KINDS.get(self.type, MessageKind.UNKNOWN)
        named = bool(self.id or self.event_type)
        is_object = self.payload.lstrip().startswith(b"{")
        if (
            (kind is MessageKind.UNKNOWN and self.payload)
            or (kind is MessageKind.SUBSCRIBED and self.payload and (named or is_object))
            or (kind is MessageKind.PING and named and is_object)
        ):
            return MessageKind.EVENT
        return kind


def decode(data: bytes) -> PushMessage:
    """Decode a serialised SubscribeResponse; raises nothing.

    Protobuf rejects a message with text that isn't UTF-8; then each field is decoded on its own. Bytes that aren't
    protobuf become an event with these bytes as its payload.
    """
    try:
        message = SubscribeResponse.FromString(data)
    except DecodeError:
        return _decode_leniently(data)
    return PushMessage(
        message.type,
        message.id,
        message.eventType,
        message.position,
        message.timestamp,
        message.version,
        message.payload.encode(),
    )


def _decode_leniently(data: bytes) -> PushMessage:
    try:
        fields = {field.field_number: field.data for field in UnknownFieldSet(Empty.FromString(data))}  # type: ignore[attr-defined]  # documented as iterable
    except DecodeError:
        return PushMessage(_EVENT, "", "", "", "", "", data)
    type_ = fields.get(SubscribeResponse.TYPE_FIELD_NUMBER, 0)
    payload = fields.get(SubscribeResponse.PAYLOAD_FIELD_NUMBER, b"")
    if not isinstance(type_, int) or not isinstance(payload, bytes):
        return PushMessage(_EVENT, "", "", "", "", "", data)
    return PushMessage(
        type_,
        _text(fields.get(SubscribeResponse.ID_FIELD_NUMBER)),
        _text(fields.get(SubscribeResponse.EVENTTYPE_FIELD_NUMBER)),
        _text(fields.get(SubscribeResponse.POSITION_FIELD_NUMBER)),
        _text(fields.get(SubscribeResponse.TIMESTAMP_FIELD_NUMBER)),
        _text(fields.get(SubscribeResponse.VERSION_FIELD_NUMBER)),
        payload,
    )


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else ""
