"""From an event's bytes to the typed topic and record that it becomes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from schemas.invalid_event import InvalidEvent, Reason


class Route(NamedTuple):
    """Where events of one biz_type go, and how their record is made: `encode(event, value) -> framed Avro`."""

    topic: str
    event_type: str
    encode: Callable[[dict[str, Any], bytes], bytes]


def find_route(event: dict[str, Any], routes: Mapping[str, Route]) -> Route:
    """The route of a parsed event (see schemas.envelope), by `payload.biz_type`.

    Raises InvalidEvent for a biz_type without a contract, or one that came under another event_type than documented.
    """
    biz_type = event["payload"].get("biz_type")
    if type(biz_type) is not str:
        if biz_type is None:
            raise InvalidEvent(Reason.MISSING_FIELD, "/payload/biz_type", "required, says what the event is")
        raise InvalidEvent(Reason.WRONG_TYPE, "/payload/biz_type", f"expected a string, got {type(biz_type).__name__}")
    route = routes.get(biz_type)
    if route is None:
        raise InvalidEvent(Reason.UNKNOWN_BIZ_TYPE, "/payload/biz_type", f"no contract for {biz_type[:80]!r}")
    if event["event_type"] != route.event_type:
        raise InvalidEvent(
            Reason.UNKNOWN_EVENT_TYPE,
            "/event_type",
            f"{biz_type} comes as {route.event_type}, got {str(event['event_type'])[:80]!r}",
        )
    return route
