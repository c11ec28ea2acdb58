"""When a source whose events come one by one commits: rarely, and at once when there is enough."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from unittest.mock import Mock

import pytest

from broker_events.runtime.consume import record_source
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.consume.record_source import RecordSource
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings

TP = TopicPartition("raw", 0)


@pytest.mark.parametrize(
    ("since_commit_s", "records", "commits"),
    [(0.0, 1, False), (0.0, 10, True), (0.09, 1, False), (0.11, 1, True)],
)
def test_a_source_that_is_read_to_its_end(
    since_commit_s: float, records: int, *, commits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Consumer", "TopicIdentity", "SourceLag"):
        monkeypatch.setattr(record_source, name, Mock())
    transaction = Mock(is_open=True, opened_at=time.monotonic())
    parts: Any = Settings(), "router", ["raw"], [], Mock(), transaction, Mock(), Mock(), Metrics(), Mock(), Mock()

    async def is_due() -> tuple[bool, bool]:
        source = RecordSource(*parts)
        source._read, source._next_offsets = records, {TP: 5}
        source._active_at = time.monotonic()
        source._committed_at = time.monotonic() - since_commit_s
        return source._commit_is_due({TP: Mock()}), source._is_worth_a_commit()

    assert asyncio.run(is_due()) == (commits, commits)
