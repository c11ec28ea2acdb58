"""A record as one line of JSON, everything exact: the form of `tail` and of a webhook's body. Pure."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal


def json_line(document: object) -> str:
    """Compact JSON; decimals as plain text with every digit, times as ISO 8601 in UTC, bytes as `text_or_base64`."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=_plain)


def text_or_base64(content: bytes | None) -> object:
    """Return text if the bytes are UTF-8, otherwise {"base64": ...}; None stays None."""
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return in_base64(content)


def in_base64(content: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(content).decode()}


def iso_millis(millis: int) -> str:
    """Milliseconds since the epoch as YYYY-MM-DDThh:mm:ss.fffZ."""
    return _iso(datetime.fromtimestamp(millis / 1000, UTC), "milliseconds")


def _plain(value: object) -> object:
    match value:
        case Decimal():
            return f"{value:f}"
        case datetime():
            return _iso(value, "microseconds")
        case bytes():
            return text_or_base64(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")


def _iso(time: datetime, digits: str) -> str:
    return time.isoformat(timespec=digits).replace("+00:00", "Z")
