"""Account key of an event: the Kafka key of raw and typed records (docs/adr/0013-account-key.md).

The bridge sets the key of a raw record before the biz_type is known: the first of `KEY_MEMBERS` that is a string and
not empty. If a contract lists `account_key`, its events are typed only with one of these members.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from broker_events.schemas.catalog import AccountMember
from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.schema_rules import MAX_ID_BYTES

KEY_MEMBERS: Final[tuple[AccountMember, ...]] = get_args(AccountMember)
"""Payload members that can give the key, the preferred one first.

Fees and credits name the account `account`. Their `contra_account` is the firm's own account, never the key.
"""

ACCOUNT_IDS: Final[tuple[AccountMember, ...]] = ("account_id", "account")
"""Members that hold the brokerage's id of an account. The others are substitutes."""


def account_key(payload: Mapping[str, Any]) -> str | None:
    """Return the first of `KEY_MEMBERS` in the payload that is a string and not empty.

    Returns None if there is none or if it exceeds `MAX_ID_BYTES`. Later members never replace an oversized one.
    """
    member = account_member(payload)
    return None if member is None or utf8_bytes(payload[member]) > MAX_ID_BYTES else payload[member]


def account_member(payload: Mapping[str, Any], members: Sequence[AccountMember] = KEY_MEMBERS) -> AccountMember | None:
    """Return the first of these members that is a string and not empty."""
    for member in members:
        value = payload.get(member)
        if isinstance(value, str) and value:
            return member
    return None


def missing_key(payload: Mapping[str, Any], members: Sequence[AccountMember] = KEY_MEMBERS) -> InvalidEvent:
    """Return why an event has no account key among these members."""
    member = account_member(payload, members)
    if member is not None and (size := utf8_bytes(payload[member])) > MAX_ID_BYTES:
        return InvalidEvent(
            Reason.TOO_LARGE, f"/payload/{member}", f"expected at most {MAX_ID_BYTES} bytes, got {size}"
        )
    return InvalidEvent(Reason.NO_ACCOUNT, "/payload", f"no {' or '.join(members)} that is a text")


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
