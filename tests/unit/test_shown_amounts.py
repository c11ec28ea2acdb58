"""Amounts for people: every digit, with separators."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from broker_events.cli.current_state import amount_text
from broker_events.runtime.events.amounts import for_people

SHOWN = {
    "0": "0",
    "0E-18": "0",
    "-0.5": "-0.5",
    "51844.860000000000000000": "51,844.86",
    "1000": "1,000",
    "0.000000000000000001": "0.000000000000000001",
    "99999999999999999999.999999999999999999": "99,999,999,999,999,999,999.999999999999999999",
    "-12345678901234567890.123456789012345678": "-12,345,678,901,234,567,890.123456789012345678",
}


@pytest.mark.parametrize(("value", "text"), SHOWN.items())
def test_no_digit_is_lost(value: str, text: str) -> None:
    assert for_people(Decimal(value)) == text


def test_a_movement_of_nothing_has_an_amount() -> None:
    sides: dict[str, Any] = dict.fromkeys(("from_amount", "from_currency", "to_amount", "to_currency"))
    movement: Any = SimpleNamespace(amount=Decimal(0), currency="USD", **sides)
    assert amount_text(movement) == "0 USD"
    movement.amount = None
    assert amount_text(movement) == ""
