"""Finds the movement of an event by every id that one of its events had (docs/adr/0014-movement-identity.md).

Events of one account key and biz_type that share an id of one kind are one movement, in any order of arrival. Ids of
different kinds are never compared. The key of the movement's record has its preferred id: client_request_id, then the
type's own ids, then the event id; of several values the smallest. So the key depends on the ids, not on their order.

An id leads to its movement in three ways. The record at the id's key is the movement; or it is an alias; or the table's
index, made of the ids in the records, has the id. The rule writes an alias at a former key of a movement, and for an id
that the record no longer holds because it has another value of that kind.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from broker_events.processors.rules.funding import FUNDING_TYPES, IDS, real_id, system_ids
from broker_events.processors.rules.movement import merge, movement
from broker_events.processors.rules.outcome import Flag, Link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker_events.processors.rules.funding import FundingEvent
    from broker_events.processors.rules.outcome import Projected, RecordOrigin, StateReader
    from broker_events.schemas.storage_types import Alert, MovementState, TransferEvidence

ALIAS: Final = "ALIAS"
"""Status of an alias record."""
_REQUEST: Final = "client_request_id"
_EVENT: Final = "event_id"


class _Id(NamedTuple):
    """An id by the brokerage's name for it."""

    kind: str
    value: str


def index_keys(state: MovementState) -> tuple[bytes, ...]:
    """Return the index keys of a record: every id in it that is not in its key."""
    if state["alias_of"] is not None:
        return ()
    return tuple(_index_key(state["account_key"], state["biz_type"], *each) for each in _ids(state)[1:])


def linked_movement(
    table: StateReader[MovementState], event: FundingEvent, account_key: str, source: RecordOrigin
) -> Projected[MovementState]:
    """Fold an event of any of the six types into its movement; merge movements that it shows to be one."""
    request, funding = real_id(event["client_request_id"]), FUNDING_TYPES[event["biz_type"]]
    if not request:
        return _search(table, event, account_key).fold(event, source)
    prefix = f"{account_key}/{event['biz_type']}/"
    movement_id = f"{prefix}{request}"
    key = movement_id.encode()
    state = table.get(key)
    is_known = state is None or (state["client_request_id"] == request and state["alias_of"] is None)
    says = {} if state is None else state["system_ids"]
    index = []
    for kind in funding.system_ids:  # fast path: every other id leads to this movement or to none
        value = real_id(event[kind])  # type: ignore[literal-required]
        if not value or kind == funding.fallback_id:
            continue
        if f"{prefix}{value}".encode() in table:
            is_known = False
        elif says.get(kind) != value:
            index.append(_index_key(account_key, event["biz_type"], kind, value))
            is_known = is_known and kind not in says and table.holder(index[-1]) is None
    if not is_known:
        return _search(table, event, account_key).fold(event, source)
    outcome = movement(state, event, account_key, source, movement_id)
    return key, state, outcome, Link(tuple(index)) if index else None


def movements_of(table: StateReader[MovementState], record: MovementState) -> set[bytes]:
    """Return the keys of the movements that the ids of a record, which may be of another table, lead to."""
    return {*_MovementSearch(table, record["account_key"], record["biz_type"], _ids(record)).found}


def movements_of_alert(table: StateReader[MovementState], alert: Alert) -> set[bytes]:
    """Return the keys of the movements that the ids of an alert about a movement lead to."""
    movement, transfer = alert["movement"], alert["transfer"]
    if movement is not None:
        request, ids = movement["client_request_id"], movement["system_ids"]
    else:
        says = cast("TransferEvidence", transfer)
        request, ids = says["client_request_id"], {"transfer_id": says["transfer_id"] or ""}
    identifying = _identifying(alert["biz_type"], request, ids, alert["event_id"])
    return {*_MovementSearch(table, alert["account_key"], alert["biz_type"], identifying).found}


def _search(table: StateReader[MovementState], event: FundingEvent, account_key: str) -> _MovementSearch:
    return _MovementSearch(table, account_key, event["biz_type"], _event_ids(event))


