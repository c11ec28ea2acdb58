"""The six funding event types: their ids, statuses and terms.

Source: Funding Events, the field tables and samples of each type. The samples differ from the tables: TRANSFER has no
transfer_id, and FEE_DEDUCTION mostly has instant_funding_id in place of fee_id. Only client_request_id is in every
sample, so it is the preferred id of a movement.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict, cast

from broker_events.processors.rules.spelling import letters

if TYPE_CHECKING:
    from collections.abc import Mapping


class FundingEvent(TypedDict):
    """Fields that all six types share."""

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
    """One type: ids of a request, preferred first; documented statuses; terms as (state's name, event's name).

    `fallback_id` may belong to another request too: it identifies an event only where the event has no other id.
    """

    system_ids: tuple[str, ...]
    statuses: frozenset[str]
    terms: tuple[tuple[str, str], ...]
    fallback_id: str | None = None


_DIGIT = re.compile("[1-9]")
# Texts in place of an id, by their letters without zeros.
_PLACEHOLDERS = {
    *("", "null", "none", "nil", "na", "nan", "undefined", "unknown", "unset", "empty", "missing"),
    *("notset", "notavailable", "notapplicable", "tbd"),
}

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
    "FEE_DEDUCTION": FundingType(("fee_id", "instant_funding_id"), _STATUSES, _PAYMENT, "instant_funding_id"),
    "CREDIT": FundingType(("credit_id",), _STATUSES, _PAYMENT),
    "INSTANT_FUNDING": FundingType(("instant_funding_id",), _STATUSES, _PAYMENT),
    "INSTANT_EXCHANGE": FundingType(("instant_exchange_id",), _STATUSES, _EXCHANGE),
    "EXCHANGE": FundingType(("fx_id",), _STATUSES, (*_EXCHANGE, ("fx_rate", "fx_rate"))),
}

IDS: Final[Mapping[str, tuple[str, ...]]] = {
    biz_type: ("client_request_id", *funding.system_ids) for biz_type, funding in FUNDING_TYPES.items()
}
"""By biz_type: names of all ids, preferred first."""


@lru_cache(1024)  # each id is judged several times per event
def real_id(text: str | None) -> str | None:
    """Return the id; None for an absent one and for a placeholder (docs/adr/0014-movement-identity.md).

    Placeholders are `-1`, texts without any letter or digit other than zero, and words such as `null` and `N/A`.
    """
    if not text or text == "-1":
        return None
    if _DIGIT.search(text):  # the common case
        return text
    return None if letters(text).strip("0") in _PLACEHOLDERS else text


def has_placeholder(event: FundingEvent) -> bool:
    """Whether an id of the event is a placeholder."""
    for name in IDS[event["biz_type"]]:
        text: str | None = event[name]  # type: ignore[literal-required]
        if text and real_id(text) is None:
            return True
    return False


def system_ids(event: FundingEvent) -> dict[str, str]:
    """Return the brokerage's ids of the request by its field names, without empty ones and placeholders."""
    values = cast("Mapping[str, str | None]", event)
    return {name: value for name in FUNDING_TYPES[event["biz_type"]].system_ids if (value := real_id(values[name]))}


def terms(event: FundingEvent) -> dict[str, str | bytes]:
    """Return kind, direction and amounts (decimal bytes) by the names of MovementState, without absent ones."""
    values = cast("Mapping[str, str | bytes | None]", event)
    pairs = FUNDING_TYPES[event["biz_type"]].terms
    return {name: value for name, event_name in pairs if (value := values[event_name]) is not None}


def request_id(event: FundingEvent) -> str:
    """Return the preferred id of the movement, unique per account and type: the first that the event has."""
    return real_id(event["client_request_id"]) or next(iter(system_ids(event).values()), event["event_id"])
