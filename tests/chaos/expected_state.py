"""The states and alerts that a list of typed records means, folded in the plainest way there is.

Nothing of the rules is used here: all meaning is from the contracts' docs. It relies on what the simulator does: within
a topic the times of one account rise, so nothing is stale; between topics the newest word counts.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self
from uuid import UUID, uuid5

from evidence import Stored
from expected_events import CONTRACTS, TYPED_TOPICS, nanoseconds

NAMESPACE = UUID("6261f28f-fc6c-59a7-817f-efdca5dc1481")  # from the contract of Alert
HISTORY = 32
FINAL = ("CANCELED", "REJECTED", "FAILED", "COMPLETED", "RETURNED")
RANKS = (  # at the same instant the later one wins, from the contract of AccountState
    "ACCOUNT_UNRESTRICTED",
    "ACCOUNT_RESTRICT",
    "ACCOUNT_CLOSE",
    "ACCOUNT_INFO_UPDATE",
    "VIRTUAL_ACCOUNT_BCAN_UPDATE",
    "ACCOUNT_UPDATE",
)
SYSTEM_IDS = ("transfer_id", "fee_id", "instant_funding_id", "credit_id", "instant_exchange_id", "fx_id")
AMOUNTS = ("amount", "from_amount", "to_amount", "fx_rate")
TERMS = ("direction", "currency", "from_currency", "to_currency", *AMOUNTS)


@dataclass
class Projection:
    """States by key; every alert in the order of its condition; what is active, by dedup key."""

    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    movements: dict[str, dict[str, Any]] = field(default_factory=dict)
    alerts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def active(self) -> dict[str, dict[str, Any]]:
        last = {alert["dedup_key"]: alert for alert in self.alerts if alert["rule"] == "LIQUIDATE_ONLY"}
        return {key: alert for key, alert in last.items() if alert["status"] == "FIRING"}


class Typed(NamedTuple):
    """A decoded typed record."""

    key: str
    partition: int
    offset: int
    record: dict[str, Any]

    @classmethod
    def of(cls, stored: Stored) -> Self:
        return cls(str(stored.key), stored.partition, stored.offset, stored.record)


def project(typed: list[Stored]) -> Projection:
    """Fold the typed records of one partition; each topic's are in offset order."""
    projection = Projection()
    accounts: dict[str, list[Stored]] = defaultdict(list)
    movements: dict[str, list[Stored]] = defaultdict(list)
    for stored in typed:
        if TYPED_TOPICS[stored.topic] in RANKS:
            accounts[str(stored.key)].append(stored)
        else:
            movements[_movement_id(Typed.of(stored))].append(stored)
    for key, group in accounts.items():
        projection.accounts[key] = _account(key, sorted(map(Typed.of, group), key=_account_order), projection.alerts)
    for key, group in movements.items():
        projection.movements[key] = _movement(key, [*map(Typed.of, group)], projection.alerts)
    return projection


def _time_order(stored: Typed) -> tuple[datetime, int]:
    return stored.record["event_time"], nanoseconds(stored.record["event_time_text"])


def _account_order(stored: Typed) -> tuple[datetime, int, int]:
    return (*_time_order(stored), RANKS.index(stored.record["biz_type"]))


def _stamp(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in ("event_time", "event_time_text", "event_id")}


def _account(key: str, group: list[Typed], alerts: list[dict[str, Any]]) -> dict[str, Any]:
    state: dict[str, Any] = {"account_key": key, "bcan": {}}
    for name in ("account_id", "account_number", "account_type", "restrictions", "restrict_infos"):
        state[name] = None
    state |= {"info_update": None, "close": None}
    for stored in group:
        event = stored.record
        biz_type, stamp = event["biz_type"], _stamp(event)
        for fact in ("account_id", "account_number", "account_type"):
            if event.get(fact):
                state[fact] = {"value": event[fact], "biz_type": biz_type, **stamp}
        if biz_type == "ACCOUNT_UPDATE":
            state["restrictions"] = _restrictions(state["restrictions"], stored, alerts)
        elif biz_type in ("ACCOUNT_RESTRICT", "ACCOUNT_UNRESTRICTED"):
            state["restrict_infos"] = {"biz_type": biz_type, "infos": event["restrict_infos"], **stamp}
        elif biz_type == "VIRTUAL_ACCOUNT_BCAN_UPDATE":
            state["bcan"][event["type"]] = {"status": event["status"], **stamp}
        else:
            name = "close" if biz_type == "ACCOUNT_CLOSE" else "info_update"
            ids = {"request_id": event.get("request_id"), "client_request_id": event["client_request_id"]}
            state[name] = {"status": event["status"], **ids, **stamp}
    return state


