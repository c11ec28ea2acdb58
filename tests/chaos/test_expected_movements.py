"""The oracle's movements and the product's are the same, for ids in any subset and order."""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from expected_alert import Typed
from expected_state import _Movements

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from rules_events import ACCOUNT, CATALOG, fold, transfer

from broker_events.processors.alert_rules.load import SHIPPED
from broker_events.processors.alert_rules.rule import compile_rule

DATA_RULES = [compile_rule(CATALOG, SHIPPED / name, {}) for name in ("transfer-rejected", "large-transfer")]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(50))
def test_the_oracle_finds_the_movements_that_the_rules_find(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 (a test's)
    statuses = ("PENDING", "completed ", "COMPLETED", "REJECTED", "Returned")
    events: list[dict[str, Any]] = []
    for number in rng.sample(range(12), 8):
        movement = number % 2
        ids = rng.choice([("R", None), (None, "T"), ("R", "T")])
        named = [name and f"{name}{movement}" for name in ids]
        status = rng.choice(statuses)
        events.append(
            transfer(status, ns=number * 10**9, client_request_id=named[0], transfer_id=named[1], reason=None)
        )
    movements = _Movements()
    for offset, one in enumerate(events):
        known = _as_read(one)
        movements.add(Typed(ACCOUNT, 3, offset, known["event_time"], known))
    expected = movements.states | movements.aliases
    folded = fold(*events, rules=DATA_RULES)
    assert folded.states.keys() == expected.keys()
    for key, state in folded.states.items():
        assert {name: _as_read(state)[name] for name in expected[key]} == expected[key]
    alerts = [(alert["alert_id"], alert["transfer"], alert["movement"]) for alert in movements.alerts]
    found = [(alert["alert_id"], _as_read(alert["transfer"]), alert["movement"]) for alert in folded.alerts]
    assert sorted(found, key=str) == sorted(alerts, key=str)


def _as_read(stored: Any) -> Any:
    """A part of a record with times as datetimes and amounts as decimals."""
    if isinstance(stored, bytes):
        return Decimal(int.from_bytes(stored, "big", signed=True)).scaleb(-18)
    if isinstance(stored, dict):
        return {
            name: _EPOCH + timedelta(microseconds=each) if name.endswith("_time") and each else _as_read(each)
            for name, each in stored.items()
        }
    return [_as_read(each) for each in stored] if isinstance(stored, list) else stored
