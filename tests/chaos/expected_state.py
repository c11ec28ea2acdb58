"""The states and alerts that a list of typed records means, folded in the plainest way there is.

Nothing of the rules is used here: all meaning is from the contracts' docs, docs/adr/0012-trusted-time.md and
docs/adr/0014-movement-identity.md. Workers run with the default MAX_CLOCK_SKEW_S.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from evidence import Stored
from expected_alert import SKEW, SYSTEM_IDS, YEAR_1, Typed, alert_of, elapsed_us, request_id, word
from expected_events import TYPED_TOPICS, nanoseconds
from expected_rules import AccountRules, movement_alerts, remembered

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
AMOUNTS = ("amount", "from_amount", "to_amount", "fx_rate")
LIQUIDATE_ONLY = "LIQUIDATEONLY"
TERMS = ("direction", "currency", "from_currency", "to_currency", *AMOUNTS)


@dataclass
class Projection:
    """PartitionState by key; every alert in the order of its condition; what is active, by dedup key."""

    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    movements: dict[str, dict[str, Any]] = field(default_factory=dict)
    alerts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def active(self) -> dict[str, dict[str, Any]]:
        conditions = (alert for alert in self.alerts if alert["rule"] == "LIQUIDATE_ONLY" or alert["condition"])
        last = {alert["dedup_key"]: alert for alert in conditions}
        return {key: alert for key, alert in last.items() if alert["status"] == "FIRING"}


def project(typed: list[Stored]) -> Projection:
    """Fold the typed records of one partition; each topic's are in offset order."""
    projection = Projection()
    accounts: dict[str, list[Stored]] = defaultdict(list)
    movements = _Movements()
    for stored in typed:
        if TYPED_TOPICS[stored.topic] in RANKS:
            accounts[str(stored.key)].append(stored)
        else:
            movements.add(Typed.of(stored))
    for key, group in accounts.items():
        projection.accounts[key] = _account(key, [*map(Typed.of, group)], projection.alerts)
    projection.movements = movements.states | movements.aliases
    projection.alerts += movements.alerts
    return projection


def _stamp(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in ("event_time", "event_time_text", "event_id")}


def _arrival(stored: Typed, order_time: datetime | None, received: datetime | None = None) -> dict[str, Any]:
    return {"order_time": order_time, "received_time": received or stored.received, "typed_offset": stored.offset}


class Part:
    """A thing that one topic alone states, its events read in the order of arrival."""

    def __init__(self) -> None:
        self.place: tuple[datetime, int] = (YEAR_1, 0)
        self.stamp: dict[str, Any] = {}

    def takes(self, stored: Typed) -> bool:
        """Whether the event isn't stale; `stamp` says from then on what the part says of it."""
        before = self.stamp.get("arrival")
        micros_only = before is not None and before["order_time"] is not None
        time = (stored.time[0], 0) if micros_only else stored.time
        if self.stamp and time < self.place:
            return False
        is_draw = bool(self.stamp) and time == self.place
        order_time = None
        if stored.clock == "wrong":
            order_time = self.place[0]
        elif stored.clock == "fast":
            order_time = max(self.place[0], stored.received - SKEW)
        elif is_draw and micros_only:
            order_time = self.place[0]
        counts = stored.clock != "true" or (is_draw and self.stamp["event_id"] != stored.record["event_id"])
        latest = max(stored.received, before["received_time"]) if before else stored.received
        self.place = (order_time, 0) if order_time else stored.time
        arrival = _arrival(stored, order_time, latest) if counts or before else None
        self.stamp = {**_stamp(stored.record), "arrival": arrival}
        return True


def _newest(said: list[Typed]) -> tuple[Typed, dict[str, Any]] | None:
    """Of the events that several topics have on one thing: the newest, and what the part says of it."""
    if not said:
        return None
    best = [stored for stored in said if _place(stored) == max(map(_place, said))]
    newest = best[-1]
    counts = len({stored.record["event_id"] for stored in best}) > 1 or newest.clock != "true"
    return newest, {**_stamp(newest.record), "arrival": _arrival(newest, None) if counts else None}


