"""What a transaction makes of the producer's answers; against a real broker it is in tests/broker."""

from __future__ import annotations

from typing import Any

import pytest

import runtime.transaction
from runtime.errors import MustRestart
from runtime.settings import Settings
from runtime.transaction import Transaction


class Queue:
    """A producer that can't get rid of `left` records."""

    def __init__(self, left: int) -> None:
        self.left = left

    def flush(self, _timeout_s: float) -> int:
        return self.left


def transaction(monkeypatch: pytest.MonkeyPatch, left: int) -> Transaction:
    def producer(_config: dict[str, Any]) -> Queue:
        return Queue(left)

    monkeypatch.setattr(runtime.transaction, "Producer", producer)
    return Transaction(Settings(), "broker.rebuild")


def test_a_flush_that_leaves_records_behind_is_no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MustRestart, match="flush: Kafka has not taken 3 records within"):
        transaction(monkeypatch, 3).flush()


def test_a_flush_that_leaves_none_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    transaction(monkeypatch, 0).flush()
