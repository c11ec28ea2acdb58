"""A worker that is given partitions asks what is committed of them until Kafka tells it of each."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest
from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as Wanted

from broker_events.runtime.consume import record_source
from broker_events.runtime.consume.offset_note import OffsetNote
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.consume.record_source import RecordSource
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings


def committed(partition: int, offset: int, error: KafkaError | None = None) -> Any:  # a real one's error is read-only
    return Mock(topic="raw", partition=partition, offset=offset, error=error, metadata=OffsetNote("id").encode())


def test_a_partition_whose_offset_cannot_be_told_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, processor, stop = Mock(), Mock(), Mock(**{"wait.return_value": False})
    consumer.committed.side_effect = [
        [committed(0, 5), committed(1, -1001, KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS))],
        [committed(0, 5), committed(1, 7)],
    ]
    monkeypatch.setattr(record_source, "Consumer", Mock(return_value=consumer))
    monkeypatch.setattr(record_source, "start_offsets", lambda _, __, offsets, *___: offsets)
    monkeypatch.setattr(record_source, "SourceLag", Mock())
    monkeypatch.setattr(record_source, "TopicIdentity", Mock(return_value=Mock(ids={"raw": "id"})))

    parts: Any = Settings(), "router", ["raw"], [], Mock(), Mock(), processor, Mock(), Metrics(), Mock(), stop

    async def assign() -> None:
        source = RecordSource(*parts)
        source._on_assign(consumer, [Wanted("raw", 0), Wanted("raw", 1)])
        source._restorer.wait(10)

    asyncio.run(assign())
    positions, _, foreign = processor.restore.call_args.args
    assert foreign == set()
    assert positions == {TopicPartition("raw", 0): 5, TopicPartition("raw", 1): 7}
    stop.wait.assert_called_once()