def _place(stored: Typed) -> tuple[bool, tuple[datetime, int], int]:
    time = stored.time if stored.clock == "true" else (stored.received, 0)
    return stored.clock != "wrong", time, RANKS.index(stored.record["biz_type"])


def _account(key: str, group: list[Typed], alerts: list[dict[str, Any]]) -> dict[str, Any]:
    """`group` has each topic's events in the order of their offsets."""
    state: dict[str, Any] = {"account_key": key, "bcan": {}, "restrictions": None, "info_update": None, "close": None}
    rules = AccountRules(alerts)
    state["rules"] = rules.memory
    for fact in ("account_id", "account_number", "account_type"):
        found = _newest([stored for stored in group if stored.record.get(fact)])
        state[fact] = found and {"value": found[0].record[fact], "biz_type": found[0].record["biz_type"], **found[1]}
    found = _newest([stored for stored in group if "restrict_infos" in stored.record])
    state["restrict_infos"] = found and {
        "biz_type": found[0].record["biz_type"],
        "infos": found[0].record["restrict_infos"],
        **found[1],
    }
    parts: dict[tuple[str, Any], Part] = defaultdict(Part)
    for stored in group:
        event = stored.record
        biz_type = event["biz_type"]
        part = parts[biz_type, event.get("type")]
        rules.occurred(stored)
        if "restrict_infos" in event or not part.takes(stored):
            continue
        rules.stated(stored)
        if biz_type == "ACCOUNT_UPDATE":
            state["restrictions"] = _restrictions(state["restrictions"], stored, part.stamp, alerts)
        elif biz_type == "VIRTUAL_ACCOUNT_BCAN_UPDATE":
            state["bcan"][event["type"]] = {"status": event["status"], **part.stamp}
        else:
            name = "close" if biz_type == "ACCOUNT_CLOSE" else "info_update"
            ids = {"request_id": event.get("request_id"), "client_request_id": event["client_request_id"]}
            state[name] = {"status": event["status"], **ids, **part.stamp}
    return state


def _restrictions(
    last: dict[str, Any] | None, stored: Typed, stamp: dict[str, Any], alerts: list[dict[str, Any]]
) -> dict[str, Any]:
    event = stored.record
    held = dict(last["liquidate_only"]) if last else {}
    codes = ((word(code), code) for code in reversed(event["restrictions"]))  # the first of a market counts
    marked = ((word.removesuffix(LIQUIDATE_ONLY), code) for word, code in codes if word.endswith(LIQUIDATE_ONLY))
    now = {word.removesuffix("STOCK") or "ALL": code for word, code in marked}
    for market in sorted(now.keys() | held.keys()):
        if market in now and market in held:
            continue
        alert = alert_of("LIQUIDATE_ONLY", stored, market)
        if market in now:
            held[market] = {
                "code": now[market],
                "since_event_id": event["event_id"],
                "since": event["event_time"],
                "since_text": event["event_time_text"],
                "fired_alert_id": alert["alert_id"],
                "first_sight": last is None,
                "since_received": None if stored.clock == "true" else stored.received,
            }
            since, duration = held[market], None
        else:
            since = held.pop(market)
            alert["status"], duration = "RESOLVED", elapsed_us(stored, since["since"], since["since_received"])
            duration = duration and max(duration, 0)
        alert["account_number"] = event["account_number"]
        alert["first_sight"] = alert["status"] == "FIRING" and since["first_sight"]
        alert["restriction"] = {
            **{name: since[name] for name in since if name not in ("first_sight", "since_received")},
            "restrictions": event["restrictions"],
            "previous_restrictions": last["codes"] if last else None,
            "duration_us": duration,
        }
        alerts.append(alert)
    return {"codes": event["restrictions"], "liquidate_only": held, **stamp}


