"""Account key of an event: the Kafka key of raw and typed records."""

from collections.abc import Mapping
from typing import Any

from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.schema_rules import MAX_ID_BYTES

# Fees and credits name the account `account`. Their `contra_account` is the firm's own account, never the key.
KEY_MEMBERS = ("account_id", "account", "account_number", "client_request_id")


def account_key(payload: Mapping[str, Any]) -> str | None:
    """Return the first of `KEY_MEMBERS` in the payload that is a string and not empty.

    Returns None if there is none or if it exceeds `MAX_ID_BYTES`. Later members never replace an oversized one.
    """
    member = _member(payload)
    return None if member is None or utf8_bytes(payload[member]) > MAX_ID_BYTES else payload[member]


def missing_key(payload: Mapping[str, Any]) -> InvalidEvent:
    """Return why an event has no account key."""
    member = _member(payload)
    if member is not None and (size := utf8_bytes(payload[member])) > MAX_ID_BYTES:
        return InvalidEvent(
            Reason.TOO_LARGE, f"/payload/{member}", f"expected at most {MAX_ID_BYTES} bytes, got {size}"
        )
    return InvalidEvent(Reason.NO_ACCOUNT, "/payload", "no account_id, account, account_number or client_request_id")


def check_key(key: bytes) -> None:
    """Raise `InvalidEvent` unless a record's key is UTF-8 of at most `MAX_ID_BYTES`."""
    if len(key) > MAX_ID_BYTES:
        raise InvalidEvent(Reason.TOO_LARGE, "", f"the record's key has {len(key)} bytes, the limit is {MAX_ID_BYTES}")
    try:
        key.decode()
    except UnicodeDecodeError:
        raise InvalidEvent(Reason.NO_ACCOUNT, "", "the record's key is not UTF-8") from None


def utf8_bytes(text: str) -> int:
    """Return the size of a text in UTF-8 bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _member(payload: Mapping[str, Any]) -> str | None:
    for member in KEY_MEMBERS:
        value = payload.get(member)
        if isinstance(value, str) and value:
            return member
    return None
