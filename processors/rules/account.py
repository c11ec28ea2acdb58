"""Folds the six account event types into the state of the account.

Source: Account Events. Each part of the state is the newest statement of one fact (`recency`), so the interleaving of
topics doesn't change the state. A fact that one topic alone states may depend on that topic's order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from broker_events.processors.rules import liquidate_only
from broker_events.processors.rules.outcome import Flag, Outcome
from broker_events.processors.rules.recency import TypedEvent, part_of, restate, supersede

if TYPE_CHECKING:
    from broker_events.processors.rules.outcome import RecordOrigin
    from broker_events.schemas.storage_types import (
        AccountClose,
        AccountFact,
        AccountInfoUpdate,
        AccountRestrict,
        AccountState,
        AccountUnrestricted,
        AccountUpdate,
        VirtualAccountBcanUpdate,
    )

_ACCOUNT_TYPES = {None, "CASH", "MARGIN"}
_RESTRICTIONS = frozenset(
    f"{market}_STOCK_{kind}" for market in ("HK", "US", "CN") for kind in ("NO_TRADE", "LIQUIDATE_ONLY")
)
_BCAN_TYPES = {"CN"}
_BCAN_STATUSES = {"SUCCESS", "FAILED"}
_DECISIONS = {"APPROVED", "REJECTED"}


class _AccountEvent(TypedEvent):
    """Fields that all account events share."""

    account_id: str | None
    account_number: str | None


def account_update(
    state: AccountState | None, event: AccountUpdate, account_key: str, source: RecordOrigin
) -> Outcome[AccountState]:
    """ACCOUNT_UPDATE: a full snapshot of the restrictions."""
    known = _RESTRICTIONS.issuperset(event["restrictions"]) and event["account_type"] in _ACCOUNT_TYPES
    state = _with_facts(state, event, account_key, source, event["account_type"])
    last = state["restrictions"]
    arrival = supersede(event, last, source)
    if arrival is False:
        return Outcome(state, (), _flags(known=known, stale=True))
    held, alerts = liquidate_only.judge(last, event, account_key, source)
    changed: AccountState = {
        **state,
        "restrictions": {
            "codes": event["restrictions"],
            "liquidate_only": held,
            **part_of(event, arrival),
        },
    }
    return Outcome(changed, alerts, _flags(known=known))


def virtual_account_bcan_update(
    state: AccountState | None, event: VirtualAccountBcanUpdate, account_key: str, source: RecordOrigin
) -> Outcome[AccountState]:
    """VIRTUAL_ACCOUNT_BCAN_UPDATE: the exchange's decision on one type of BCAN code."""
    known = (
        event["status"] in _BCAN_STATUSES and event["type"] in _BCAN_TYPES and event["account_type"] in _ACCOUNT_TYPES
    )
    state = _with_facts(state, event, account_key, source, event["account_type"])
    arrival = supersede(event, state["bcan"].get(event["type"]), source)
    if arrival is False:
        return Outcome(state, (), _flags(known=known, stale=True))
    changed: AccountState = {
        **state,
        "bcan": {
            **state["bcan"],
            event["type"]: {
                "status": event["status"],
                **part_of(event, arrival),
            },
        },
    }
    return Outcome(changed, (), _flags(known=known))


def account_info_update(
    state: AccountState | None, event: AccountInfoUpdate, account_key: str, source: RecordOrigin
) -> Outcome[AccountState]:
    """ACCOUNT_INFO_UPDATE: a change of account data was approved or rejected."""
    return _decided("info_update", state, event, event["request_id"], account_key, source)


def account_close(
    state: AccountState | None, event: AccountClose, account_key: str, source: RecordOrigin
) -> Outcome[AccountState]:
    """ACCOUNT_CLOSE: an application to close the account was approved or rejected."""
    return _decided("close", state, event, None, account_key, source)


def _decided(
    part: Literal["info_update", "close"],
    state: AccountState | None,
    event: AccountInfoUpdate | AccountClose,
    request_id: str | None,
    account_key: str,
    source: RecordOrigin,
) -> Outcome[AccountState]:
    known = event["status"] in _DECISIONS
    state = _with_facts(state, event, account_key, source)
    arrival = supersede(event, state[part], source)
    if arrival is False:
        return Outcome(state, (), _flags(known=known, stale=True))
    changed = state.copy()
    changed[part] = {
        "status": event["status"],
        "request_id": request_id,
        "client_request_id": event["client_request_id"],
        **part_of(event, arrival),
    }
    return Outcome(changed, (), _flags(known=known))


def restrict_infos(
    state: AccountState | None, event: AccountRestrict | AccountUnrestricted, account_key: str, source: RecordOrigin
) -> Outcome[AccountState]:
    """ACCOUNT_RESTRICT and ACCOUNT_UNRESTRICTED: the newest list as received, with its type.

    Account Events doesn't document whether ACCOUNT_UNRESTRICTED lists what was lifted or what remains, so the rule
    infers nothing from it. The types come in two topics: at the same instant ACCOUNT_RESTRICT wins.
    """
    state = _with_facts(state, event, account_key, source)
    arrival = restate(event, state["restrict_infos"], source)
    if arrival is False:
        return Outcome(state, (), _flags(known=True, stale=True))
    changed: AccountState = {
        **state,
        "restrict_infos": {
            "biz_type": event["biz_type"],
            "infos": event["restrict_infos"],
            **part_of(event, arrival),
        },
    }
    return Outcome(changed)


def _flags(*, known: bool, stale: bool = False) -> tuple[Flag, ...]:
    if known and not stale:
        return ()
    return (*((Flag.STALE,) if stale else ()), *(() if known else (Flag.UNKNOWN_VALUE,)))


def _with_facts(
    state: AccountState | None,
    event: _AccountEvent,
    account_key: str,
    source: RecordOrigin,
    account_type: str | None = None,
) -> AccountState:
    """Return the state with the event's account facts; the same object when none is new."""
    if state is None:
        state = _unknown_account(account_key)
    old_id, old_number, old_type = state["account_id"], state["account_number"], state["account_type"]
    new_id = _newest(old_id, event["account_id"], event, source)
    new_number = _newest(old_number, event["account_number"], event, source)
    new_type = _newest(old_type, account_type, event, source)
    if new_id is old_id and new_number is old_number and new_type is old_type:
        return state
    return {**state, "account_id": new_id, "account_number": new_number, "account_type": new_type}


def _newest(
    old: AccountFact | None, value: str | None, event: _AccountEvent, source: RecordOrigin
) -> AccountFact | None:
    arrival = bool(value) and restate(event, old, source)
    if not value or arrival is False:
        return old
    return {
        "value": value,
        "biz_type": event["biz_type"],
        **part_of(event, arrival),
    }


def _unknown_account(account_key: str) -> AccountState:
    return {
        "account_key": account_key,
        "account_id": None,
        "account_number": None,
        "account_type": None,
        "restrictions": None,
        "restrict_infos": None,
        "bcan": {},
        "info_update": None,
        "close": None,
        "rules": {},
    }
