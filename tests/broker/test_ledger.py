"""The ledger on real topics: reconciled beside a router at work, and whatever is put wrong by hand is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import confluent_kafka
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, credit, eventually

from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.topic_reader import committed_offsets, end_offsets, topic_partitions

ACCOUNTS = [f"ACC-{number}" for number in range(12)]  # in both partitions


@pytest.fixture
def pipeline(cluster: KafkaCluster, tmp_path: Path) -> Pipeline:
    return Pipeline(cluster, f"test-{uuid4().hex[:12]}", tmp_path).made()


def push(pipeline: Pipeline, part: str, count: int = 50) -> None:
    """Events of all accounts; of each account one is pushed twice, one is refused, one conflicts with another."""
    for account in ACCOUNTS:
        values = [credit(f"{account}-{part}-{number}", account) for number in range(count)]
        bad = credit(f"{account}-{part}-bad", account, amount="1e20")
        conflict = credit(f"{account}-{part}-0", account, amount="2")
        pipeline.produce_all("raw", [(account, value) for value in (*values, values[0], bad, bad, conflict)])


def wait_until_routed(pipeline: Pipeline) -> None:
    raw = topic_partitions(pipeline.settings, pipeline.settings.topic("raw"))

    def done() -> bool:
        committed = committed_offsets(pipeline.settings, pipeline.settings.group("router"), raw)
        return all((committed[tp] or 0) == end for tp, end in end_offsets(pipeline.settings, raw).items())

    eventually(done)


def routed(pipeline: Pipeline) -> Pipeline:
    with pipeline.worker("router") as router:
        push(pipeline, "one")
        wait_until_routed(pipeline)
        assert router.stop() == 0
    return pipeline


def ledger(pipeline: Pipeline, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    done = pipeline.command("ledger", "--json", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def sums(documents: list[dict[str, Any]]) -> dict[str, int]:
    names = ("raw", "typed", "quarantined", "duplicates", "expired")
    return {name: sum(document.get(name, 0) for document in documents) for name in names}


def test_it_balances_beside_a_router_at_work(pipeline: Pipeline) -> None:
    with pipeline.worker("router") as router:
        router.wait_ready()
        push(pipeline, "part-0")
        wait_until_routed(pipeline)  # a partition without a committed offset is not judged
        for part in range(1, 4):
            push(pipeline, f"part-{part}")
            ledger(pipeline)
        wait_until_routed(pipeline)
        found = ledger(pipeline, "--deep")
    accounts = 4 * len(ACCOUNTS)
    expected = {"raw": 54, "typed": 50, "quarantined": 3, "duplicates": 1, "expired": 0}
    assert sums(found) == {name: accounts * count for name, count in expected.items()}
    done = pipeline.command("ledger")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "reconciled")


def test_what_is_wrong_is_found_and_its_offsets_are_listed(pipeline: Pipeline) -> None:
    routed(pipeline)
    first = pipeline.read("event.credit")[0]
    headers = first.headers() or []
    assert headers
    doubled = pipeline.produce("event.credit", first.value(), first.key(), first.partition(), [*headers])
    foreign = pipeline.produce("event.credit", first.value(), first.key(), first.partition())
    found = [document for document in ledger(pipeline, code=1) if "kind" in document]
    topic, partition = pipeline.settings.topic("event.credit"), first.partition()
    assert found == [
        {
            "kind": "doubled",
            "partition": partition,
            "raw_offset": int(headers[0][1] or b""),
            "output": f"{topic}[{partition}]@{doubled.offset()}",
        },
        {
            "kind": "foreign",
            "partition": partition,
            "raw_offset": None,
            "output": f"{topic}[{partition}]@{foreign.offset()}",
        },
    ]
    text = pipeline.command("ledger").stdout
    assert f"doubled  raw[{partition}]@" in text
    assert text.splitlines()[-1] == "NOT RECONCILED"


def test_what_retention_has_deleted_is_not_called_lost(pipeline: Pipeline) -> None:
    routed(pipeline)
    tp = TopicPartition(pipeline.settings.topic("event.credit"), pipeline.read("event.credit")[0].partition())
    admin = admin_client(pipeline.settings)  # with a name: without one its futures never resolve
    for future in admin.delete_records([confluent_kafka.TopicPartition(*tp, 60)]).values():
        future.result()
    assert sums(ledger(pipeline, code=1))["expired"] == 0  # retention keeps records for days
    minute = ConfigEntry("retention.ms", "60000", incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, tp.topic, incremental_configs=[minute])
    for altered in admin.incremental_alter_configs([topic]).values():
        altered.result()
    found = ledger(pipeline)
    assert 60 <= sums(found)["expired"] <= 62  # two duplicates of the first events may be among them
    assert sums(found)["raw"] == 54 * len(ACCOUNTS)
    assert " not proved (" in pipeline.command("ledger").stdout.splitlines()[-1]


def test_a_group_without_offsets_proves_nothing(pipeline: Pipeline) -> None:
    push(pipeline, "one")
    done = pipeline.command("ledger")
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no offset" in done.stderr


def test_a_range_alone(pipeline: Pipeline) -> None:
    routed(pipeline)
    raw = topic_partitions(pipeline.settings, pipeline.settings.topic("raw"))
    number = next(tp.partition for tp, end in end_offsets(pipeline.settings, raw).items() if end > 60)
    (found,) = ledger(pipeline, "--partition", str(number), "--from", "50", "--to", "60")
    assert (found["start"], found["end"], found["raw"]) == (50, 60, 10)
    assert sums(ledger(pipeline, "--from", "1h ago"))["raw"] == 54 * len(ACCOUNTS)
    assert sums(ledger(pipeline, "--to", "1h ago"))["raw"] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--partition", "9"),
        ("--from", "yesterday"),
        ("--to", "-1"),
        ("--from", "7", "--to", "7"),
        ("--from", "1h ago", "--to", "2h ago"),
    ],
)
def test_wrong_usage(pipeline: Pipeline, arguments: tuple[str, ...]) -> None:
    done = pipeline.command("ledger", *arguments)
    assert done.returncode == 2
    assert "Error: " in done.stderr
