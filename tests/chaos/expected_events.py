"""What the raw and the typed record of an event of the journal have to hold, read in the plainest way there is.

Nothing of the pipeline is used here: the fields are listed anew from the contracts, amounts are Decimals of the JSON
text, times datetimes in UTC.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from journal import WITHOUT_ENVELOPE, JournalEvent

from broker_events.devstack.simulator.simulator import BASE_TIME_NS, STEP_NS

MILLISECOND_TYPES = ("ACCOUNT_UPDATE", "VIRTUAL_ACCOUNT_BCAN_UPDATE")  # their envelope's time has 3 digits, others 9
ENVELOPE_START = '{"id":'


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


def raw_value(event: JournalEvent) -> bytes:
    """Value of the raw record: the payload as pushed, in an envelope of the push message's fields where it had none."""
    if event.payload.startswith(ENVELOPE_START) or event.malformed in WITHOUT_ENVELOPE:
        return event.payload.encode()
    return (
        f'{{"id":"{event.event_id}","event_type":"{event.event_type}","position":"{event.position}",'
        f'"timestamp":"{timestamp(event)}","payload":{event.payload}}}'
    ).encode()


def timestamp(event: JournalEvent) -> str:
    """The envelope's time of an event of a simulator with fixed times."""
    seconds, nanoseconds = divmod(BASE_TIME_NS + event.sequence * STEP_NS, 10**9)
    fraction = f"{nanoseconds:09d}"[: 3 if event.biz_type in MILLISECOND_TYPES else 9]
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction}Z"


def quarantine_reason(event: JournalEvent) -> str:
    """Why a malformed event is quarantined."""
    if event.malformed == "no_payload" and not event.payload.startswith(ENVELOPE_START):
        return "no_envelope"  # a bare JSON string in place of the payload, or of the whole
    return str(event.malformed)


def typed_record(event: JournalEvent) -> dict[str, Any]:
    """The typed record of a valid event, field by field."""
    envelope = json.loads(raw_value(event), parse_float=Decimal)
    payload, contract = envelope["payload"], CONTRACTS[event.biz_type]
    record: dict[str, Any] = {
        "event_id": envelope["id"],
        "event_type": envelope["event_type"],
        "biz_type": payload["biz_type"],
        "position": envelope.get("position"),
        "event_time": instant(envelope["timestamp"]),
        "event_time_text": envelope["timestamp"],
        "account_id": payload.get("account_id", payload.get("account")),
        "extra": {},
    }
    for name in contract.texts:
        record[name] = payload.get(name)
    for name in contract.amounts:
        record[name] = None if name not in payload else Decimal(payload[name])
    for name in contract.times:
        record |= _time(name, payload.get(name))
    for name in contract.lists:
        record[name] = [_restrict_info(item) if isinstance(item, dict) else item for item in payload[name]]
    return record


def _restrict_info(item: dict[str, str]) -> dict[str, Any]:
    name = "restriction_start_time"
    return {"restriction_code": item["restriction_code"], "reason": item.get("reason"), **_time(name, item.get(name))}


def _time(name: str, text: str | None) -> dict[str, Any]:
    return {name: None if text is None else instant(text), f"{name}_text": text}


def instant(text: str) -> datetime:
    """2026-01-01T00:00:00.123456789Z with its digits after the microsecond cut off."""
    return datetime.fromisoformat(f"{text[:19]}+00:00") + timedelta(microseconds=nanoseconds(text) // 1000)


def nanoseconds(text: str) -> int:
    """Nanoseconds past the second."""
    return int(text[20:-1].ljust(9, "0"))
