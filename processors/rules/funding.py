"""What the six funding event types say about a movement, and under which names.

The samples differ from the broker's field tables: TRANSFER has no transfer_id, FEE_DEDUCTION mostly has
instant_funding_id in place of fee_id. The only id in every sample is client_request_id, so it names a movement first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict, cast

if TYPE_CHECKING:
    from collections.abc import Mapping


class FundingEvent(TypedDict):
    """What all six types have under one name."""

    event_id: str
    event_type: str
    biz_type: str
    event_time: int
    event_time_text: str
    account_id: str | None
    client_request_id: str | None
    status: str
    reason: str | None


class FundingType(NamedTuple):
    """One type: the broker's ids of a request, most telling first; documented statuses; terms as (state's, event's)."""

    system_ids: tuple[str, ...]
    statuses: frozenset[str]
    terms: tuple[tuple[str, str], ...]


_STATUSES = frozenset({"CANCELED", "REJECTED", "FAILED", "COMPLETED"})
_PAYMENT = (("type", "type"), ("amount", "amount"), ("currency", "currency"))
_EXCHANGE = (
    ("from_amount", "from_amount"),
    ("from_currency", "from_currency"),
    ("to_amount", "to_amount"),
    ("to_currency", "to_currency"),
)

FUNDING_TYPES: Final[Mapping[str, FundingType]] = {
    "TRANSFER": FundingType(
        ("transfer_id",),
        frozenset({"CANCELED", "REJECTED", "COMPLETED", "RETURNED"}),
        (("type", "transfer_type"), ("direction", "direction"), ("amount", "amount"), ("currency", "currency")),
    ),
    "FEE_DEDUCTION": FundingType(("fee_id", "instant_funding_id"), _STATUSES, _PAYMENT),
    "CREDIT": FundingType(("credit_id",), _STATUSES, _PAYMENT),
    "INSTANT_FUNDING": FundingType(("instant_funding_id",), _STATUSES, _PAYMENT),
    "INSTANT_EXCHANGE": FundingType(("instant_exchange_id",), _STATUSES, _EXCHANGE),
    "EXCHANGE": FundingType(("fx_id",), _STATUSES, (*_EXCHANGE, ("fx_rate", "fx_rate"))),
}


def system_ids(event: FundingEvent) -> dict[str, str]:
    """Return the broker's ids of the request by the broker's field names; empty ones are left out."""
    values = cast("Mapping[str, str | None]", event)
    return {name: value for name in FUNDING_TYPES[event["biz_type"]].system_ids if (value := values[name])}


def terms(event: FundingEvent) -> dict[str, str | bytes]:
    """Return kind, direction and amounts (decimal bytes) by the names of MovementState; unsaid ones are left out."""
    values = cast("Mapping[str, str | bytes | None]", event)
    pairs = FUNDING_TYPES[event["biz_type"]].terms
    return {name: value for name, event_name in pairs if (value := values[event_name]) is not None}


def request_id(event: FundingEvent) -> str:
    """Return what names the movement among those of its account and type: the first id that is not empty."""
    return event["client_request_id"] or next(iter(system_ids(event).values()), event["event_id"])
