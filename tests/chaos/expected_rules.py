"""What the rules as data alert, in plain Python: neither CEL nor a rule.toml is read.

All meaning is from the brokerage's documents, docs/adr/0023-rules-as-data.md and docs/how-to/add-alert-rule.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from expected_alert import SYSTEM_IDS, Typed, alert_of, elapsed_us, request_id, word

RULES = (
    "account-closed",
    "account-restricted",
    "credit-failed",
    "exchange-or-instant-funding-failed",
    "fee-failed",
    "info-update-rejected",
    "large-transfer",
    "no-trade",
    "trading-permission-denied",
    "transfer-rejected",
)
"""All rules of the package: every worker has them on."""

FAILED = ("FAILED", "REJECTED")
ON_MOVEMENTS = (
    ("FEE_FAILED", ("FEE_DEDUCTION",), FAILED),
    ("CREDIT_FAILED", ("CREDIT",), FAILED),
    ("EXCHANGE_OR_INSTANT_FUNDING_FAILED", ("EXCHANGE", "INSTANT_EXCHANGE", "INSTANT_FUNDING"), FAILED),
    ("TRANSFER_REJECTED", ("TRANSFER",), ("REJECTED",)),
    ("LARGE_TRANSFER", ("TRANSFER",), ("COMPLETED",)),
)
LARGE = {"USD": Decimal(100_000), "HKD": Decimal(780_000), "CNH": Decimal(720_000)}
LARGE_IN_OTHERS = Decimal(100_000)
NO_TRADE = "NOTRADE"


def remembered(alert: dict[str, Any], stored: Typed) -> dict[str, Any]:
    """What a state has of an alert."""
    names = ("alert_id", "event_id", "event_time", "event_time_text")
    return {name: alert[name] for name in names} | {"received_time": stored.received, "typed_offset": stored.offset}


def movement_alerts(stored: Typed, movement_id: str) -> Iterator[dict[str, Any]]:
    """The alerts that an event raises if its movement has not raised them before."""
    event = stored.record
    for rule, biz_types, statuses in ON_MOVEMENTS:
        if event["biz_type"] not in biz_types or word(event["status"]) not in statuses:
            continue
        if rule == "LARGE_TRANSFER" and event["amount"] < LARGE.get(event["currency"], LARGE_IN_OTHERS):
            continue
        alert = alert_of(rule, stored, request_id(event))
        alert["movement"] = {
            "movement_id": movement_id,
            "client_request_id": event["client_request_id"],
            "system_ids": {name: event[name] for name in SYSTEM_IDS if event.get(name)},
        }
        yield alert


class AccountRules:
    """The rules on one account, whose events are read topic by topic in the order of their offsets."""

    def __init__(self, alerts: list[dict[str, Any]]) -> None:
        self.memory: dict[str, dict[str, Any]] = {}
        self._alerts = alerts

    def occurred(self, stored: Typed) -> None:
        """An event, late or not."""
        event = stored.record
        biz_type, request = event["biz_type"], event.get("client_request_id")
        status = word(event.get("status") or "")
        if biz_type in ("ACCOUNT_RESTRICT", "ACCOUNT_UNRESTRICTED"):
            rule, subject = "ACCOUNT_RESTRICTED", "restricted" if biz_type == "ACCOUNT_RESTRICT" else "unrestricted"
        elif biz_type == "ACCOUNT_CLOSE" and status == "APPROVED":
            rule, subject = "ACCOUNT_CLOSED", event["event_id"] if request is None else request
        elif biz_type == "ACCOUNT_INFO_UPDATE" and status == "REJECTED":
            ids = (request, event["request_id"], event["event_id"])
            rule, subject = "INFO_UPDATE_REJECTED", next(each for each in ids if each is not None)
        else:
            return
        alert = self._raise(rule, stored, subject)
        self.memory[f"{rule}/{biz_type}"] = remembered(alert, stored)

    def stated(self, stored: Typed) -> None:
        """An event that is the newest on its part of the state."""
        event = stored.record
        if event["biz_type"] == "ACCOUNT_UPDATE":
            words = [word(code) for code in event["restrictions"]]
            markets = [each.removesuffix(NO_TRADE) for each in words if each.endswith(NO_TRADE)]
            now = {market.removesuffix("STOCK") or "ALL" for market in markets}
            held = {key.partition("/")[2] for key in self.memory if key.startswith("NO_TRADE/")}
            for market in now ^ held:
                self._turn("NO_TRADE", stored, market, holds=market in now)
        elif event["biz_type"] == "VIRTUAL_ACCOUNT_BCAN_UPDATE":
            is_denied = word(event["status"]) == "FAILED"
            if is_denied != (f"TRADING_PERMISSION_DENIED/{event['type']}" in self.memory):
                self._turn("TRADING_PERMISSION_DENIED", stored, event["type"], holds=is_denied)

    def _turn(self, rule: str, stored: Typed, subject: str, *, holds: bool) -> None:
        alert = self._raise(rule, stored, subject)
        key = f"{rule}/{subject}"
        if holds:
            since, duration = remembered(alert, stored), None
            self.memory[key] = since
        else:
            since = self.memory.pop(key)
            duration = elapsed_us(stored, since["event_time"], since["received_time"])
            alert["status"], duration = "RESOLVED", duration and max(duration, 0)
        alert["condition"] = {
            "fired_alert_id": since["alert_id"],
            "since_event_id": since["event_id"],
            "since": since["event_time"],
            "since_text": since["event_time_text"],
            "duration_us": duration,
        }

    def _raise(self, rule: str, stored: Typed, subject: str) -> dict[str, Any]:
        alert = alert_of(rule, stored, subject)
        alert["account_number"] = stored.record["account_number"]
        self._alerts.append(alert)
        return alert
