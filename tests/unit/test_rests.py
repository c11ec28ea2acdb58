"""When a source whose events come one by one commits: rarely, and at once when there is enough."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from unittest.mock import Mock

import pytest

from broker_events.runtime.consume import record_source
from broker_events.runtime.consume.fetch import Fetched
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.consume.record_source import RecordSource
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings

TP = TopicPartition("raw", 0)


def made(monkeypatch: pytest.MonkeyPatch, transaction: Mock) -> RecordSource:
    for name in ("Consumer", "TopicIdentity", "SourceLag"):
        monkeypatch.setattr(record_source, name, Mock())
    parts: Any = Settings(), "router", ["raw"], [], Mock(), transaction, Mock(), Mock(), Metrics(), Mock(), Mock()
    return RecordSource(*parts)


@pytest.mark.parametrize(
    ("since_commit_s", "records", "commits"),
    [(0.0, 1, False), (0.0, 10, True), (0.09, 1, False), (0.11, 1, True)],
)
def test_a_source_that_is_read_to_its_end(
    since_commit_s: float, records: int, *, commits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_due() -> tuple[bool, bool]:
        source = made(monkeypatch, Mock(is_open=True, opened_at=time.monotonic()))
        source._read, source._next_offsets = records, {TP: 5}
        source._active_at = time.monotonic()
        source._committed_at = time.monotonic() - since_commit_s
        return source._commit_is_due({TP: Mock()}), source._is_worth_a_commit()

    assert asyncio.run(is_due()) == (commits, commits)


@pytest.mark.parametrize(("is_open", "since_commit_s", "commits"), [(True, 0.2, 1), (False, 0.2, 0), (False, 1.2, 1)])
def test_fetches_of_partition_ends_alone_hold_no_commit_up(
    since_commit_s: float, commits: int, *, is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Markers and aborted records of one partition move its end all the time; offsets alone commit once per second."""
    commit = Mock()
    monkeypatch.setattr(RecordSource, "_commit", commit)

    async def take() -> None:
        source = made(monkeypatch, Mock(is_open=is_open))
        source._assigned, source._committed = {TP}, {TP: 5}
        source._committed_at = time.monotonic() - since_commit_s
        await source._take(Fetched([], {TP: 7}))
        assert source._next_offsets == {TP: 7}

    asyncio.run(take())
    assert commit.call_count == commits
