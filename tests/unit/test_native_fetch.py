"""What native code does with clients, on librdkafka's own mock of a cluster."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import TopicPartition as Assigned

from broker_events.native import extension
from broker_events.runtime.consume.fetch import Fetch, NativeFetch, PythonFetch, fetch_of
from broker_events.runtime.consume.record import KafkaRecords, TopicPartition
from broker_events.runtime.kafka import native_client
from broker_events.runtime.kafka.native_client import make_client
from broker_events.runtime.process.errors import RestartRequired

pytestmark = pytest.mark.skipif(extension.native is None, reason="no native code here")

MOCK = {"test.mock.num.brokers": 1, "log_level": 0}
GROUP = {"group.id": "g", "auto.offset.reset": "error", "enable.partition.eof": True, "log_level": 0}
FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)
LIMIT_S = 20.0


def consumer(**config: Any) -> tuple[Consumer, Fetch]:
    settings = GROUP | {name.replace("_", "."): value for name, value in config.items()}
    made, client = make_client(Consumer, settings, native_passthrough=True)
    fetch = fetch_of(made, client, "g")
    assert isinstance(fetch, NativeFetch)
    return made, fetch


def assign(made: Consumer, fetch: Fetch, *partitions: TopicPartition) -> None:
    fetch.assign(partitions)
    made.assign([Assigned(*tp, 0) for tp in partitions])


def fetched(fetch: Fetch) -> KafkaRecords:
    """Wait for records and return those of one partition."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        found = fetch.fetch(0.1, 100, 1_000_000)
        for part in found.parts if found is not None else ():
            return next(iter(part.partitions.values()))
    raise AssertionError("nothing came")


@pytest.fixture
def mock() -> Any:
    """A cluster with 1,000 records in one partition; its address, as long as its producer lives."""
    producer = Producer(MOCK)
    address = next(iter(producer.list_topics("t", timeout=LIMIT_S).brokers.values()))
    for number in range(1000):
        producer.produce("t", b"%d" % number, partition=0)
    assert producer.flush(LIMIT_S) == 0
    return producer, f"{address.host}:{address.port}"


def test_an_error_of_a_partition_is_told(mock: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It comes by the partition's queue, and would go to a callback of the Python client's, outside of its calls."""
    made, fetch = consumer(bootstrap_servers=mock[1])
    assign(made, fetch, TopicPartition("t", 99))
    deadline = time.monotonic() + LIMIT_S
    while "t [99]" not in caplog.text and time.monotonic() < deadline:
        fetch.fetch(0.1, 100, 1000)
    assert "t [99]" in caplog.text
    fetch.close()
    made.close()


def test_a_bound_on_bytes_ends_a_fetch(mock: Any) -> None:
    made, fetch = consumer(bootstrap_servers=mock[1])
    assign(made, fetch, FIRST)
    fetches: list[list[int]] = []
    deadline = time.monotonic() + LIMIT_S
    while sum(map(len, fetches)) < 1000 and time.monotonic() < deadline:
        found = fetch.fetch(0.1, 500, 50)
        parts = found.parts if found is not None else ()
        fetches += [[len(record) for record in part.partitions[FIRST]] for part in parts]
    assert sum(map(len, fetches)) == 1000
    assert all(sum(sizes[:-1]) < 50 for sizes in fetches)
    assert max(map(sum, fetches)) >= 50
    fetch.close()
    made.close()


def test_a_consumer_ends_whose_records_nobody_gave_back(mock: Any) -> None:
    made, fetch = consumer(bootstrap_servers=mock[1])
    assign(made, fetch, FIRST)
    records = fetched(fetch)
    del fetch
    began = time.monotonic()
    made.close()
    assert time.monotonic() - began < LIMIT_S
    assert len(records) == 0


def test_an_assignment_without_a_revocation_is_refused(mock: Any) -> None:
    made, fetch = consumer(bootstrap_servers=mock[1])
    assign(made, fetch, FIRST)
    with pytest.raises(RestartRequired, match="revoked"):
        fetch.assign([FIRST, SECOND])
    fetch.revoke()
    made.unassign()
    assign(made, fetch, FIRST)
    assert fetched(fetch)[0].value() == b"0"
    fetch.close()
    made.close()


def test_records_of_what_is_not_assigned_are_left_to_their_next_owner(mock: Any) -> None:
    made, fetch = consumer(bootstrap_servers=mock[1])
    assign(made, fetch, FIRST)
    fetched(fetch)
    fetch.revoke()
    found = fetch.fetch(1.0, 100, 1_000_000)
    assert found is not None
    assert [*found.parts] == []
    fetch.close()
    made.close()


@pytest.fixture
def warned_once(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Make a consumer and a producer, which use the Python path; return the text of their one WARNING."""
    native_client._warn.cache_clear()
    texts: list[str] = []
    yield texts
    made, client = make_client(Consumer, GROUP, native_passthrough=True)
    _, other = make_client(Producer, MOCK, native_passthrough=True)
    assert (client, other) == (None, None)
    assert isinstance(fetch_of(made, client, "g"), PythonFetch)
    made.close()
    native_client._warn.cache_clear()
    [record] = [each for each in caplog.records if each.name == native_client.__name__]
    assert record.levelno == logging.WARNING
    assert "Records take the Python path: same results, about 27 % fewer events per second" in record.message
    assert all(text in record.message for text in texts)


def test_a_plugin_that_librdkafka_cannot_load(monkeypatch: pytest.MonkeyPatch, warned_once: list[str]) -> None:
    monkeypatch.setattr(extension.native, "__file__", "/nowhere/_native.so")
    warned_once.append("librdkafka can't load /nowhere/_native.so as a plugin")


def test_a_version_of_librdkafka_that_is_not_tested(monkeypatch: pytest.MonkeyPatch, warned_once: list[str]) -> None:
    monkeypatch.setattr(native_client, "libversion", lambda: ("2.99.0", 0x026300FF))
    warned_once.append("librdkafka 2.99.0 is not a tested version (2.16.0)")


def test_a_python_client_without_cimpl(monkeypatch: pytest.MonkeyPatch, warned_once: list[str]) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka.cimpl", None)
    warned_once.append("librdkafka's functions can't be found: import of confluent_kafka.cimpl halted")


def test_a_cimpl_without_a_file(monkeypatch: pytest.MonkeyPatch, warned_once: list[str]) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka.cimpl", ModuleType("cimpl"))
    warned_once.append("librdkafka's functions can't be found: module 'cimpl' has no attribute '__file__'")


def test_a_library_that_hides_a_function(monkeypatch: pytest.MonkeyPatch, warned_once: list[str]) -> None:
    monkeypatch.setattr(extension.native, "kafka_functions", lambda: ["rd_kafka_hidden"])
    warned_once += ["librdkafka's functions can't be found", "rd_kafka_hidden"]


def test_the_locked_version_of_librdkafka_is_tested() -> None:
    assert confluent_kafka.libversion()[0] in native_client.TESTED_LIBRDKAFKA


def test_what_else_is_wrong_with_a_configuration_is_raised() -> None:
    with pytest.raises(KafkaException, match="nonsense"):
        make_client(Consumer, GROUP | {"nonsense": 1}, native_passthrough=True)
    with pytest.raises(KafkaException, match="nowhere"):
        make_client(Consumer, GROUP | {"plugin.library.paths": "/nowhere/other.so"}, native_passthrough=True)


def test_a_client_without_the_plugin_is_refused() -> None:
    with pytest.raises(RuntimeError, match="the plugin is not loaded"):
        extension.native.Client.make(Consumer, GROUP)
