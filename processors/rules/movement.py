"""The six funding event types, folded into the state of one movement.

Statuses are judged in the order of their event times, not of their arrival. CANCELED, REJECTED, FAILED, COMPLETED and
RETURNED are final, and COMPLETED may still become RETURNED (Funding Transfer Events). A status the documents do not
list may be one on the way ("intermediate or final execution results"), so nothing is inferred from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from processors.rules import transfer_returned
from processors.rules.funding import FUNDING_TYPES, request_id, system_ids, terms
from processors.rules.outcome import Flag, Outcome
from processors.rules.recency import is_older
from processors.rules.spelling import Words

if TYPE_CHECKING:
    from processors.rules.funding import FundingEvent
    from processors.rules.outcome import Source
    from schemas.records import MovementState, StatusEvent, Transfer

HISTORY_LIMIT: Final = 32
"""Status events kept per movement. Real ones have a few; the limit bounds the record when a broker repeats itself."""

_FINAL = frozenset({"CANCELED", "REJECTED", "FAILED", "COMPLETED", "RETURNED"})
_STATUSES = Words(_FINAL)


def movement_id(event: FundingEvent, account_key: str) -> str:
    """Return the key of the event's movement: account key, biz_type and the movement's own id, joined by '/'."""
    return f"{account_key}/{event['biz_type']}/{request_id(event)}"


def movement(
    state: MovementState | None, event: FundingEvent, account_key: str, source: Source
) -> Outcome[MovementState]:
    """Any of the six types; `state` is that of `movement_id(event, account_key)`."""
    known = event["status"] in FUNDING_TYPES[event["biz_type"]].statuses
    flags: tuple[Flag, ...] = () if known else (Flag.UNKNOWN_VALUE,)
    status = _STATUSES(event["status"])
    if state is None:
        changed = _first(event, account_key)
    else:
        stale = is_older(event, state)
        changed = _filled(state, event) if stale else _advanced(state, event)
        changed["history"], dropped, illegal = _with_status(state["history"], event)
        changed["history_dropped"] += dropped
        if stale:
            flags += (Flag.STALE,)
        if illegal:
            flags += (Flag.ILLEGAL_TRANSITION,)
    if status == "COMPLETED" and (changed["completed"] is None or is_older(event, changed["completed"])):
        changed["completed"] = _status_event(event)
    if status != "RETURNED" or event["biz_type"] != "TRANSFER" or changed["returned_alert_id"] is not None:
        return Outcome(changed, (), flags)
    alert = transfer_returned.fire(changed, cast("Transfer", event), request_id(event), source)
    changed["returned_alert_id"] = alert["alert_id"]
    return Outcome(changed, (alert,), flags)


def is_legal(before: str, after: str) -> bool:
    """Whether a movement may go from one status to the other, in any spelling; staying is always legal."""
    before, after = _STATUSES(before), _STATUSES(after)
    return (
        before == after or before not in _FINAL or after not in _FINAL or (before, after) == ("COMPLETED", "RETURNED")
    )


def _first(event: FundingEvent, account_key: str) -> MovementState:
    state: MovementState = {
        "movement_id": movement_id(event, account_key),
        "account_key": account_key,
        "account_id": event["account_id"],
        "biz_type": event["biz_type"],
        "client_request_id": event["client_request_id"],
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
        "event_time": event["event_time"],
        "event_time_text": event["event_time_text"],
        "event_id": event["event_id"],
        "history": [_status_event(event)],
        "history_dropped": 0,
        "completed": None,
        "returned_alert_id": None,
    }
    state.update(cast("MovementState", terms(event)))
    return state


def _filled(state: MovementState, event: FundingEvent) -> MovementState:
    """Return a copy of the state in which a stale event fills in what was never said, and overwrites nothing."""
    gaps = {name: value for name, value in terms(event).items() if state.get(name) is None}
    return cast("MovementState", {**state, **gaps, "system_ids": {**system_ids(event), **state["system_ids"]}})


def _advanced(state: MovementState, event: FundingEvent) -> MovementState:
    """Return a copy of the state with all that the event says; what it leaves out stays."""
    advanced = {
        **state,
        **terms(event),
        "system_ids": {**state["system_ids"], **system_ids(event)},
        "status": event["status"],
        "reason": event["reason"],
        "event_time": event["event_time"],
        "event_time_text": event["event_time_text"],
        "event_id": event["event_id"],
    }
    return cast("MovementState", advanced)


def _with_status(history: list[StatusEvent], event: FundingEvent) -> tuple[list[StatusEvent], int, bool]:
    """Put the event in its place in time; return the new history, how many it lost, and if a transition is illegal."""
    if any(entry["event_id"] == event["event_id"] for entry in history):
        return history, 0, False  # read again
    place = len(history)
    while place and is_older(event, history[place - 1]):
        place -= 1
    entry = _status_event(event)
    entry["illegal"] = illegal = place > 0 and not is_legal(history[place - 1]["status"], entry["status"])
    later = history[place:]
    if later:
        next_illegal = not is_legal(entry["status"], later[0]["status"])
        later[0] = {**later[0], "illegal": next_illegal}
        illegal = illegal or next_illegal
    changed = [*history[:place], entry, *later]
    dropped = max(0, len(changed) - HISTORY_LIMIT)
    return changed[dropped:], dropped, illegal


def _status_event(event: FundingEvent) -> StatusEvent:
    return {
        "status": event["status"],
        "illegal": False,
        "event_time": event["event_time"],
        "event_time_text": event["event_time_text"],
        "event_id": event["event_id"],
    }
