"""A record whose output Kafka refuses: quarantined after the second time, and counted once it is committed."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest

from broker_events.runtime.consume import record_source
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.consume.record_source import RecordSource
from broker_events.runtime.kafka.transaction import RecordRefused
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.quarantine.writer import Quarantine
from broker_events.runtime.settings import Settings
from broker_events.schemas.invalid_event import InvalidEvent, Reason

ONE, TWO = TopicPartition("raw", 0), TopicPartition("raw", 1)
REFUSED = RecordRefused("produce: refused", InvalidEvent(Reason.REFUSED, "", "refused"))


def in_source(monkeypatch: pytest.MonkeyPatch, check: Any) -> None:
    """Call `check` with a source that has both partitions, and its quarantine."""
    for name in ("Consumer", "TopicIdentity", "SourceLag", "give_back"):
        monkeypatch.setattr(record_source, name, MagicMock())

    async def run() -> None:
        quarantine = Mock()
        source = RecordSource(
            Settings(),
            "router",
            ["raw"],
            [],
            Mock(),
            Mock(opened_at=0.0),
            Mock(),
            quarantine,
            Metrics(),
            Mock(),
            Mock(),
        )
        source._assigned, source._committed = {ONE, TWO}, {ONE: 5, TWO: 7}
        check(source, quarantine)

    asyncio.run(run())


def refuse(source: RecordSource, tp: TopicPartition, offset: int, read: int = 1) -> None:
    source._given, source._read = {tp: offset}, read
    source._narrow(REFUSED)
    source._restorer.wait(10)
    restored = source._restorer.finished()
    assert restored is not None
    source._begin_reading(restored)


def test_it_is_quarantined_after_the_second_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(source: RecordSource, quarantine: Mock) -> None:
        refuse(source, ONE, 9, read=5)
        for tp in (ONE, TWO):  # the order of partitions may alternate
            refuse(source, tp, 7)
            assert not source._refused._problems
        refuse(source, ONE, 7)
        refuse(source, TWO, 7)
        assert [*source._refused._problems] == [(ONE, 7), (TWO, 7)]
        assert quarantine.after_abort.call_count == 5
        with pytest.raises(OperatorActionRequired, match="it is the quarantine record"):
            refuse(source, TWO, 7)

    in_source(monkeypatch, check)


def test_a_record_that_was_refused_once_and_committed_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(source: RecordSource, quarantine: Mock) -> None:
        refuse(source, ONE, 5)
        monkeypatch.setattr(source, "_to_commit", Mock())
        source._next_offsets[ONE] = 6
        source._commit()
        assert not source._refused._once
        quarantine.after_commit.assert_called_once_with()

    in_source(monkeypatch, check)


def test_aborted_records_are_not_counted() -> None:
    """They are read again: their number must not exceed a limit that they don't exceed once."""
    metrics, health = Metrics(), Mock()
    settings = Settings(quarantine_limit_consecutive=100, quarantine_limit_action="stop")
    quarantine = Quarantine(settings, "router", Mock(), metrics, health, {})
    records: list[Any] = [
        Mock(
            **{"headers.return_value": [], "timestamp.return_value": (1, 1), "value.return_value": b"no JSON"},
            **{"topic.return_value": "raw", "partition.return_value": 0, "offset.return_value": offset},
        )
        for offset in range(60)
    ]

    def process(ended: int, begun: int = 0) -> None:
        for record in records[: ended + begun]:
            quarantine.put(Mock(), record, InvalidEvent(Reason.NOT_JSON, ""))
            if record is records[ended - 1]:
                quarantine.end_batch({ONE: records[:ended]})

    def counted() -> float | None:
        labels = {"stage": "router", "reason": "not_json", "biz_type": "other"}
        return metrics.registry.get_sample_value("broker_events_quarantined_total", labels)

    process(60)
    quarantine.after_abort()
    process(40, begun=20)
    quarantine.after_abort()
    process(30)
    assert counted() == 0
    quarantine.after_commit()
    quarantine.after_commit()
    assert counted() == 30
    process(60)
    assert quarantine.end_of_work is None
    health.alarm.assert_called_once_with(None)
    quarantine.after_commit()
    assert counted() == 90
    assert quarantine.end_of_work is None
    process(60)
    quarantine.after_commit()
    assert "150 consecutive" in str(quarantine.end_of_work)