class _Movements:
    """Typed records that share an id of one kind, directly or through others, in the order of arrival.

    Each movement has at most one id of a kind, as the simulator's have.
    """

    def __init__(self) -> None:
        self.aliases: dict[str, dict[str, Any]] = {}
        self.alerts: list[dict[str, Any]] = []
        self._of_id: dict[tuple[str, tuple[str, str], str], list[Typed]] = {}
        self._fired: dict[str, str] = {}  # alert by movement
        self._rules: dict[str, dict[str, dict[str, Any]]] = {}  # by movement and rule

    @property
    def states(self) -> dict[str, dict[str, Any]]:
        groups = {id(group): group for group in self._of_id.values()}.values()
        states = {_movement_id(group): _movement(group) for group in groups}
        return {
            name: state | {"returned_alert_id": self._fired.get(name), "rules": self._rules.get(name, {})}
            for name, state in states.items()
        }

    def add(self, stored: Typed) -> None:
        found = [self._of_id.get((stored.key, *each)) for each in _ids([stored]).items()]
        same = sorted({id(group): group for group in found if group}.values(), key=_rank)
        joined = sorted([stored, *(each for group in same for each in group)], key=lambda each: each.offset)
        self._of_id.update({(stored.key, *each): joined for each in _ids(joined).items()})
        name = _movement_id(joined)
        fired = [self._fired.pop(key) for key in map(_movement_id, same) if key in self._fired]
        if fired:
            self._fired[name] = fired[0]
        elif stored.record["biz_type"] == "TRANSFER" and word(stored.record["status"]) == "RETURNED":
            self.alerts.append(_returned(name, stored, _movement(joined)["completed"]))
            self._fired[name] = self.alerts[-1]["alert_id"]
        memory: dict[str, dict[str, Any]] = {}
        for key in reversed([*map(_movement_id, same)]):
            memory |= self._rules.pop(key, {})
        for alert in movement_alerts(stored, name):
            if alert["rule"] not in memory:
                self.alerts.append(alert)
                memory[alert["rule"]] = remembered(alert, stored)
        self._rules[name] = memory
        renamed = {_movement_id(group): group for group in same}
        renamed.pop(name, None)
        led = [alias for alias in self.aliases.values() if alias["alias_of"] in renamed] if renamed else []
        for alias in led:
            alias.update(alias_of=name, **_stamp(stored.record))
        self.aliases |= {key: _alias(group, name, stored) for key, group in renamed.items()}


def _ids(group: list[Typed]) -> dict[tuple[str, str], str]:
    """Ids by biz_type and kind, the first of them names the movement."""
    kinds = ("client_request_id", *SYSTEM_IDS)
    found = {
        (stored.record["biz_type"], kind): stored.record[kind]
        for kind in kinds
        for stored in group
        if stored.record.get(kind) and not _is_reference(stored.record, kind)
    }
    first = group[0].record
    return found or {(first["biz_type"], "event_id"): first["event_id"]}


def _is_reference(event: dict[str, Any], kind: str) -> bool:
    """Several fees may name one instant funding: its id is a fee's only where the fee has no other."""
    is_named = event["client_request_id"] or event.get("fee_id")
    return event["biz_type"] == "FEE_DEDUCTION" and kind == "instant_funding_id" and bool(is_named)


def _rank(group: list[Typed]) -> int:
    """Of several movements the one with the preferred id comes first."""
    (_, kind), _ = next(iter(_ids(group).items()))
    return ("client_request_id", *SYSTEM_IDS, "event_id").index(kind)


def _movement_id(group: list[Typed]) -> str:
    return f"{group[0].key}/{group[0].record['biz_type']}/{next(iter(_ids(group).values()))}"


def _alias(group: list[Typed], alias_of: str, by: Typed) -> dict[str, Any]:
    (_, kind), value = next(iter(_ids(group).items()))
    alias = dict.fromkeys(("type", "reason", "completed", "returned_alert_id", *TERMS)) | _stamp(by.record)
    return alias | {
        "movement_id": _movement_id(group),
        "account_key": by.key,
        "account_id": by.record["account_id"],
        "biz_type": by.record["biz_type"],
        "client_request_id": None,
        "system_ids": {kind: value},
        "status": "ALIAS",
        "history": [],
        "history_dropped": 0,
        "arrival": None,
        "alias_of": alias_of,
        "rules": {},
    }


