"""A consumer group whose offsets are not what its topics say: the worker stops before it loses or repeats an event."""

from __future__ import annotations

from uuid import uuid4

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, credit


@pytest.fixture
def pipeline(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("offsets")
    return Pipeline(cluster, f"test-{uuid4().hex[:12]}", folder, partitions=1).made()


@pytest.fixture
def admin(cluster: KafkaCluster) -> AdminClient:
    return AdminClient(cluster.clients())


def route(pipeline: Pipeline, first: int, last: int) -> None:
    pipeline.produce_all("raw", [("ACC-1", credit(f"e{number}")) for number in range(first, last)])
    with pipeline.worker("router") as router:
        router.wait_ready()
        pipeline.wait_for("event.credit", last)
        assert router.stop() == 0


def refused(pipeline: Pipeline) -> str:
    with pipeline.worker("router") as router:
        assert router.wait() == 2
        return router.log


def test_records_that_retention_took_before_they_were_read(pipeline: Pipeline, admin: AdminClient) -> None:
    route(pipeline, 0, 5)
    raw = pipeline.settings.topic("raw")
    pipeline.produce_all("raw", [("ACC-1", credit(f"e{number}")) for number in range(5, 10)])
    [deleted] = admin.delete_records([TopicPartition(raw, 0, 9)]).values()
    deleted.result()
    log = refused(pipeline)
    assert f"{raw}[0]" in log
    assert "records are gone that were never read" in log
    assert len(pipeline.read("event.credit")) == 5


def test_records_that_were_deleted_before_the_first_start(pipeline: Pipeline, admin: AdminClient) -> None:
    pipeline.produce_all("raw", [("ACC-1", credit(f"e{number}")) for number in range(5)])
    [deleted] = admin.delete_records([TopicPartition(pipeline.settings.topic("raw"), 0, 3)]).values()
    deleted.result()
    assert "has read nothing yet" in refused(pipeline)


def test_an_offset_behind_the_end_of_the_topic(pipeline: Pipeline, admin: AdminClient) -> None:
    route(pipeline, 0, 3)
    group = pipeline.settings.group("router")
    beyond = ConsumerGroupTopicPartitions(group, [TopicPartition(pipeline.settings.topic("raw"), 0, 50)])
    [altered] = admin.alter_consumer_group_offsets([beyond]).values()
    altered.result()
    assert "has read up to 50" in refused(pipeline)


def test_a_group_whose_offsets_have_expired(pipeline: Pipeline, admin: AdminClient) -> None:
    route(pipeline, 0, 5)
    [deleted] = admin.delete_consumer_groups([pipeline.settings.group("router")]).values()
    deleted.result()
    assert "its offsets have expired" in refused(pipeline)
    assert len(pipeline.read("event.credit")) == 5
