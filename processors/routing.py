"""Routes a raw record to its typed topic and makes the typed record. Pure, except for a native writer's output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from broker_events.runtime.consume.record import KEPT
from broker_events.runtime.events.account_key import (
    ACCOUNT_IDS,
    KEY_MEMBERS,
    account_member,
    check_key,
    missing_key,
)
from broker_events.runtime.events.body_hash import body_hash
from broker_events.runtime.events.duplicate_window import DuplicateWindow, duplicate_window
from broker_events.runtime.events.event_reader import EventReader, Readable, Routed
from broker_events.runtime.events.lossless_json import excerpt, refuse_ambiguous
from broker_events.runtime.events.pushed_event import parse_event
from broker_events.runtime.events.transcoder import Transcoder
from broker_events.schemas.catalog import AccountMember, Contract
from broker_events.schemas.invalid_event import InvalidEvent, Reason

if TYPE_CHECKING:
    from broker_events.native._native import Records, Writer


class Route(NamedTuple):
    """The topic of one biz_type, and the transcoder that makes its records on the Python path."""

    biz_type: str
    event_type: str
    topic: str
    transcoder: Transcoder
    account_key: Sequence[AccountMember] | None


TypedRecord = Routed[Route | None]
"""A duplicate has no record, and no route if its biz_type has none. Last: whether there may be headers to keep."""


class Routing:
    """The routes of all contracts."""

    def __init__(
        self,
        contracts: Mapping[str, Contract],
        schema_ids: Mapping[str, int],
        topic: Callable[[str], str],
        size_limit: int,
    ) -> None:
        """`schema_ids` by topic name without prefix; `topic` adds the prefix to such a name.

        `size_limit`: most bytes of key and value of a typed record together.
        """
        self.without_account_id: Counter[str] = Counter()
        """By biz_type: typed events whose key is something else than the brokerage's id of the account."""
        self._size_limit = size_limit
        self._routes: dict[str, Route] = {}
        readable: list[Readable[Route]] = []
        for biz_type, contract in contracts.items():
            name = contract.topics[0].name
            transcoder = Transcoder(contract, schema_ids[name])
            route = Route(biz_type, str(contract.event_type), topic(name), transcoder, contract.account_key)
            self._routes[biz_type] = route
            readable.append(Readable(contract, schema_ids[name], route))
        self._reader = EventReader(readable)
        self._route = self._reader.route
        # Native code of another version fails here at the start, instead of quarantining every event.
        self._route(None, None, duplicate_window(0), size_limit)

    @property
    def biz_types(self) -> list[str]:
        """The biz_types that have a typed topic."""
        return [*self._routes]

    @property
    def topics(self) -> list[str]:
        """The typed topics, in the order that the writer of `type_all` uses."""
        return [route.topic for route in self._routes.values()]

    @property
    def duplicate_keys(self) -> int:
        """Number of members of events that a later member of the same name has hidden."""
        return self._reader.hidden + sum(route.transcoder.duplicate_keys for route in self._routes.values())

    def identity(self, value: bytes | None) -> tuple[str, int]:
        """Return the id and body hash by which windows know an event. Raises `InvalidEvent` without an id."""
        found = self._reader.read(value)
        if found is None:
            return parse_event(value).root["id"], body_hash(value or b"")
        _, event_id, *_, body = found
        return event_id, body

    def type(self, value: bytes | None, key: bytes | None, window: DuplicateWindow) -> TypedRecord:
        """Make the typed record of a raw one, in the wire format, unless `window` holds the event.

        Raises `InvalidEvent`. The window remembers only events that get a record.
        """
        found = self._route(value, key, window, self._size_limit)
        return self._type_in_python(value, key, window, found) if isinstance(found, int) else found

    def type_all(
        self, records: Records, first: int, window: DuplicateWindow, writer: Writer
    ) -> tuple[int, Mapping[str, int], Mapping[str, int]]:
        """Give `writer` the typed records of raw ones from index `first` on, up to one that needs `type`.

        Return the index of that one, and by biz_type the numbers of records written and of duplicates.
        """
        next_, written, known = self._reader.route_all(records, first, window, self._size_limit, writer)
        return next_, self._by_biz_type(written), self._by_biz_type(known)

    def _by_biz_type(self, counts: list[int]) -> dict[str, int]:
        return {biz_type: count for biz_type, count in zip(self._routes, counts, strict=True) if count}

    def _type_in_python(
        self, value: bytes | None, key: bytes | None, window: DuplicateWindow, right: int
    ) -> TypedRecord:
        """Type an event on the Python path; `right`: how many first fields native code found valid."""
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
        payload, members = event["payload"], route.account_key or KEY_MEMBERS
        if key is None or account_member(payload, members) is None:
            raise missing_key(payload, members)
        check_key(key)
        if len(typed) + len(key) > self._size_limit:
            raise InvalidEvent(Reason.TOO_LARGE, "", f"the typed record has {len(typed)} bytes")
        window.remember(event_id, body)
        if account_member(payload, ACCOUNT_IDS) is None:
            self.without_account_id[route.biz_type] += 1
        return route, typed, any(name in event for name in KEPT)


def find_route(event: dict[str, Any], routes: Mapping[str, Route]) -> Route:
    """Return the route of a parsed event (runtime.events.pushed_event), by `payload.biz_type`.

    Raises InvalidEvent for a biz_type without a contract, or with another event_type than documented.
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
