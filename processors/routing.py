"""From a raw record's value to the typed topic and record that it becomes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from processors.duplicates import DuplicateWindow, Seen, body_hash
from schemas.catalog import Contract
from schemas.envelope import parse_event
from schemas.event_reader import EventReader, Readable
from schemas.exact_json import excerpt
from schemas.invalid_event import InvalidEvent, Reason
from schemas.trace_context import TRACEPARENT
from schemas.transcoder import Transcoder


class Route(NamedTuple):
    """Where events of one biz_type go, and how their record is made the plain way."""

    biz_type: str
    event_type: str
    topic: str
    transcoder: Transcoder


# A known duplicate has no record, and no route either if its biz_type has none. Last: whether there is trace context.
Typed = tuple[Route, bytes, bool] | tuple[Route | None, None, bool]


class Routing:
    """The routes of all contracts."""

    def __init__(
        self,
        contracts: Mapping[str, Contract],
        schema_ids: Mapping[str, int],
        topic: Callable[[str], str],
        size_limit: int,
    ) -> None:
        """`schema_ids` by topic name without prefix; `topic` puts the prefix before such a name.

        `size_limit`: bytes that key and value of a typed record may have together.
        """
        self._size_limit = size_limit
        self._routes: dict[str, Route] = {}
        readable: list[Readable[Route]] = []
        for biz_type, contract in contracts.items():
            name = contract.topics[0].name
            transcoder = Transcoder(contract, schema_ids[name])
            route = Route(biz_type, str(contract.event_type), topic(name), transcoder)
            self._routes[biz_type] = route
            readable.append(Readable(contract, schema_ids[name], route))
        self._reader = EventReader(readable)
        self._duplicate_keys = 0

    @property
    def duplicate_keys(self) -> int:
        """How many members of events were hidden so far by a later one of the same name."""
        return self._duplicate_keys + sum(route.transcoder.duplicate_keys for route in self._routes.values())

    def event_id(self, value: bytes | None) -> str:
        """The id of an event. Raises `InvalidEvent` where there is none."""
        found = self._reader.read(value)
        if found is not None:
            return found[1]
        event_id: str = parse_event(value).root["id"]
        return event_id

    def type(self, value: bytes | None, key: bytes | None, window: DuplicateWindow) -> Typed:
        """Make the typed record of a raw one, in the wire format, unless `window` knows that this was done already.

        Raises `InvalidEvent`. Only an event that gets its record is remembered.
        """
        found = self._reader.attempt(value)
        if isinstance(found, int):
            document = parse_event(value)
            event: dict[str, Any] = document.root
            event_id = event["id"]
            if _is_known(event_id, value, window):
                biz_type = event["payload"].get("biz_type")
                return self._routes.get(biz_type) if isinstance(biz_type, str) else None, None, False
            route = find_route(event, self._routes)
            typed = route.transcoder.encode_event(document, right=found)
            traced = TRACEPARENT in event
        else:
            route, event_id, typed, hidden, traced = found
            if _is_known(event_id, value, window):
                return route, None, False
            self._duplicate_keys += hidden
        if key is None:
            raise InvalidEvent(
                Reason.NO_ACCOUNT, "/payload", "no account_id, account, account_number or client_request_id"
            )
        if len(typed) + len(key) > self._size_limit:
            raise InvalidEvent(Reason.TOO_LARGE, "", f"{len(typed)} bytes as a typed record")
        window.remember(event_id, body_hash(value or b""))
        return route, typed, traced


def _is_known(event_id: str, value: bytes | None, window: DuplicateWindow) -> bool:
    """Whether the event is typed already. Raises `InvalidEvent` if another body was typed under its id."""
    if event_id not in window:
        return False
    seen = window.check(event_id, body_hash(value or b""))
    if seen is Seen.CONFLICT:
        raise InvalidEvent(Reason.ID_CONFLICT, "/id", "an event of this id with another body came before")
    return seen is Seen.DUPLICATE


def find_route(event: dict[str, Any], routes: Mapping[str, Route]) -> Route:
    """The route of a parsed event (see schemas.envelope), by `payload.biz_type`.

    Raises InvalidEvent for a biz_type without a contract, or one that came under another event_type than documented.
    """
    biz_type = event["payload"].get("biz_type")
    if type(biz_type) is not str:
        if biz_type is None:
            raise InvalidEvent(Reason.MISSING_FIELD, "/payload/biz_type", "required, says what the event is")
        raise InvalidEvent(Reason.WRONG_TYPE, "/payload/biz_type", f"expected a string, got {excerpt(biz_type)}")
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
