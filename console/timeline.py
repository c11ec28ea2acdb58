"""The time line of an account: what the state, the shown movements and the active alerts say, newest first. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from broker_events.console.answers import AccountAnswer


class Entry(NamedTuple):
    """One event: when the brokerage says that it happened (as received), its type, what it says, its id."""

    at: str
    kind: str
    text: str
    event_id: str


def timeline(answer: AccountAnswer) -> list[Entry]:
    """Return the events that the account's state and the shown movements name. The state keeps the last of a type."""
    found = {*_of_state(answer.account.state or {}), *_of_movements(answer)}
    return sorted(found, key=lambda entry: entry.at, reverse=True)


def _of_state(state: dict[str, Any]) -> Iterator[Entry]:
    for name in ("account_id", "account_number", "account_type"):
        if (fact := state.get(name)) is not None:
            yield _entry(fact, str(fact["biz_type"]), f"{name.replace('_', ' ')} {fact['value']}")
    if (restrictions := state.get("restrictions")) is not None:
        codes = ", ".join(restrictions["codes"]) or "none"
        yield _entry(restrictions, "ACCOUNT_UPDATE", f"restrictions: {codes}")
    if (infos := state.get("restrict_infos")) is not None:
        yield _entry(infos, str(infos["biz_type"]), "list of restrictions")
    for kind, bcan in (state.get("bcan") or {}).items():
        yield _entry(bcan, "VIRTUAL_ACCOUNT_BCAN_UPDATE", f"BCAN {kind}: {bcan['status']}")
    for name, biz_type in (("info_update", "ACCOUNT_INFO_UPDATE"), ("close", "ACCOUNT_CLOSE")):
        if (outcome := state.get(name)) is not None:
            yield _entry(outcome, biz_type, str(outcome["status"]))


def _of_movements(answer: AccountAnswer) -> Iterator[Entry]:
    for each in answer.movements:
        movement = each.movement
        for event in movement["history"]:
            text = f"{event['status']}{' (illegal)' if event['illegal'] else ''}"
            yield _entry(event, str(movement["biz_type"]), text)


def _entry(fact: dict[str, Any], kind: str, text: str) -> Entry:
    return Entry(str(fact["event_time"]), kind, text, str(fact["event_id"]))
