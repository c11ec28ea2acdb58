"""`broker-events topics`: what is created, altered and refused on a real cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, eventually

from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.topics import TopicPlan, apply_topics, diff_topics, plan_topics, verify_topics
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.schemas.catalog import load_catalog

COUNT = 22


@pytest.fixture
def pipeline(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> Pipeline:
    return Pipeline(cluster, topic_prefix, tmp_path)


@pytest.fixture
def admin(pipeline: Pipeline) -> AdminClient:
    return admin_client(pipeline.settings)


@pytest.fixture
def plans(pipeline: Pipeline) -> tuple[TopicPlan, ...]:
    return plan_topics(load_catalog(), pipeline.settings)


def of_test(admin: AdminClient, pipeline: Pipeline) -> dict[str, int]:
    """Partition counts of this test's topics."""
    topics = admin.list_topics(timeout=10).topics
    return {
        name: len(topic.partitions) for name, topic in topics.items() if name.startswith(pipeline.settings.topic(""))
    }


def set_config(admin: AdminClient, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for change in admin.incremental_alter_configs([resource]).values():
        change.result()


def test_every_topic_is_created_once(pipeline: Pipeline, admin: AdminClient, plans: tuple[TopicPlan, ...]) -> None:
    before = pipeline.command("topics", "diff")
    assert before.returncode == 1
    assert before.stdout.endswith(f"{COUNT} topics planned, {COUNT} differences\n")

    done = pipeline.command("topics", "apply")
    assert done.returncode == 0
    assert done.stdout.count(": created\n") == COUNT
    eventually(lambda: of_test(admin, pipeline) == {plan.name: 2 for plan in plans})
    assert len(plans) == COUNT

    again = pipeline.command("topics", "apply")
    assert (again.returncode, again.stdout) == (0, f"{COUNT} topics as planned, 0 changes\n")
    after = pipeline.command("topics", "diff")
    assert (after.returncode, after.stdout) == (0, f"{COUNT} topics planned, 0 differences\n")
    verify_topics(admin, plans)


def test_what_may_be_altered_is(pipeline: Pipeline, admin: AdminClient, plans: tuple[TopicPlan, ...]) -> None:
    apply_topics(admin, plans)
    raw = pipeline.settings.topic("raw")
    set_config(admin, raw, "retention.ms", "1000000")
    eventually(lambda: len(diff_topics(admin, plans)) == 1)
    diff = pipeline.command("topics", "diff")
    assert diff.returncode == 1
    assert f"{raw}: retention.ms is 1000000, must be 2592000000" in diff.stdout
    verify_topics(admin, plans)  # an operator's own retention stops no worker
    done = pipeline.command("topics", "apply")
    assert f"{raw}: retention.ms: 1000000 -> 2592000000" in done.stdout
    eventually(lambda: diff_topics(admin, plans) == [])


def test_a_smaller_size_limit_stops_workers(
    pipeline: Pipeline, admin: AdminClient, plans: tuple[TopicPlan, ...]
) -> None:
    apply_topics(admin, plans)
    set_config(admin, pipeline.settings.topic("quarantine"), "max.message.bytes", "1000000")
    eventually(lambda: len(diff_topics(admin, plans)) == 1)
    with pytest.raises(
        OperatorActionRequired, match=r"quarantine: max\.message\.bytes is 1000000, must be .*topics apply"
    ):
        verify_topics(admin, plans)
    set_config(admin, pipeline.settings.topic("raw"), "message.timestamp.type", "LogAppendTime")
    eventually(lambda: len(diff_topics(admin, plans)) == 2)
    assert (
        "raw: message.timestamp.type is LogAppendTime, must be CreateTime" in pipeline.command("topics", "diff").stdout
    )
    assert pipeline.command("topics", "apply").returncode == 0
    eventually(lambda: diff_topics(admin, plans) == [])
    verify_topics(admin, plans)


@pytest.mark.parametrize("what", ["partitions", "cleanup.policy"])
def test_what_would_move_or_delete_records_is_refused_before_anything_changes(
    pipeline: Pipeline, admin: AdminClient, what: str
) -> None:
    name = pipeline.settings.topic("state.accounts")
    cleanup, partitions = ("delete", 2) if what == "cleanup.policy" else ("compact", 3)
    admin.create_topics([NewTopic(name, partitions, 1, config={"cleanup.policy": cleanup})])[name].result()
    eventually(lambda: name in of_test(admin, pipeline))
    done = pipeline.command("topics", "apply")
    assert done.returncode == 2
    says = {
        "partitions": f"{name} has 3 partitions, PIPELINE_PARTITIONS says 2",
        "cleanup.policy": f"{name}: cleanup.policy is delete, must be compact",
    }
    assert done.stderr.startswith(f"broker-events: {says[what]}")
    assert of_test(admin, pipeline) == {name: partitions}


def test_partitions_that_somebody_has_added_stop_workers(
    pipeline: Pipeline, admin: AdminClient, plans: tuple[TopicPlan, ...]
) -> None:
    apply_topics(admin, plans)
    eventually(lambda: diff_topics(admin, plans) == [])
    name = pipeline.settings.topic("event.transfer")
    admin.create_partitions([NewPartitions(name, 4)])[name].result()
    eventually(lambda: of_test(admin, pipeline)[name] == 4)
    with pytest.raises(OperatorActionRequired, match=r"event\.transfer has 4 partitions, PIPELINE_PARTITIONS says 2"):
        verify_topics(admin, plans)
