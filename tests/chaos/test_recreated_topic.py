"""An operator deletes the raw topic under running routers and creates it again: what comes then is there once."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from confluent_kafka.admin import AdminClient
from evidence import Decoder, PartitionEvidence, read_partition
from journal import Journal
from kafka_cluster import KafkaCluster
from oracle import conclude, examine
from pipeline_run import Load, Pipeline, pipeline
from progress import ConsumerGroup, drain
from strikes import insist
from workers import POLL_S, Group, cli

from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.topics import apply_topics, plan_topics
from broker_events.schemas.catalog import load_catalog

LOAD = Load(events=3000, rate=400, seed=23, accounts=100, faults=("malformed=0.02",))
PARTITIONS = range(3)


def evidence(run: Pipeline) -> list[PartitionEvidence]:
    return [read_partition(run.clients, run.settings.topic_prefix, number, Decoder()) for number in PARTITIONS]


def recreate(run: Pipeline, name: str) -> None:
    topic, admin = run.settings.topic(name), AdminClient(run.clients)
    admin.delete_topics([topic])[topic].result()
    while topic in admin.list_topics(timeout=10).topics:
        time.sleep(POLL_S)

    def create() -> None:
        apply_topics(admin_client(run.settings), plan_topics(load_catalog(), run.settings))

    insist(create)


def test_raw_is_created_again_under_running_routers(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    with pipeline(cluster, topic_prefix, tmp_path, LOAD, partitions=len(PARTITIONS)) as run:
        bridge, router, projector = run.bridge(), run.router("r0"), run.projector("p0")
        with Group([bridge, router, projector]) as group:
            while run.report["pushed"]["pushed_events"] < LOAD.events / 3:
                group.tend()
                time.sleep(POLL_S)
            assert bridge.stop()[0] == 0
            for app in ("router", "projector"):
                with closing(ConsumerGroup(run, app)) as of:
                    while of.unread():
                        router.tend()
                        projector.tend()
            before = evidence(run)
            recreate(run, "raw")
            router.excuse = "deleted and created again"
            bridge.start()
            while not router.waits:
                group.tend()
                time.sleep(POLL_S)
            offsets = [f"raw:{number}:0" for number in PARTITIONS]
            accept = run.worker("accept", *cli("offsets", "accept", "router", *offsets, "--reason", "created again"))
            accept.start()
            assert accept.wait()[0] == 0, accept.tail()
            router.put_right()
            drain(run, group)
            group.stop()
        after = evidence(run)
        journal = Journal(run.journal)
        for former, now in zip(before, after, strict=True):
            assert former.topics["raw"]
            assert now.topics["raw"]
            now.topics["raw"][:0] = former.topics["raw"]
        report = conclude(journal, [examine(journal, topic_prefix, each) for each in after], repeats=0)
    assert report.is_clean, str(report)
