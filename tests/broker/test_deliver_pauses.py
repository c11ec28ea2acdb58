"""A partition that was held when a rebalance took it is read on by its next owner, also if that is the former one."""

from __future__ import annotations

import threading
from pathlib import Path

from kafka_cluster import KafkaCluster
from pipeline_processes import QUICK, Pipeline, eventually
from raised_alerts import AlertTopics, alert

from broker_events.runtime.schema_ids import resolve_schema_ids
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import DELIVERIES, load_catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import Delivery
from broker_events.sinks.deliver.group import ReceiverGroup


def member(cluster: KafkaCluster, topic_prefix: str, name: str) -> ReceiverGroup:
    timeout_ms = int(QUICK["SESSION_TIMEOUT_MS"])
    settings: Settings = cluster.settings(
        topic_prefix=topic_prefix, partitions=2, instance_id=name, session_timeout_ms=timeout_ms
    )
    catalog = load_catalog()
    codec: Codec[Delivery] = Codec(catalog.topics[DELIVERIES][0], resolve_schema_ids(settings, catalog)[DELIVERIES])
    made = ReceiverGroup(settings, "desk", codec, threading.Event(), lambda _: None, lambda: None)
    made.start()
    return made


def test_what_was_held_is_read_after_a_rebalance(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    pipeline = Pipeline(cluster, topic_prefix, tmp_path, partitions=2).made()
    AlertTopics(pipeline).write(alert(f"ACC-{number}") for number in range(8))
    partitions = {0, 1}
    one = member(cluster, topic_prefix, "one")
    read: set[int] = set()

    def reads_all() -> bool:
        read.update(record.partition() for record in one.poll(0.1).records)
        return read == partitions

    eventually(reads_all, patience_s=30)
    one.hold(partitions)
    other = member(cluster, topic_prefix, "other")

    def has_one_each() -> bool:
        one.poll(0.1)
        other.poll(0.1)
        return all(sum(each.may_send(number) for number in partitions) == 1 for each in (one, other))

    eventually(has_one_each, patience_s=30)
    one.hold([0, 1])
    other.leave()
    read.clear()
    # The group gives the other's partition back after its session timeout.
    eventually(reads_all, patience_s=30)
    one.leave()
