"""The plan of the topics: what the contracts say, as Kafka settings."""

from __future__ import annotations

import pytest

from broker_events.runtime.kafka.topics import DERIVED_SIZE_FACTOR, Difference, TopicPlan, in_words, plan_topics
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import load_catalog

CATALOG = load_catalog()


def plans(**settings: object) -> dict[str, TopicPlan]:
    planned = plan_topics(CATALOG, Settings(**settings))  # type: ignore[arg-type]
    return {plan.name: plan for plan in planned}


def test_one_plan_for_each_topic_of_the_catalog() -> None:
    assert list(plans(topic_prefix="eu")) == [f"eu.{name}" for name in CATALOG.topics]


def test_all_have_the_same_partition_count() -> None:
    """An account is in the partition of the same number everywhere."""
    assert {plan.partitions for plan in plans(partitions=5).values()} == {5}


def test_retention_is_as_the_contract_says() -> None:
    for name, plan in plans().items():
        topic = CATALOG.topics[name.removeprefix("broker.")][1]
        assert plan.config["cleanup.policy"] == topic.cleanup
        if topic.is_compacted:
            assert int(plan.config["delete.retention.ms"]) == 7 * 24 * 3600 * 1000
        if topic.retention_days is None:
            assert "retention.ms" not in plan.config
        else:
            assert int(plan.config["retention.ms"]) == topic.retention_days * 24 * 3600 * 1000


def test_state_is_compacted_and_events_are_not() -> None:
    compacted = {name for name, plan in plans().items() if plan.config["cleanup.policy"] == "compact"}
    tables = ("alerts.active", "state.accounts", "state.movements", "ingest.cursors", "quarantine.recoveries")
    assert compacted == {f"broker.{name}" for name in tables}


def test_what_is_derived_from_the_largest_raw_record_fits() -> None:
    sizes = {name: int(plan.config["max.message.bytes"]) for name, plan in plans(max_message_bytes=2_000_000).items()}
    assert sizes.pop("broker.raw") == 2_000_000
    assert set(sizes.values()) == {2_000_000 * DERIVED_SIZE_FACTOR}


def test_a_majority_of_replicas_has_to_be_in_sync() -> None:
    for factor, expected in ((1, None), (2, None), (3, "2")):
        for plan in plans(replication_factor=factor).values():
            assert plan.replication_factor == factor
            assert plan.config.get("min.insync.replicas") == expected


def test_what_only_a_new_topic_would_mend() -> None:
    assert Difference("t", "partitions", "8", "4").is_fixed
    assert Difference("t", "cleanup.policy", "compact", "delete").is_fixed
    assert not Difference("t", "retention.ms", "1", "2").is_fixed
    assert not Difference("t", "topic", "8 partitions", None).is_fixed, "it can be created"


def test_only_the_time_of_receipt_is_a_create_time() -> None:
    """All else is stamped by the cluster: a worker's clock may be wrong."""
    for plan in plans().values():
        is_receipt = plan.name == "broker.raw" or plan.name.startswith("broker.event.")
        kind = "CreateTime" if is_receipt else "LogAppendTime"
        assert plan.config["message.timestamp.type"] == kind
        assert plan.config["message.timestamp.before.max.ms"] == str(2**63 - 1)
        assert plan.config["message.timestamp.after.max.ms"] == "3600000"


@pytest.mark.parametrize(
    ("what", "wanted", "found", "stops"),
    [
        ("max.message.bytes", "100", "99", True),
        ("max.message.bytes", "100", "101", False),  # raised before this worker is restarted
        ("message.timestamp.type", "CreateTime", "LogAppendTime", True),
        ("message.timestamp.after.max.ms", "3600000", "1", True),
        ("message.timestamp.after.max.ms", "3600000", str(2**63 - 1), False),
        ("message.timestamp.before.max.ms", str(2**63 - 1), "86400000", True),
        ("message.timestamp.before.max.ms", str(2**63 - 1), "unknown to this Kafka", True),
        ("min.insync.replicas", "2", "1", True),
        ("retention.ms", "10", "5", False),
        ("cleanup.policy", "compact", "delete", True),
    ],
)
def test_what_stops_workers(what: str, wanted: str, found: str, *, stops: bool) -> None:
    assert Difference("t", what, wanted, found).stops_workers == stops


def test_a_derived_record_of_the_largest_raw_one_can_be_read_by_a_default_client() -> None:
    """Limits: receive.message.max.bytes of librdkafka, socket.request.max.bytes of Kafka."""
    [bound] = [each.le for each in Settings.model_fields["max_message_bytes"].metadata if hasattr(each, "le")]
    assert bound * DERIVED_SIZE_FACTOR + 1_000_000 < 100_000_000


def test_a_difference_says_both_values() -> None:
    assert str(Difference("t", "partitions", "8", "4")) == "t: partitions is 4, must be 8"
    assert str(Difference("t", "topic", "8 partitions", None)) == "t: missing"


def test_topics_of_another_partition_count_are_told_together() -> None:
    differences = [Difference(name, "partitions", "4", "8") for name in ("a", "b", "c")]
    differences += [Difference("d", "partitions", "4", "2"), Difference("e", "topic", "4 partitions", None)]
    assert [*in_words(differences)] == [
        "3 topics have 8 partitions, PIPELINE_PARTITIONS says 4",
        "d has 2 partitions, PIPELINE_PARTITIONS says 4",
        "e: missing",
    ]
    missing = [Difference(name, "topic", "4 partitions", None) for name in ("e", "f")]
    assert [*in_words([*differences[3:4], *missing])][1:] == ["2 topics are missing: e, f"]
