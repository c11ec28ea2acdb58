"""A schema id that the registry doesn't know: asked for again, then unknown, and no more waiting for a while."""

from __future__ import annotations

import pytest

from broker_events.runtime.schema_ids import SchemaLookup
from broker_events.schemas.registry import SchemaNotRegistered


class Lagging:
    """A registry that knows no schema before so many questions; sleeping moves its clock."""

    def __init__(self, ignorant: int) -> None:
        self.asked = 0
        self.now_s = 100.0
        self._ignorant = ignorant

    def schema_text(self, schema_id: int) -> str:
        self.asked += 1
        if self.asked <= self._ignorant:
            raise SchemaNotRegistered(f"no schema with the id {schema_id}")
        return '"string"'

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def lookup(self, within_s: float = 10.0) -> SchemaLookup:
        return SchemaLookup(self.schema_text, within_s, self.sleep, lambda: self.now_s)


@pytest.mark.parametrize("ignorant", [0, 1, 3])
def test_a_registry_that_lags_behind(ignorant: int) -> None:
    registry = Lagging(ignorant)
    assert registry.lookup()(7) == '"string"'
    assert registry.asked == ignorant + 1


def test_unknown_ids_cost_seconds_once_a_minute() -> None:
    registry = Lagging(1000)
    lookup = registry.lookup()
    for schema_id in range(100):
        with pytest.raises(SchemaNotRegistered, match=f"the id {schema_id}$"):
            lookup(schema_id)
    assert registry.now_s == pytest.approx(103.5)
    assert registry.asked == 4 + 99
    registry.now_s += 60
    with pytest.raises(SchemaNotRegistered):
        lookup(7)
    assert registry.asked == 4 + 99 + 4


def test_a_transaction_does_not_time_out_meanwhile() -> None:
    registry = Lagging(1000)
    with pytest.raises(SchemaNotRegistered):
        registry.lookup(within_s=0.7)(7)
    assert registry.now_s == pytest.approx(100.7)
