"""What the raw and the typed record of an event of the journal have to hold, read in the plainest way there is.

Nothing of the pipeline is used here: the fields are listed anew from the contracts, amounts are Decimals of the JSON
text, times datetimes in UTC.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from journal import WITHOUT_ENVELOPE, JournalEvent

ENVELOPE_START = '{"id":'
ACCOUNTS = ("account_id", "account")
RESTRICT_INFO = ("restriction_code", "reason", "restriction_start_time")
TIME = re.compile(r"(.{19})(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)")


class Contract(NamedTuple):
    """Topic without the prefix, and the payload's members that are texts, amounts and times."""

    topic: str
    texts: tuple[str, ...] = ()
    amounts: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


_PAYMENT = ("client_request_id", "currency", "type", "status", "reason")
_EXCHANGE = ("client_request_id", "from_currency", "to_currency", "status", "reason")
_REQUEST = ("client_request_id", "account_number")
_VIRTUAL = ("account_number", "account_type")

CONTRACTS = {
    "ACCOUNT_UPDATE": Contract("account-update", _VIRTUAL, (), ("update_time",), ("restrictions",)),
    "VIRTUAL_ACCOUNT_BCAN_UPDATE": Contract(
        "virtual-account-bcan-update", (*_VIRTUAL, "type", "status"), (), ("update_time",)
    ),
    "ACCOUNT_INFO_UPDATE": Contract("account-info-update", ("request_id", *_REQUEST, "status"), (), ("timestamp",)),
    "ACCOUNT_RESTRICT": Contract("account-restrict", _REQUEST, (), ("timestamp",), ("restrict_infos",)),
    "ACCOUNT_UNRESTRICTED": Contract("account-unrestricted", _REQUEST, (), ("timestamp",), ("restrict_infos",)),
    "ACCOUNT_CLOSE": Contract("account-close", (*_REQUEST, "status"), (), ("timestamp",)),
    "FEE_DEDUCTION": Contract(
        "fee-deduction", (*_PAYMENT, "contra_account", "fee_id", "instant_funding_id"), ("amount",), ("update_time",)
    ),
    "CREDIT": Contract("credit", (*_PAYMENT, "contra_account", "credit_id"), ("amount",), ("update_time",)),
    "INSTANT_FUNDING": Contract(
        "instant-funding", (*_PAYMENT, "instant_funding_id", "bank_relationship_id"), ("amount",), ("update_time",)
    ),
    "INSTANT_EXCHANGE": Contract(
        "instant-exchange", (*_EXCHANGE, "instant_exchange_id"), ("from_amount", "to_amount"), ()
    ),
    "EXCHANGE": Contract("exchange", (*_EXCHANGE, "fx_id"), ("from_amount", "to_amount", "fx_rate"), ()),
    "TRANSFER": Contract(
        "transfer",
        (
            "client_request_id",
            "transfer_id",
            "transfer_type",
            "ach_relationship_id",
            "bank_relationship_id",
            "currency",
            "direction",
            "additional_information",
            "status",
            "reason",
        ),
        ("amount", "fee"),
        ("update_time",),
    ),
}
TYPED_TOPICS = {f"event.{contract.topic}": biz_type for biz_type, contract in CONTRACTS.items()}


class Literal(str):
    """A JSON number as written."""

    __slots__ = ()


def raw_value(event: JournalEvent) -> bytes:
    """Value of the raw record: the payload as pushed, in an envelope of the push message's fields where it had none."""
    if event.malformed in WITHOUT_ENVELOPE or {"event_type", "payload"} <= _parse(event.payload).keys():
        return event.payload.encode()
    members = {"id": event.event_id, "event_type": event.event_type, "position": event.position}
    texts = (
        f"{json_text(name)}:{json_text(text)}" for name, text in (members | {"timestamp": event.timestamp}).items()
    )
    return f'{{{",".join(texts)},"simulated":true,"payload":{event.payload}}}'.encode()


