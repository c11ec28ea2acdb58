"""Which account an event belongs to: the Kafka key of raw and typed records."""

from collections.abc import Mapping
from typing import Any

# Fees and credits call the account `account`; their `contra_account` is the firm's own and never the key.
_MEMBERS = ("account_id", "account", "account_number", "client_request_id")


def account_key(payload: Mapping[str, Any]) -> str | None:
    """Return the payload's first member of these that is a string and not empty; None if there is none."""
    for member in _MEMBERS:
        value = payload.get(member)
        if isinstance(value, str) and value:
            return value
    return None