class _MovementSearch:
    """The movements that some ids lead to; folds an event with these ids into them."""

    def __init__(self, table: StateReader[MovementState], account_key: str, biz_type: str, ids: list[_Id]) -> None:
        self._table, self._account_key, self._biz_type, self._ids = table, account_key, biz_type, ids
        self._prefix = f"{account_key}/{biz_type}/"
        self.found: dict[bytes, MovementState] = {}
        self._written: dict[bytes, MovementState] = {}
        self._find()

    def fold(self, event: FundingEvent, source: RecordOrigin) -> Projected[MovementState]:
        found = sorted(self.found.values(), key=lambda state: _rank(self._biz_type, _ids(state)[0]))
        before = reduce(merge, found) if found else None
        name = min(self._ids, key=lambda each: _rank(self._biz_type, each))
        key, _ = self._record_named(name)
        named = None if before is None else _named(before, name, key.decode())
        outcome = movement(named, event, self._account_key, source, key.decode())
        self._write_aliases(outcome.state, name, event)
        outcome = outcome._replace(flags=outcome.flags + self._flags())
        index = tuple(_index_key(self._account_key, self._biz_type, *each) for each in self._ids)
        return key, self.found.get(key), outcome, Link(index, tuple(self._written.items()))

    def _find(self) -> None:
        """Find all movements that the ids of the event, and of every movement found, lead to."""
        for each in self._ids:  # grows during the loop
            key, state = self._follow(each)
            if state is None or key in self.found:
                continue
            self.found[key] = state
            self._ids += [other for other in _ids(state) if other not in self._ids]

    def _follow(self, each: _Id) -> tuple[bytes, MovementState | None]:
        key, state = self._record_named(each)
        if state is None:
            holder = self._table.holder(_index_key(self._account_key, self._biz_type, *each))
            if holder is not None:
                key, state = holder, self._table.get(holder)
        while state is not None and state["alias_of"] is not None:
            key = state["alias_of"].encode()
            state = self._table.get(key)
        return key, state

    def _record_named(self, each: _Id) -> tuple[bytes, MovementState | None]:
        """Return key and record of an id; the key includes the id's kind where another kind has an equal id."""
        tail = each.value
        while True:
            key = f"{self._prefix}{tail}".encode()
            state = self._written.get(key) or self._table.get(key)
            if state is None or _ids(state)[0] == each:
                return key, state
            tail = f"{each.kind}/{tail}"

    def _write_aliases(self, state: MovementState, name: _Id, event: FundingEvent) -> None:
        """Write aliases for ids that have a record of their own, or that the state has no room for."""
        self._written[state["movement_id"].encode()] = state
        for each in self._ids:
            key, record = self._record_named(each)
            if each == name or (record is None and each.kind not in self._conflicts):
                continue
            if record is None or record["alias_of"] != state["movement_id"]:
                self._written[key] = _alias(state, each, key.decode(), event)
        del self._written[state["movement_id"].encode()]

    @property
    def _conflicts(self) -> set[str]:
        """Kinds with more than one id of the movement."""
        kinds = [each.kind for each in self._ids]
        return {kind for kind in kinds if kinds.count(kind) > 1}

    def _flags(self) -> tuple[Flag, ...]:
        alerted = {found["returned_alert_id"] for found in self.found.values()} - {None}
        conflicts = any(_ids(alias)[0].kind in self._conflicts for alias in self._written.values())
        return (
            *((Flag.MERGED,) if len(self.found) > 1 else ()),
            *((Flag.ALERTED_TWICE,) if len(alerted) > 1 else ()),
            *((Flag.ID_CONFLICT,) if conflicts else ()),
        )


def _event_ids(event: FundingEvent) -> list[_Id]:
    return _identifying(event["biz_type"], event["client_request_id"], system_ids(event), event["event_id"])


def _ids(state: MovementState) -> list[_Id]:
    """Return the ids in a record; the first is the one in its key."""
    return _identifying(state["biz_type"], state["client_request_id"], state["system_ids"], state["event_id"])


def _identifying(biz_type: str, request: str | None, says: Mapping[str, str], event_id: str) -> list[_Id]:
    """Return the ids that identify a movement, preferred first. `says`: the type's own, with empty ones or without."""
    funding = FUNDING_TYPES[biz_type]
    ids = [_Id(kind, value) for kind in funding.system_ids if (value := real_id(says.get(kind)))]
    if request := real_id(request):
        ids.insert(0, _Id(_REQUEST, request))
    own = [each for each in ids if each.kind != funding.fallback_id]
    return own or ids or [_Id(_EVENT, event_id)]


def _rank(biz_type: str, each: _Id) -> tuple[int, str]:
    return (*IDS[biz_type], _EVENT).index(each.kind), each.value


def _index_key(account_key: str, biz_type: str, kind: str, value: str) -> bytes:
    return f"{len(account_key)}/{account_key}/{biz_type}/{kind}/{value}".encode()


def _named(state: MovementState, name: _Id, key: str) -> MovementState:
    """Return the state with the id in its key; the same object where it already has it."""
    if state["movement_id"] == key and _ids(state)[0] == name:
        return state
    named = {**state, "movement_id": key}
    if name.kind == _REQUEST:
        named["client_request_id"] = name.value
    elif name.kind != _EVENT:
        named["system_ids"] = {**state["system_ids"], name.kind: name.value}
    return cast("MovementState", named)


def _alias(state: MovementState, each: _Id, key: str, event: FundingEvent) -> MovementState:
    """Return the alias record at `key` for an id of the movement, from one of its events."""
    alias = dict.fromkeys(state) | {
        "movement_id": key,
        "account_key": state["account_key"],
        "account_id": state["account_id"],
        "biz_type": state["biz_type"],
        "client_request_id": each.value if each.kind == _REQUEST else None,
        "system_ids": {} if each.kind == _REQUEST else {each.kind: each.value},
        "status": ALIAS,
        "event_time": event["event_time"],
        "event_time_text": event["event_time_text"],
        "event_id": event["event_id"],
        "history": [],
        "history_dropped": 0,
        "alias_of": state["movement_id"],
        "rules": {},
    }
    return cast("MovementState", alias)