def _restrictions(last: dict[str, Any] | None, stored: Typed, alerts: list[dict[str, Any]]) -> dict[str, Any]:
    event = stored.record
    held = dict(last["liquidate_only"]) if last else {}
    now = {code.split("_")[0]: code for code in event["restrictions"] if code.endswith("_STOCK_LIQUIDATE_ONLY")}
    for market in sorted(now.keys() | held.keys()):
        if market in now and market in held:
            continue
        alert = _alert("LIQUIDATE_ONLY", stored, market)
        if market in now:
            held[market] = {
                "code": now[market],
                "since_event_id": event["event_id"],
                "since": event["event_time"],
                "since_text": event["event_time_text"],
                "fired_alert_id": alert["alert_id"],
                "first_sight": last is None,
            }
            since, duration = held[market], None
        else:
            since = held.pop(market)
            alert["status"], duration = "RESOLVED", _micros(event["event_time"] - since["since"])
        alert["account_number"] = event["account_number"]
        alert["first_sight"] = alert["status"] == "FIRING" and since["first_sight"]
        alert["restriction"] = {
            **{name: since[name] for name in since if name != "first_sight"},
            "restrictions": event["restrictions"],
            "previous_restrictions": last["codes"] if last else None,
            "duration_us": duration,
        }
        alerts.append(alert)
    return {"codes": event["restrictions"], "liquidate_only": held, **_stamp(event)}


def _movement_id(stored: Typed) -> str:
    event = stored.record
    return f"{stored.key}/{event['biz_type']}/{_request_id(event)}"


def _request_id(event: dict[str, Any]) -> str:
    ids = [event["client_request_id"], *(event.get(name) for name in SYSTEM_IDS), event["event_id"]]
    return str(next(filter(None, ids)))


def _movement(key: str, group: list[Typed], alerts: list[dict[str, Any]]) -> dict[str, Any]:
    first = group[0].record
    state: dict[str, Any] = {"movement_id": key, "account_key": group[0].key, "biz_type": first["biz_type"]}
    state |= {"account_id": first["account_id"], "client_request_id": first["client_request_id"]}
    state |= {"system_ids": {}, "type": None, "completed": None, "returned_alert_id": None}
    state |= dict.fromkeys(TERMS)
    for stored in group:
        status = {"status": stored.record["status"], "illegal": False, **_stamp(stored.record)}
        completed = state["completed"]
        if status["status"] == "COMPLETED" and (completed is None or status["event_time"] < completed["event_time"]):
            state["completed"] = status
        if status["status"] == "RETURNED" and state["returned_alert_id"] is None:
            alert = _returned(key, stored, state["completed"])
            state["returned_alert_id"] = alert["alert_id"]
            alerts.append(alert)
    history: list[dict[str, Any]] = []
    for stored in sorted(group, key=_time_order):
        event = stored.record
        before = history[-1]["status"] if history else event["status"]
        history.append(
            {"status": event["status"], "illegal": _is_illegal(before, event["status"]), **_stamp(event)},
        )
        said = {name: event.get(name) for name in TERMS}
        said["type"] = event["transfer_type"] if event["biz_type"] == "TRANSFER" else event.get("type")
        state |= {name: value for name, value in said.items() if value is not None}
        state["system_ids"] |= {name: event[name] for name in SYSTEM_IDS if event.get(name)}
        state |= {"status": event["status"], "reason": event["reason"], **_stamp(event)}
    return {**state, "history": history[-HISTORY:], "history_dropped": max(0, len(history) - HISTORY)}


def _is_illegal(before: str, after: str) -> bool:
    is_return = (before, after) == ("COMPLETED", "RETURNED")
    return before != after and before in FINAL and after in FINAL and not is_return


def _returned(movement_id: str, stored: Typed, completed: dict[str, Any] | None) -> dict[str, Any]:
    event = stored.record
    alert = _alert("TRANSFER_RETURNED", stored, _request_id(event))
    names = ("client_request_id", "transfer_id", "transfer_type", "direction", "amount", "currency", "reason")
    alert["transfer"] = {
        "movement_id": movement_id,
        **{name: event[name] for name in names},
        "completed_event_id": completed["event_id"] if completed else None,
        "completed_event_time": completed["event_time"] if completed else None,
        "completed_event_time_text": completed["event_time_text"] if completed else None,
        "elapsed_us": _micros(event["event_time"] - completed["event_time"]) if completed else None,
    }
    return alert


def _alert(rule: str, stored: Typed, subject: str) -> dict[str, Any]:
    """An alert as it FIRES, all but its summary, which is for people."""
    event = stored.record
    dedup_key = f"{rule}/{stored.key}/{subject}"
    return {
        "alert_id": str(uuid5(NAMESPACE, f"{dedup_key}/{event['event_id']}")),
        "rule": rule,
        "rule_version": 1,
        "status": "FIRING",
        "severity": "critical" if rule == "LIQUIDATE_ONLY" else "warning",
        "dedup_key": dedup_key,
        "account_key": stored.key,
        "account_id": event["account_id"],
        "account_number": None,
        "subject": subject,
        "first_sight": False,
        "event_id": event["event_id"],
        "event_type": event["event_type"],
        "biz_type": event["biz_type"],
        "event_time": event["event_time"],
        "event_time_text": event["event_time_text"],
        "source_topic": f"event.{CONTRACTS[event['biz_type']].topic}",
        "source_partition": stored.partition,
        "source_offset": stored.offset,
        "restriction": None,
        "transfer": None,
    }


def _micros(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)