def _movement(group: list[Typed]) -> dict[str, Any]:
    key = _movement_id(group)
    first = group[0].record
    state: dict[str, Any] = {"movement_id": key, "account_key": group[0].key, "biz_type": first["biz_type"]}
    requests = [stored.record["client_request_id"] for stored in group if stored.record["client_request_id"]]
    state |= {"account_id": first["account_id"], "client_request_id": next(iter(requests), None)}
    state |= {"system_ids": {}, "type": None, "completed": None, "returned_alert_id": None, "alias_of": None}
    state["rules"] = {}
    state |= dict.fromkeys(TERMS)
    history: list[tuple[tuple[datetime, int], Typed, dict[str, Any]]] = []
    part = Part()
    for stored in group:
        event = stored.record
        entry = {"status": event["status"], "illegal": False, **_stamp(event), "arrival": None}
        said = {name: event.get(name) for name in TERMS}
        said["type"] = event["transfer_type"] if event["biz_type"] == "TRANSFER" else event.get("type")
        said = {name: value for name, value in said.items() if value is not None}
        ids = {name: event[name] for name in SYSTEM_IDS if event.get(name)}
        if part.takes(stored):
            if part.stamp["arrival"] and part.stamp["arrival"]["order_time"]:
                entry["arrival"] = _arrival(stored, part.stamp["arrival"]["order_time"])
            history.append((part.place, stored, entry))
            state |= {**said, "status": event["status"], "reason": event["reason"], **part.stamp}
            state["system_ids"] |= ids
        else:
            entry["arrival"] = None if stored.clock == "true" else _arrival(stored, None)
            after = [place for place, _, _ in history if place <= stored.time]
            history.insert(len(after), (stored.time, stored, entry))
            state |= {name: value for name, value in said.items() if state[name] is None}
            state["system_ids"] = ids | state["system_ids"]
        if len(history) > HISTORY:
            before = part.stamp["arrival"]
            latest = max(stored.received, before["received_time"]) if before else stored.received
            part.stamp["arrival"] = state["arrival"] = _arrival(stored, before and before["order_time"], latest)
        if word(event["status"]) == "COMPLETED" and _is_oldest(stored, state["completed"]):
            state["completed"] = {**entry, "illegal": False}
    entries = [entry for _, _, entry in history]
    for before, after_it in pairwise(entries):
        after_it["illegal"] = _is_illegal(before["status"], after_it["status"])
    cut = max(0, len(entries) - HISTORY)
    return {**state, "history": entries[cut:], "history_dropped": cut}


def _is_oldest(stored: Typed, completed: dict[str, Any] | None) -> bool:
    if completed is None:
        return True
    if stored.clock == "wrong":
        return False
    if (
        elapsed_us(stored, completed["event_time"], completed["arrival"] and completed["arrival"]["received_time"])
        is None
    ):
        return True
    order_time = completed["arrival"] and completed["arrival"]["order_time"]
    if order_time:
        return bool(stored.time[0] < order_time)
    return stored.time < (completed["event_time"], nanoseconds(completed["event_time_text"]))


def _is_illegal(before: str, after: str) -> bool:
    before, after = word(before), word(after)
    is_return = (before, after) == ("COMPLETED", "RETURNED")
    return before != after and before in FINAL and after in FINAL and not is_return


def _returned(movement_id: str, stored: Typed, completed: dict[str, Any] | None) -> dict[str, Any]:
    event = stored.record
    alert = alert_of("TRANSFER_RETURNED", stored, request_id(event))
    names = ("client_request_id", "transfer_id", "transfer_type", "direction", "amount", "currency", "reason")
    alert["transfer"] = {
        "movement_id": movement_id,
        **{name: event[name] for name in names},
        "completed_event_id": completed["event_id"] if completed else None,
        "completed_event_time": completed["event_time"] if completed else None,
        "completed_event_time_text": completed["event_time_text"] if completed else None,
        "elapsed_us": completed
        and elapsed_us(stored, completed["event_time"], completed["arrival"] and completed["arrival"]["received_time"]),
    }
    return alert
