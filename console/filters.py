"""Text of values in pages: nothing that a browser or a reader could take for something else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from markupsafe import Markup

from broker_events.runtime.process.terminal import escaped

_THOUSAND: Final = 1000


def text(value: object) -> str:
    """Return a value as text; control and direction characters become visible escapes."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return escaped(json.dumps(value, ensure_ascii=False))
    return escaped(str(value))


def indented(value: object) -> str:
    """Return a value as indented JSON."""
    return escaped(json.dumps(value, ensure_ascii=False, indent=2))


def amount(value: object) -> str:
    """Return a decimal without trailing zeros, its digits in groups of three: `1,234.5`. Other text stays."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return text(value)
    return f"{number.normalize():,f}" if number.is_finite() else text(value)


def money(movement: Mapping[str, Any]) -> str:
    """Return `1,234.50 USD` of a movement's document, for an exchange `100 USD → 782.1 HKD`."""
    sides = [
        f"{amount(movement[name])} {movement[currency] or ''}".rstrip()
        for name, currency in (("amount", "currency"), ("from_amount", "from_currency"), ("to_amount", "to_currency"))
        if movement[name] is not None
    ]
    return escaped(" → ".join(sides))


def number(value: float | None) -> str:
    """Return `12,345`; below 100 with one decimal place if it has any."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.1f}"  # noqa: PLR2004


def moment(value: object) -> Markup:
    """Return a <time> of an ISO 8601 text in UTC; a script adds the local time on hover."""
    if not value:
        return Markup("-")
    shown = escaped(str(value)).replace("T", " ").removesuffix("Z")
    head, dot, fraction = shown.partition(".")
    if dot:
        shown = f"{head}.{fraction[:3]}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(str(value), f"{value} UTC", shown)


def seconds(value: float | None) -> str:
    """Return a duration: `0.2 s`, `3 min`, `5 h`, `2 d`."""
    if value is None:
        return "-"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if value >= 2 * size:
            return f"{value / size:.0f} {unit}"
    if value == 0:
        return "0 s"
    return f"{value:.1f} s" if value >= 0.1 else f"{value * _THOUSAND:.0f} ms"  # noqa: PLR2004


def size(value: int) -> str:
    """Return `12 bytes`, `3.4 KB`, `8.0 MB`."""
    if value < _THOUSAND:
        return f"{value} bytes"
    return f"{value / 1000:.1f} KB" if value < _THOUSAND**2 else f"{value / 1_000_000:.1f} MB"


def ago(value: object) -> str:
    """Return how long ago an ISO 8601 time was."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return ""
    return f"{seconds(max((datetime.now(UTC) - at).total_seconds(), 0))} ago"


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "text": text,
    "indented": indented,
    "amount": amount,
    "money": money,
    "number": number,
    "moment": moment,
    "seconds": seconds,
    "size": size,
    "ago": ago,
}
"""Filters of the templates."""
