"""From a raw record's value to the typed topic and record that it becomes. Pure, but for what a writer is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from broker_events.runtime.events.account_key import check_key, missing_key
from broker_events.runtime.events.body_hash import body_hash
from broker_events.runtime.events.duplicate_window import DuplicateWindow, duplicate_window
from broker_events.runtime.events.event_reader import EventReader, Readable, Routed
from broker_events.runtime.events.lossless_json import excerpt, refuse_ambiguous
from broker_events.runtime.events.pushed_event import parse_event
from broker_events.runtime.events.trace_context import TRACEPARENT
from broker_events.runtime.events.transcoder import Transcoder
from broker_events.schemas.catalog import Contract
from broker_events.schemas.invalid_event import InvalidEvent, Reason

if TYPE_CHECKING:
    from broker_events.native._native import Records, Writer


class Route(NamedTuple):
    """Where events of one biz_type go, and how their record is made the plain way."""

    biz_type: str
    event_type: str
    topic: str
    transcoder: Transcoder


# A known duplicate has no record, and no route either if its biz_type has none. Last: whether there is trace context.
Typed = Routed[Route | None]


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
        self._route = self._reader.route
        # Native code of another version fails here, at the start, and not at every event, which would be quarantined.
        self._route(None, None, duplicate_window(0), size_limit)

    @property
    def topics(self) -> list[str]:
        """Where typed records go, in the order in which a writer for `type_all` knows them."""
        return [route.topic for route in self._routes.values()]

    @property
    def duplicate_keys(self) -> int:
        """How many members of events were hidden so far by a later one of the same name."""
        return self._reader.hidden + sum(route.transcoder.duplicate_keys for route in self._routes.values())

    def identity(self, value: bytes | None) -> tuple[str, int]:
        """What windows know an event by: its id and body hash. Raises `InvalidEvent` where there is no id."""
        found = self._reader.read(value)
        if found is None:
            return parse_event(value).root["id"], body_hash(value or b"")
        _, event_id, *_, body = found
        return event_id, body

    def type(self, value: bytes | None, key: bytes | None, window: DuplicateWindow) -> Typed:
        """Make the typed record of a raw one, in the wire format, unless `window` knows that this was done already.

        Raises `InvalidEvent`. Only an event that gets its record is remembered.
        """
        found = self._route(value, key, window, self._size_limit)
        return self._type_plainly(value, key, window, found) if isinstance(found, int) else found

    def type_all(
        self, records: Records, first: int, window: DuplicateWindow, writer: Writer
    ) -> tuple[int, Mapping[str, int], Mapping[str, int]]:
        """Give `writer` the typed records of raw ones, from number `first` on, up to one that is for `type`.

        Returns that one's number, and by biz_type how many were written and how many `window` knew already.
        """
        next_, written, known = self._reader.route_all(records, first, window, self._size_limit, writer)
        return next_, self._by_biz_type(written), self._by_biz_type(known)

    def _by_biz_type(self, counts: list[int]) -> dict[str, int]:
        return {biz_type: count for biz_type, count in zip(self._routes, counts, strict=True) if count}

    def _type_plainly(self, value: bytes | None, key: bytes | None, window: DuplicateWindow, right: int) -> Typed:
        """What native code has left; `right`: so many of the record's first fields are known to be right."""
        document = parse_event(value)
        event: dict[str, Any] = document.root
        event_id, body = event["id"], body_hash(value or b"")
        known = window.body(event_id)
        if known == body:
            biz_type = event["payload"].get("biz_type")
            return self._routes.get(biz_type) if isinstance(biz_type, str) else None, None, False
        if known is not None:
            raise InvalidEvent(Reason.ID_CONFLICT, "/id", "an event of this id with another body came before")
        route = find_route(event, self._routes)
        typed = route.transcoder.encode_event(document, right=right)
        if key is None:
            raise missing_key(event["payload"])
        check_key(key)
        if len(typed) + len(key) > self._size_limit:
            raise InvalidEvent(Reason.TOO_LARGE, "", f"{len(typed)} bytes as a typed record")
        window.remember(event_id, body)
        return route, typed, TRACEPARENT in event


def find_route(event: dict[str, Any], routes: Mapping[str, Route]) -> Route:
    """The route of a parsed event (see runtime.events.pushed_event), by `payload.biz_type`.

    Raises InvalidEvent for a biz_type without a contract, or one that came under another event_type than documented.
    """
    refuse_ambiguous(event["payload"], "biz_type", "/payload/biz_type")
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
