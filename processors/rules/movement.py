"""Folds the six funding event types into the state of one movement.

Source: Funding Events. Transitions are judged in the order of event times (`recency`), not of arrival. CANCELED,
REJECTED, FAILED, COMPLETED and RETURNED are final, but COMPLETED may become RETURNED (Funding Transfer Events). An
undocumented status may be intermediate ("intermediate or final execution results"), so the rule infers nothing from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from broker_events.processors.rules import transfer_returned
from broker_events.processors.rules.funding import (
    FUNDING_TYPES,
    has_placeholder,
    real_id,
    request_id,
    system_ids,
    terms,
)
from broker_events.processors.rules.outcome import Flag, Outcome
from broker_events.processors.rules.recency import (
    arrival_after,
    elapsed_since,
    is_ahead,
    is_far_ahead,
    order,
    order_key,
    part_of,
    supersede,
    was_read,
)
from broker_events.processors.rules.spelling import Words

if TYPE_CHECKING:
    from broker_events.processors.rules.funding import FundingEvent
    from broker_events.processors.rules.outcome import RecordOrigin
    from broker_events.schemas.storage_types import Arrival, MovementState, StatusEvent, Transfer

HISTORY_LIMIT: Final = 32
"""Status events kept per movement. Real ones have a few; the limit bounds the record against repeated pushes."""

_FINAL = frozenset({"CANCELED", "REJECTED", "FAILED", "COMPLETED", "RETURNED"})
_STATUSES = Words(_FINAL)


def movement(
    state: MovementState | None, event: FundingEvent, account_key: str, source: RecordOrigin, movement_id: str
) -> Outcome[MovementState]:
    """Fold an event of any of the six types; `state` is that of its movement (`processors.rules.linking`)."""
    known = event["status"] in FUNDING_TYPES[event["biz_type"]].statuses and not has_placeholder(event)
    flags: tuple[Flag, ...] = () if known else (Flag.UNKNOWN_VALUE,)
    status = _STATUSES(event["status"])
    if state is not None and _was_read(event, state, source):
        return Outcome(state, (), (*flags, Flag.STALE))
    arrival = supersede(event, state, source)
    if state is None:
        entry = _status_event(event, arrival or None)
        changed = _first(event, account_key, movement_id, entry)
    elif arrival is False:
        entry = _status_event(
            event, arrival_after(None, None, source) if is_ahead(event["event_time"], source) else None
        )
        changed = _filled(state, event)
        flags += (Flag.STALE, *_enter(changed, entry, _history_index(event, state["history"])))
    else:
        at = arrival and arrival["order_time"]
        entry = _status_event(event, None if at is None else arrival_after(None, at, source))
        changed = _advanced(state, event, arrival)
        flags += _enter(changed, entry, len(state["history"]))
    if changed["history_dropped"]:  # the history no longer holds every event
        before = changed["arrival"]
        changed["arrival"] = arrival_after(before, before and before["order_time"], source)
    if status == "COMPLETED" and _is_first(event, changed["completed"], source):
        changed["completed"] = {**entry, "illegal": False}
    if status != "RETURNED" or event["biz_type"] != "TRANSFER" or changed["returned_alert_id"] is not None:
        return Outcome(changed, (), flags)
    alert = transfer_returned.fire(changed, cast("Transfer", event), request_id(event), source)
    changed["returned_alert_id"] = alert["alert_id"]
    return Outcome(changed, (alert,), flags)


def merge(one: MovementState, other: MovementState) -> MovementState:
    """Return the merged state of two that belong to one movement, with the id of the first.

    At the same instant the first counts as the newer one.
    """
    newer, older = (other, one) if order_key(one) < order_key(other) else (one, other)
    completed = [state["completed"] for state in (older, newer) if state["completed"] is not None]
    merged = cast(
        "MovementState",
        {
            **older,
            **{name: value for name, value in newer.items() if value is not None},
            "movement_id": one["movement_id"],
            "account_id": one["account_id"] or other["account_id"],
            "client_request_id": one["client_request_id"] or other["client_request_id"],
            "system_ids": _both(older["system_ids"], newer["system_ids"], one),
            "reason": newer["reason"],
            "history": other["history"],
            "history_dropped": one["history_dropped"] + other["history_dropped"],
            # A useless time is the oldest only if there is no other.
            "completed": min(
                completed, key=lambda entry: (entry["arrival"] is not None, order_key(entry)), default=None
            ),
            "returned_alert_id": one["returned_alert_id"] or other["returned_alert_id"],
            "rules": {**other["rules"], **one["rules"]},
        },
    )
    for entry in one["history"]:
        later = [order_key(each) > order_key(entry) for each in merged["history"]]
        _enter(merged, {**entry}, later.index(True) if True in later else len(later))
    merged["arrival"] = _arrival_of_both(newer, older) if newer["arrival"] or merged["history_dropped"] else None
    return merged


def _arrival_of_both(newer: MovementState, older: MovementState) -> Arrival | None:
    arrivals = [state["arrival"] for state in (newer, older) if state["arrival"] is not None]
    if not arrivals:
        return None
    return {
        "order_time": newer["arrival"] and newer["arrival"]["order_time"],
        "received_time": max(arrival["received_time"] for arrival in arrivals),
        "typed_offset": max(arrival["typed_offset"] for arrival in arrivals),
    }


def _both(older: dict[str, str], newer: dict[str, str], state: MovementState) -> dict[str, str]:
    """Return the system ids of both. Of two values the newer, or the lesser of the kind that names the movement."""
    both = {**older, **newer}
    kind = next((kind for kind in FUNDING_TYPES[state["biz_type"]].system_ids if kind in both), "")
    if not state["client_request_id"] and kind in older and kind in newer:
        both[kind] = min(older[kind], newer[kind])
    return both


def is_legal(before: str, after: str) -> bool:
    """Whether a movement may change from one status to the other, in any spelling. No change is always legal."""
    before, after = _STATUSES(before), _STATUSES(after)
    return (
        before == after or before not in _FINAL or after not in _FINAL or (before, after) == ("COMPLETED", "RETURNED")
    )


def _was_read(event: FundingEvent, state: MovementState, source: RecordOrigin) -> bool:
    """Whether the event is already in the state, as far back as its history goes."""
    if state["history_dropped"] and state["arrival"] is not None and was_read(source, state["arrival"]):
        return True
    return any(
        entry["event_id"] == event["event_id"]
        and entry["status"] == event["status"]
        and entry["event_time_text"] == event["event_time_text"]
        for entry in state["history"]
    )


def _is_first(event: FundingEvent, completed: StatusEvent | None, source: RecordOrigin) -> bool:
    """Whether a COMPLETED event is the oldest so far; one with a useless time is so only if there is no other."""
    if completed is None:
        return True
    if is_far_ahead(event["event_time"], source):
        return False
    return order(event, completed) < 0 or elapsed_since(event["event_time"], completed, source) is None


def _first(event: FundingEvent, account_key: str, movement_id: str, entry: StatusEvent) -> MovementState:
    state: MovementState = {
        "movement_id": movement_id,
        "account_key": account_key,
        "account_id": event["account_id"],
        "biz_type": event["biz_type"],
        "client_request_id": real_id(event["client_request_id"]),
        "system_ids": system_ids(event),
        "type": None,
        "direction": None,
        "amount": None,
        "currency": None,
        "from_amount": None,
        "from_currency": None,
        "to_amount": None,
        "to_currency": None,
        "fx_rate": None,
        "status": event["status"],
        "reason": event["reason"],
        **part_of(event, entry["arrival"]),
        "history": [entry],
        "history_dropped": 0,
        "completed": None,
        "returned_alert_id": None,
        "alias_of": None,
        "rules": {},
    }
    state.update(cast("MovementState", terms(event)))
    return state


def _filled(state: MovementState, event: FundingEvent) -> MovementState:
    """Return a copy of the state in which a stale event sets absent fields and overwrites none."""
    gaps = {name: value for name, value in terms(event).items() if state.get(name) is None}
    filled = {
        **state,
        **gaps,
        "account_id": state["account_id"] or event["account_id"],
        "system_ids": _both(system_ids(event), state["system_ids"], state),
    }
    return cast("MovementState", filled)


def _advanced(state: MovementState, event: FundingEvent, arrival: Arrival | None) -> MovementState:
    """Return a copy of the state with the fields of the event; fields that it lacks stay."""
    ids = system_ids(event)
    advanced = {
        **state,
        **terms(event),
        "account_id": state["account_id"] or event["account_id"],
        "system_ids": _both(state["system_ids"], ids, state) if ids else state["system_ids"],
        "status": event["status"],
        "reason": event["reason"],
        **part_of(event, arrival),
    }
    return cast("MovementState", advanced)


def _history_index(event: FundingEvent, history: list[StatusEvent]) -> int:
    """Return where an event older than the newest belongs in the history."""
    index = len(history)
    while index and order(event, history[index - 1]) < 0:
        index -= 1
    return index


def _enter(state: MovementState, entry: StatusEvent, index: int) -> tuple[Flag, ...]:
    """Insert the entry into the history of a new state; return the flag of an illegal transition."""
    history = state["history"]
    entry["illegal"] = illegal = index > 0 and not is_legal(history[index - 1]["status"], entry["status"])
    later = history[index:]
    if later:
        next_illegal = not is_legal(entry["status"], later[0]["status"])
        later[0] = {**later[0], "illegal": next_illegal}
        illegal = illegal or next_illegal
    changed = [*history[:index], entry, *later]
    dropped = max(0, len(changed) - HISTORY_LIMIT)
    state["history"], state["history_dropped"] = changed[dropped:], state["history_dropped"] + dropped
    return (Flag.ILLEGAL_TRANSITION,) if illegal else ()


def _status_event(event: FundingEvent, arrival: Arrival | None) -> StatusEvent:
    return {
        "status": event["status"],
        "illegal": False,
        **part_of(event, arrival),
    }
