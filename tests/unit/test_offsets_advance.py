"""A batch that begins below the position ends the worker before anything of it is processed, by both fetch paths."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any
from unittest.mock import Mock

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as Assigned

from broker_events.native import extension
from broker_events.runtime.consume import record_source
from broker_events.runtime.consume.fetch import fetch_of
from broker_events.runtime.consume.record import Part, TopicPartition
from broker_events.runtime.consume.record_source import RecordSource
from broker_events.runtime.kafka.native_client import make_client
from broker_events.runtime.process.errors import OperatorActionRequired, RestartRequired
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings

TP = TopicPartition("t", 0)
LIMIT_S = 20.0


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.skipif(not extension.native, reason="no Rust"))])
def part(request: pytest.FixtureRequest) -> Any:
    """Return records 0 to 9 as the Python path or the native one fetches them, from librdkafka's mock of a cluster."""
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    address = next(iter(producer.list_topics("t", timeout=LIMIT_S).brokers.values()))
    for number in range(10):
        producer.produce("t", b"%d" % number, partition=0)
    assert producer.flush(LIMIT_S) == 0
    config = {"group.id": "g", "bootstrap.servers": f"{address.host}:{address.port}", "log_level": 0}
    consumer, client = make_client(Consumer, config, native_passthrough=request.param)
    fetch = fetch_of(consumer, client, "g")
    fetch.assign([TP])
    consumer.assign([Assigned(*TP, 0)])
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        found = fetch.fetch(0.1, 100, 1_000_000)
        for each in found.parts if found is not None else ():
            yield each
            fetch.close()
            consumer.close()
            return
    raise AssertionError("nothing came")


@pytest.mark.parametrize("is_another", [True, False])
def test_an_offset_out_of_range_may_be_that_of_a_former_topic(
    monkeypatch: pytest.MonkeyPatch,
    is_another: bool,  # noqa: FBT001 (a case)
) -> None:
    monkeypatch.setattr(record_source, "Consumer", Mock())
    another = OperatorActionRequired("deleted and created again") if is_another else None
    monkeypatch.setattr(record_source, "TopicIdentity", Mock(return_value=Mock(**{"verify.side_effect": another})))
    parts: Any = Settings(), "router", ["t"], [], Mock(), Mock(), Mock(), Mock(), Metrics(), Mock(), Mock()

    async def fetch() -> None:
        source = RecordSource(*parts)
        source._fetch = Mock(**{"fetch.side_effect": RestartRequired("offset out of range")})
        source._assigned = {TP}
        source._fetched(0.1)

    with pytest.raises(OperatorActionRequired if is_another else RestartRequired):
        asyncio.run(fetch())


@pytest.mark.parametrize(("position", "refusal"), [(0, None), (1, "fetched offset 0, but everything below 1")])
def test_records_below_the_position(
    part: Part, position: int, refusal: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_source, "Consumer", Mock())
    monkeypatch.setattr(record_source, "TopicIdentity", Mock())
    transaction = Mock()
    parts: Any = Settings(), "router", ["t"], [], Mock(), transaction, Mock(), Mock(), Metrics(), Mock(), Mock()

    async def process() -> None:
        source = RecordSource(*parts)
        source._committed = {TP: position}
        source._channel.put = lambda batch: asyncio.sleep(0, batch.done.set_result(None))
        await source._process(Part(part.partitions, Counter(t=10)))

    if refusal is not None:
        with pytest.raises(RestartRequired, match=refusal):
            asyncio.run(process())
        transaction.begin.assert_not_called()
    else:
        asyncio.run(process())
        transaction.begin.assert_called_once()
