"""TRANSFER_RETURNED: a transfer was returned.

Source: Funding Transfer Events, status RETURNED. It is an occurrence, not a condition: it fires once per transfer and
never resolves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker_events.processors.rules.alerting import TRANSFER_RETURNED, account_tail, make_alert
from broker_events.processors.rules.recency import elapsed_since

if TYPE_CHECKING:
    from broker_events.processors.rules.outcome import RecordOrigin
    from broker_events.schemas.storage_types import Alert, MovementState, Transfer

_SCALE: Final = 18


def fire(state: MovementState, event: Transfer, subject: str, source: RecordOrigin) -> Alert:
    """Return the alert on a RETURNED transfer; `state` is the movement's and already includes the event.

    `completed_*` and `elapsed_us` refer to the oldest COMPLETED event read so far; None without one.
    """
    completed = state["completed"]
    kind = " ".join(word for word in (event["transfer_type"], event["direction"]) if word) or "transfer"
    account = account_tail(event["account_id"] or state["account_key"])
    summary = f"{kind} of {decimal_text(event['amount'])} {event['currency']} returned on account {account}"
    alert = make_alert(
        TRANSFER_RETURNED, event, state["account_key"], source, status="FIRING", subject=subject, summary=summary
    )
    alert["transfer"] = {
        "movement_id": state["movement_id"],
        "client_request_id": event["client_request_id"],
        "transfer_id": event["transfer_id"],
        "transfer_type": event["transfer_type"],
        "direction": event["direction"],
        "amount": event["amount"],
        "currency": event["currency"],
        "reason": event["reason"],
        "completed_event_id": completed["event_id"] if completed else None,
        "completed_event_time": completed["event_time"] if completed else None,
        "completed_event_time_text": completed["event_time_text"] if completed else None,
        "elapsed_us": elapsed_since(event["event_time"], completed, source) if completed else None,
    }
    return alert


def decimal_text(value: bytes) -> str:
    """Shortest exact text of an Avro decimal with 18 decimals (big-endian two's complement): 8010...0 -> 8.01."""
    unscaled = int.from_bytes(value, "big", signed=True)
    digits = str(abs(unscaled)).rjust(_SCALE + 1, "0")
    text = f"{digits[:-_SCALE]}.{digits[-_SCALE:]}".rstrip("0").rstrip(".")
    return f"-{text}" if unscaled < 0 else text
