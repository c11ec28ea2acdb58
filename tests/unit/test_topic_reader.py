"""What is asked of Kafka for a time."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import OffsetSpec

from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.kafka import topic_reader
from broker_events.runtime.settings import Settings


@pytest.mark.parametrize(("time_ms", "asked"), [(-1, 0), (-3, 0), (0, 0), (1_700_000_000_000, 1_700_000_000_000)])
def test_a_negative_time_is_not_a_command_to_kafka(monkeypatch: pytest.MonkeyPatch, time_ms: int, asked: int) -> None:
    """ListOffsets reads -1 as the end of the partition and -3 as its newest time (KIP-734)."""
    specs: list[OffsetSpec] = []

    def offsets(_settings: Settings, wanted: dict[TopicPartition, OffsetSpec], _stop: object) -> dict[object, int]:
        specs.extend(wanted.values())
        return {}

    monkeypatch.setattr(topic_reader, "_offsets", offsets)
    monkeypatch.setattr(topic_reader, "end_offsets", lambda *_: {})
    topic_reader.offsets_since(Settings(), {TopicPartition("t", 0): time_ms})
    assert [spec._value for spec in specs] == [asked]
