# mypy: disable-error-code="type-arg"
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubscribeRequest(_message.Message):
    __slots__ = ("events", "timestamp")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[SubscribeEvent]
    timestamp: str
    def __init__(self, events: _Optional[_Iterable[_Union[SubscribeEvent, _Mapping]]] = ..., timestamp: _Optional[str] = ...) -> None: ...

class SubscribeEvent(_message.Message):
    __slots__ = ("eventType", "position")
    EVENTTYPE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    eventType: str
    position: str
    def __init__(self, eventType: _Optional[str] = ..., position: _Optional[str] = ...) -> None: ...

class SubscribeResponse(_message.Message):
    __slots__ = ("type", "id", "eventType", "position", "timestamp", "version", "payload")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SubscribeSuccess: _ClassVar[SubscribeResponse.Type]
        Ping: _ClassVar[SubscribeResponse.Type]
        Event: _ClassVar[SubscribeResponse.Type]
        AuthError: _ClassVar[SubscribeResponse.Type]
        NumOfConnExceed: _ClassVar[SubscribeResponse.Type]
        SubscribeExpired: _ClassVar[SubscribeResponse.Type]
    SubscribeSuccess: SubscribeResponse.Type
    Ping: SubscribeResponse.Type
    Event: SubscribeResponse.Type
    AuthError: SubscribeResponse.Type
    NumOfConnExceed: SubscribeResponse.Type
    SubscribeExpired: SubscribeResponse.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    EVENTTYPE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    type: SubscribeResponse.Type
    id: str
    eventType: str
    position: str
    timestamp: str
    version: str
    payload: str
    def __init__(self, type: _Optional[_Union[SubscribeResponse.Type, str]] = ..., id: _Optional[str] = ..., eventType: _Optional[str] = ..., position: _Optional[str] = ..., timestamp: _Optional[str] = ..., version: _Optional[str] = ..., payload: _Optional[str] = ...) -> None: ...
