"""LIQUIDATE_ONLY: the condition that an account is liquidate-only in a market.

Source: Account Events, Account Update Event. Each push is a complete snapshot; an empty array means no restriction. So
the rule compares each snapshot with the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from broker_events.processors.rules.alerting import LIQUIDATE_ONLY, account_tail, make_alert
from broker_events.processors.rules.recency import elapsed_us, received_if_ahead
from broker_events.processors.rules.spelling import Words, before, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker_events.processors.rules.outcome import RecordOrigin
    from broker_events.schemas.storage_types import (
        AccountUpdate,
        Alert,
        LiquidateOnlyState,
        RestrictionEvidence,
        RestrictionsState,
    )

Held = dict[str, "LiquidateOnlyState"]
"""Liquidate-only markets, each with its first event."""


_MARKETS = {
    f"{market}_STOCK_{kind}": market if kind == "LIQUIDATE_ONLY" else None
    for market in ("HK", "US", "CN")
    for kind in ("LIQUIDATE_ONLY", "NO_TRADE")
}
_CODES = Words(_MARKETS)
_DOCUMENTED_MARKETS = Words({code[:2] for code in _MARKETS})


def market_of(code: str) -> str | None:
    """Market of a restriction code: HK_STOCK_LIQUIDATE_ONLY -> HK, LIQUIDATE_ONLY -> ALL, any other code -> None.

    Only letters and digits count, in any case and width (`processors.rules.spelling`). A market that no document lists
    keeps what is between its letters.
    """
    documented = code if code in _MARKETS else _CODES(code)
    return _MARKETS[documented] if documented in _MARKETS else _market_of(visible(code))


def _market_of(code: str) -> str | None:
    market = before(code, "LIQUIDATEONLY")
    return None if market is None else _DOCUMENTED_MARKETS(before(market, "STOCK") or market) or "ALL"


class _Step(NamedTuple):
    """A snapshot and the one before."""

    last: RestrictionsState | None
    event: AccountUpdate
    account_key: str
    source: RecordOrigin


def judge(
    last: RestrictionsState | None, event: AccountUpdate, account_key: str, source: RecordOrigin
) -> tuple[Held, tuple[Alert, ...]]:
    """Return the markets liquidate-only now, and alerts on those that began or ended; the snapshot is not stale."""
    now = _markets(event["restrictions"])
    before: Held = last["liquidate_only"] if last else {}
    if now.keys() == before.keys():
        return before, ()
    step = _Step(last, event, account_key, source)
    held: Held = {}
    alerts: list[Alert] = []
    for market, code in now.items():
        if market in before:
            held[market] = before[market]
        else:
            alert, held[market] = _fire(step, market, code)
            alerts.append(alert)
    alerts.extend(_resolve(step, market, since) for market, since in before.items() if market not in now)
    return held, tuple(alerts)


def _markets(codes: Iterable[str]) -> dict[str, str]:
    """Return the liquidate-only markets with their first code, in the snapshot's order."""
    markets: dict[str, str] = {}
    for code in codes:
        market = market_of(code)
        if market is not None:
            markets.setdefault(market, code)
    return markets


def _fire(step: _Step, market: str, code: str) -> tuple[Alert, LiquidateOnlyState]:
    event = step.event
    alert = _alert(step, "FIRING", market, "is")
    since: LiquidateOnlyState = {
        "code": code,
        "since_event_id": event["event_id"],
        "since": event["event_time"],
        "since_text": event["event_time_text"],
        "fired_alert_id": alert["alert_id"],
        "first_sight": step.last is None,
        "since_received": received_if_ahead(event["event_time"], step.source),
    }
    alert["first_sight"] = since["first_sight"]
    alert["restriction"] = _evidence(step, since, None)
    return alert, since


def _resolve(step: _Step, market: str, since: LiquidateOnlyState) -> Alert:
    alert = _alert(step, "RESOLVED", market, "is no longer")
    duration_us = elapsed_us(step.event["event_time"], since["since"], since["since_received"], step.source)
    alert["restriction"] = _evidence(step, since, None if duration_us is None else max(duration_us, 0))
    return alert


def _alert(step: _Step, status: Literal["FIRING", "RESOLVED"], market: str, verb: str) -> Alert:
    _, event, account_key, source = step
    account = account_tail(event["account_number"] or account_key)
    summary = f"{market}: account {account} {verb} liquidate-only"
    alert = make_alert(LIQUIDATE_ONLY, event, account_key, source, status=status, subject=market, summary=summary)
    alert["account_number"] = event["account_number"]
    return alert


def _evidence(step: _Step, since: LiquidateOnlyState, duration_us: int | None) -> RestrictionEvidence:
    return {
        "code": since["code"],
        "restrictions": step.event["restrictions"],
        "previous_restrictions": step.last["codes"] if step.last else None,
        "fired_alert_id": since["fired_alert_id"],
        "since_event_id": since["since_event_id"],
        "since": since["since"],
        "since_text": since["since_text"],
        "duration_us": duration_us,
    }
