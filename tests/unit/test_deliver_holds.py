"""A partition that was held when it was revoked is read again: a consumer keeps its pauses."""

from __future__ import annotations

import threading
from typing import Any

import confluent_kafka
import pytest

from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.settings import load_settings
from broker_events.sinks.deliver import group as group_module
from broker_events.sinks.deliver.group import ReceiverGroup
from broker_events.sinks.deliver.window import Progress


class Pausing:
    """A consumer that keeps its pauses in every assignment, as that of librdkafka does."""

    def __init__(self, *_: object) -> None:
        self.paused: set[int] = set()
        self.rebalance: Any = None

    def pause(self, places: list[confluent_kafka.TopicPartition]) -> None:
        self.paused |= {tp.partition for tp in places}

    def resume(self, places: list[confluent_kafka.TopicPartition]) -> None:
        self.paused -= {tp.partition for tp in places}

    def assign(self, places: list[confluent_kafka.TopicPartition]) -> None:
        self.assigned = places

    def consume(self, *_: object) -> list[object]:
        if self.rebalance is not None:
            self.rebalance()
            self.rebalance = None
        return []


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> ReceiverGroup:
    monkeypatch.setattr(group_module, "Consumer", Pausing)
    for name in ("Transaction", "TopicIdentity"):
        monkeypatch.setattr(group_module, name, lambda *_: type("Any", (), {"poll": lambda _: None})())
    monkeypatch.setattr(group_module, "keep_trying", lambda *_: {})
    starts = {TopicPartition("alerts", number): Progress(5, frozenset()) for number in (0, 1)}
    monkeypatch.setattr(ReceiverGroup, "_starts", lambda *_: starts)
    nothing: Any = None
    return ReceiverGroup(load_settings(), "desk", nothing, threading.Event(), lambda _: None, lambda: None)


def test_a_held_partition_is_read_when_it_is_assigned_again(group: ReceiverGroup) -> None:
    consumer: Any = group._consumer
    assigned = [confluent_kafka.TopicPartition("alerts", number) for number in (0, 1)]
    group._on_assign(consumer, assigned)
    group.hold([0, 1])
    assert consumer.paused == {0, 1}
    group._on_revoke(consumer, assigned)
    group._on_assign(consumer, assigned)
    assert consumer.paused == set()
    group.hold([0])
    assert consumer.paused == {0}
    # A rebalance during a poll assigns twice.
    consumer.rebalance = lambda: group._on_assign(consumer, assigned)
    group.poll(0)
    assert consumer.paused == set()