def pushed_type(event: JournalEvent) -> str:
    """Event type that the header of the raw record has: the envelope's, which may not be the push message's."""
    return str(_parse(event.payload)["event_type"]) if event.malformed == "unknown_event_type" else event.event_type


def quarantine_reason(event: JournalEvent) -> str:
    """Why a malformed event is quarantined."""
    if event.malformed == "no_payload" and not event.payload.startswith(ENVELOPE_START) and not event.is_hostile:
        return "no_envelope"  # a bare JSON string in place of the payload, or of the whole
    return str(event.malformed)


def typed_record(event: JournalEvent) -> dict[str, Any]:
    """The typed record of a valid event, field by field."""
    envelope = _parse(raw_value(event))
    payload, contract = envelope["payload"], CONTRACTS[event.biz_type]
    accounts = [payload[name] for name in ACCOUNTS if payload.get(name) is not None]
    extra = _unread(envelope, ("id", "event_type", "position", "timestamp", "payload"), "")
    read = ("biz_type", *ACCOUNTS, *contract.texts, *contract.amounts, *contract.times, *contract.lists)
    extra |= _unread(payload, read, "/payload")
    if len({*accounts}) > 1:
        extra["/payload/account"] = json_text(payload["account"])
    record: dict[str, Any] = {
        "event_id": envelope["id"],
        "event_type": envelope["event_type"],
        "biz_type": payload["biz_type"],
        "position": envelope.get("position"),
        "event_time": instant(envelope["timestamp"]),
        "event_time_text": envelope["timestamp"],
        "account_id": accounts[0] if accounts else None,
        "extra": extra,
    }
    for name in contract.texts:
        record[name] = payload.get(name)
    for name in contract.amounts:
        record[name] = None if payload.get(name) is None else Decimal(payload[name])
    for name in contract.times:
        record |= _time(name, payload.get(name))
    for name in contract.lists:
        record[name] = [_restrict_info(item) if isinstance(item, dict) else item for item in payload[name]]
        for number, item in enumerate(payload[name]):
            if isinstance(item, dict):
                extra |= _unread(item, RESTRICT_INFO, f"/payload/{name}/{number}")
    return record


def _parse(text: str | bytes) -> Any:
    return json.loads(text, parse_int=Literal, parse_float=Literal)


def json_text(value: Any) -> str:
    """The shortest JSON text of a parsed value, its numbers as written."""
    if isinstance(value, Literal):
        return value
    if isinstance(value, list):
        return f"[{','.join(map(json_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{json_text(name)}:{json_text(each)}' for name, each in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def _unread(members: dict[str, Any], read: Iterable[str], base: str) -> dict[str, str]:
    """Members that no field holds, as JSON text by their JSON Pointer."""
    names = (name for name in members if name not in read)
    return {f"{base}/{name.replace('~', '~0').replace('/', '~1')}": json_text(members[name]) for name in names}


def _restrict_info(item: dict[str, str]) -> dict[str, Any]:
    name = RESTRICT_INFO[2]
    return {"restriction_code": item["restriction_code"], "reason": item.get("reason"), **_time(name, item.get(name))}


def _time(name: str, text: str | None) -> dict[str, Any]:
    return {name: None if text is None else instant(text), f"{name}_text": text}


def instant(text: str) -> datetime:
    """2026-01-01T02:00:00.123456789+02:00 in UTC, with its digits after the microsecond cut off."""
    second, _, zone = TIME.fullmatch(text).groups()  # type: ignore[union-attr]
    moment = datetime.fromisoformat(f"{second}+00:00")
    if zone != "Z":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        moment += offset if zone[0] == "-" else -offset
    return moment + timedelta(microseconds=nanoseconds(text) // 1000)


def nanoseconds(text: str) -> int:
    """Nanoseconds past the second."""
    return int((TIME.fullmatch(text)[2] or "").ljust(9, "0"))  # type: ignore[index]
