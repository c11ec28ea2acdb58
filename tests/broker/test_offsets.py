"""A consumer group whose offsets are not what its topics say: the worker stops before it loses or repeats an event."""

from __future__ import annotations

from uuid import uuid4

import pytest
from confluent_kafka import OFFSET_END, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, credit, eventually

from broker_events.runtime.kafka.topics import plan_topics
from broker_events.schemas.catalog import load_catalog


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
    assert "unread records are gone" in log
    assert len(pipeline.read("event.credit")) == 5


def test_a_topic_that_retention_has_emptied(pipeline: Pipeline, admin: AdminClient) -> None:
    """All of it was read: only what stands behind the last record, its transaction's marker, was not."""
    route(pipeline, 0, 5)
    raw = pipeline.settings.topic("raw")
    [emptied] = admin.delete_records([TopicPartition(raw, 0, OFFSET_END)]).values()
    emptied.result()
    route(pipeline, 5, 7)


def test_a_projector_of_topics_that_retention_has_emptied(pipeline: Pipeline, admin: AdminClient) -> None:
    route(pipeline, 0, 5)
    topic, group = pipeline.settings.topic("event.credit"), pipeline.settings.group("projector")
    end = TopicPartition(topic, 0, OFFSET_END)
    with pipeline.worker("projector") as projector:
        pipeline.wait_for("state.movements", 5)
        # Behind the last record stands the marker of the router's transaction.
        wanted = admin.list_offsets({end: OffsetSpec.latest()})[end].result().offset
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])
        eventually(
            lambda: admin.list_consumer_group_offsets([asked])[group].result().topic_partitions[0].offset == wanted
        )
        assert projector.stop() == 0
    [emptied] = admin.delete_records([end]).values()
    emptied.result()
    with pipeline.worker("projector") as projector:
        pipeline.produce_all("raw", [("ACC-1", credit(f"e{number}")) for number in range(5, 7)])
        with pipeline.worker("router"):
            pipeline.wait_for("state.movements", 7)
        assert projector.stop() == 0


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


def set_by_a_tool(admin: AdminClient, pipeline: Pipeline, offset: int) -> None:
    """As kafka-consumer-groups --reset-offsets does."""
    group = pipeline.settings.group("router")
    moved = ConsumerGroupTopicPartitions(group, [TopicPartition(pipeline.settings.topic("raw"), 0, offset)])
    [altered] = admin.alter_consumer_group_offsets([moved]).values()
    altered.result()


def test_an_offset_that_somebody_has_moved(pipeline: Pipeline, admin: AdminClient) -> None:
    route(pipeline, 0, 5)
    set_by_a_tool(admin, pipeline, 2)
    assert "has an output, which the router would write again" in refused(pipeline)
    pipeline.produce_all("raw", [("ACC-1", credit(f"e{number}")) for number in range(5, 8)])
    set_by_a_tool(admin, pipeline, 7)
    assert "2 records before it, from 5 on, have no output and would be lost" in refused(pipeline)
    done = pipeline.command("offsets", "accept", "router", "--reason", "ticket 17")
    assert done.returncode == 0, done.stderr
    with pipeline.worker("router") as router:
        pipeline.produce_all("raw", [("ACC-1", credit("e5"))])  # skipped before, so it is no duplicate
        pipeline.wait_for("event.credit", 5 + 2)
        assert "ticket 17" in router.log
        assert router.stop() == 0


def create_again(pipeline: Pipeline, admin: AdminClient, name: str) -> None:
    """Delete a topic with its records and create it empty."""
    [plan] = [plan for plan in plan_topics(load_catalog(), pipeline.settings) if plan.name.endswith(name)]
    admin.delete_topics([plan.name])[plan.name].result()
    eventually(lambda: plan.name not in admin.list_topics(timeout=10).topics)
    admin.create_topics([NewTopic(plan.name, 1, 1, config=plan.config)])[plan.name].result()


@pytest.mark.parametrize("runs", [True, False])
def test_raw_is_created_again(pipeline: Pipeline, admin: AdminClient, *, runs: bool) -> None:
    pipeline.produce_all("raw", [("ACC-1", credit(f"e{number}")) for number in range(5)])
    with pipeline.worker("router") as router:
        pipeline.wait_for("event.credit", 5)
        if not runs:
            assert router.stop() == 0
        create_again(pipeline, admin, ".raw")
        pipeline.produce_all("raw", [("ACC-1", credit(f"n{number}")) for number in range(3)])
        if runs:
            assert router.wait() in (2, 70), router.log  # 70 where it was gone when the router asked
    assert "its source was deleted and created again" in refused(pipeline)  # Kafka deletes the offsets with the topic
    assert len(pipeline.read("event.credit")) == 5


@pytest.mark.parametrize("runs", [True, False])
def test_a_typed_topic_is_created_again(pipeline: Pipeline, admin: AdminClient, *, runs: bool) -> None:
    route(pipeline, 0, 5)
    with pipeline.worker("projector") as projector:
        pipeline.wait_for("state.movements", 5)
        if not runs:
            assert projector.stop() == 0
        create_again(pipeline, admin, ".event.credit")
        pipeline.produce_all("raw", [("ACC-1", credit(f"n{number}")) for number in range(3)])
        with pipeline.worker("router"):
            pipeline.wait_for("event.credit", 3)
        if runs:
            assert projector.wait() in (2, 70), projector.log
    with pipeline.worker("projector") as projector:
        assert projector.wait() == 2
        assert "event.credit[0]: the group" in projector.log
        assert "none of this one" in projector.log
    done = pipeline.command("offsets", "accept", "projector", "--reason", "created again")
    assert done.returncode == 0, done.stderr
    with pipeline.worker("projector") as projector:
        pipeline.wait_for("state.movements", 5 + 3)
        assert projector.stop() == 0
