"""The embedded stack itself, on real processes: these tests start their own, whatever TEST_BROKER says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from sockets import LOOPBACK, listening_addresses

from broker_events.devstack import artifacts
from broker_events.devstack.artifacts import KAFKA, StackError
from broker_events.devstack.kafka import EmbeddedKafka
from broker_events.devstack.stack import Stack
from broker_events.runtime.consume import record
from broker_events.runtime.kafka import topic_reader as reader
from broker_events.runtime.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]

PARENT = """
import json, sys, time
from broker_events.devstack.stack import Stack
stack = Stack().start()
print(json.dumps([stack.pids, [str(log.parent) for log in (*stack.kafka.logs, stack.registry.log)]]), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


def create_topic(bootstrap_servers: str, replication_factor: int = 1, partitions: int = 1) -> str:
    topic = f"test-{uuid.uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    created = admin.create_topics([NewTopic(topic, partitions, replication_factor)])
    created[topic].result(30)
    return topic


def produce(bootstrap_servers: str, topic: str, values: list[bytes], *, commit: bool = True) -> None:
    """Write the values in one transaction."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=0)
    producer.flush(30)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def committed(bootstrap_servers: str, topic: str) -> list[bytes | None]:
    """Read partition 0 from its start to the end that a read_committed consumer sees."""
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap_servers,
        "group.id": uuid.uuid4().hex,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    }
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[bytes | None] = []
    deadline = time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error():
                return values
            values.append(message.value())
    finally:
        consumer.close()
    raise AssertionError(f"no end of {topic} within 30 s, after {len(values)} records")


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_committed_transaction_is_read_and_an_aborted_one_is_not(stack: Stack) -> None:
    topic = create_topic(stack.bootstrap_servers)
    produce(stack.bootstrap_servers, topic, [b"aborted"], commit=False)
    produce(stack.bootstrap_servers, topic, [b"one", b"two"])
    assert committed(stack.bootstrap_servers, topic) == [b"one", b"two"]


def test_a_large_record_goes_through(stack: Stack) -> None:
    topic = create_topic(stack.bootstrap_servers)
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "message.max.bytes": 16_000_000})
    refused: list[object] = []
    producer.produce(
        topic, os.urandom(15_000_000), partition=0, on_delivery=lambda error, _message: refused.append(error)
    )
    producer.flush(30)
    assert refused == [None]


def test_the_registry_registers_and_refuses_what_is_incompatible(stack: Stack) -> None:
    client = SchemaRegistryClient({"url": stack.registry_url})
    subject = f"{uuid.uuid4().hex}-value"

    def schema(*fields: dict[str, object]) -> Schema:
        return Schema(json.dumps({"type": "record", "name": "Thing", "fields": fields}), "AVRO")

    first = schema({"name": "a", "type": "string"})
    client.set_compatibility(subject, "FULL_TRANSITIVE")
    schema_id = client.register_schema(subject, first)
    assert client.lookup_schema(subject, first).schema_id == schema_id
    with pytest.raises(SchemaRegistryError) as refusal:
        client.register_schema(subject, schema({"name": "b", "type": "int"}))
    assert refusal.value.http_status_code == 409


def test_nothing_listens_but_on_127_0_0_1(stack: Stack) -> None:
    for pid in stack.pids:
        assert pid is not None
        assert listening_addresses(pid) == {LOOPBACK}


def test_ctrl_c_on_the_terminal_does_not_reach_the_programs(stack: Stack) -> None:
    assert all(pid is not None and os.getsid(pid) != os.getsid(0) for pid in stack.pids)


def test_a_killed_parent_leaves_neither_processes_nor_data() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    try:
        assert parent.stdout is not None
        pids, folders = json.loads(parent.stdout.readline())
        assert len(pids) == 2
        assert all(map(is_alive, pids))
        assert all(Path(folder).is_dir() for folder in folders)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.communicate()
    wait_until(lambda: not any(map(is_alive, pids)))
    wait_until(lambda: not any(Path(folder).parent.exists() for folder in folders))


def test_a_stop_removes_temporary_data() -> None:
    kafka = EmbeddedKafka().start()
    folder = kafka.logs[0].parent
    assert folder.is_dir()
    kafka.stop()
    assert not folder.parent.exists()


def test_a_named_folder_keeps_data_schemas_and_ports_over_a_stop(tmp_path: Path) -> None:
    subject = "kept-value"
    schema = Schema('"string"', "AVRO")
    with Stack(tmp_path) as stack:
        addresses = stack.bootstrap_servers, stack.registry_url
        topic = create_topic(stack.bootstrap_servers)
        produce(stack.bootstrap_servers, topic, [b"kept"])
        schema_id = SchemaRegistryClient({"url": stack.registry_url}).register_schema(subject, schema)
    with Stack(tmp_path) as stack:
        assert (stack.bootstrap_servers, stack.registry_url) == addresses
        assert committed(stack.bootstrap_servers, topic) == [b"kept"]
        client = SchemaRegistryClient({"url": stack.registry_url})
        assert client.lookup_schema(subject, schema).schema_id == schema_id


def test_a_folder_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker_events.devstack.java.GRACE_S", 0.5)
    with EmbeddedKafka(tmp_path) as kafka:
        with pytest.raises(StackError, match=r"another process holds .*in-use\.lock"):
            EmbeddedKafka(tmp_path).start()
        kafka.wait_until_ready()


def test_a_killed_broker_comes_back_with_what_was_committed(stack: Stack) -> None:
    topic = create_topic(stack.bootstrap_servers)
    produce(stack.bootstrap_servers, topic, [b"before"])
    # A commit answers before its markers are written; a lone broker killed between the two drops them when it comes
    # back, for its partitions have no leader yet ("likely deleted already"), and the transaction hangs for good.
    wait_until(lambda: committed(stack.bootstrap_servers, topic) == [b"before"])
    address, (killed,) = stack.bootstrap_servers, stack.kafka.pids
    assert killed is not None
    stack.kafka.kill()
    assert not is_alive(killed)
    assert stack.kafka.pids == [None]
    stack.kafka.restart()
    assert stack.bootstrap_servers == address
    produce(stack.bootstrap_servers, topic, [b"after"])
    wait_until(lambda: committed(stack.bootstrap_servers, topic) == [b"before", b"after"])


def test_a_killed_registry_comes_back_with_its_schemas(stack: Stack) -> None:
    subject, schema = f"{uuid.uuid4().hex}-value", Schema('"string"', "AVRO")
    schema_id = SchemaRegistryClient({"url": stack.registry_url}).register_schema(subject, schema)
    stack.registry.kill()
    stack.registry.restart()
    assert SchemaRegistryClient({"url": stack.registry_url}).lookup_schema(subject, schema).schema_id == schema_id


def test_three_nodes_go_on_without_one_of_them() -> None:
    with EmbeddedKafka(nodes=3) as kafka:
        topic = create_topic(kafka.bootstrap_servers, replication_factor=3)
        produce(kafka.bootstrap_servers, topic, [b"with three"])
        kafka.kill(1)
        produce(kafka.bootstrap_servers, topic, [b"with two"])
        kafka.restart(1)
        assert all(kafka.pids)
        assert committed(kafka.bootstrap_servers, topic) == [b"with three", b"with two"]


def test_offsets_are_asked_of_the_next_leader_when_one_has_died() -> None:
    with EmbeddedKafka(nodes=3) as kafka:
        topic = create_topic(kafka.bootstrap_servers, replication_factor=3, partitions=3)
        places = [record.TopicPartition(topic, number) for number in range(3)]
        settings = load_settings(kafka_bootstrap_servers=kafka.bootstrap_servers)
        assert reader.end_offsets(settings, places) == dict.fromkeys(places, 0)
        kafka.kill(1)
        assert reader.end_offsets(settings, places) == dict.fromkeys(places, 0)


def test_a_failed_start_says_why_and_leaves_nothing_running(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path) as kafka:
        folder = kafka.logs[0].parent
    meta = folder / "data" / "meta.properties"
    meta.write_text(meta.read_text(encoding="utf-8").replace("node.id=1", "node.id=7"), encoding="utf-8")
    with pytest.raises(StackError, match=r"ended while it started(?s:.)*node id") as failure:
        kafka.start()
    assert str(folder) in str(failure.value)
    assert kafka.pids == [None]


def test_a_program_is_fetched_once_however_many_ask_and_never_kept_by_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def fetch(_artifact: object, partial: Path, _reporter: object) -> Path:
        calls.append(partial)
        (partial / "program").mkdir()
        (partial / "program" / "classpath").write_text("a.jar\n", encoding="utf-8")
        if len(calls) == 1:
            raise OSError("the line went dead")
        time.sleep(0.2)
        return partial / "program"

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(artifacts, "_fetch", fetch)
    said: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: artifacts.ensure(KAFKA, said.append), range(4)))
    assert found == [[tmp_path / "broker-events" / KAFKA.folder / "a.jar"]] * 4
    assert len(calls) == 2
    assert any("the line went dead" in line for line in said)
    assert sum("waiting for another process" in line for line in said) == 3
    assert not any(path.exists() for path in calls)


def test_a_program_with_another_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "kafka.jar"
    other.write_bytes(b"not Kafka")

    def fetch(artifact: artifacts.Artifact, partial: Path, _reporter: object) -> Path:
        artifacts._check(artifact, [other])
        return partial

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(artifacts, "_fetch", fetch)
    with pytest.raises(StackError, match=r"Apache Kafka .* can't be fetched: 1 files with SHA-256"):
        artifacts.ensure(KAFKA, lambda _line: None)
    assert not (tmp_path / "broker-events" / KAFKA.folder).exists()
