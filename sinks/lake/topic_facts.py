"""What the worker must know of the topics before it reads: cluster id, topic ids, first offsets."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import KafkaException

from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.consume.topic_identity import TopicIdentity
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.topic_reader import first_offsets
from broker_events.runtime.process.errors import OperatorActionRequired, RestartRequired
from broker_events.runtime.settings import Settings
from broker_events.sinks.lake.ledger import Ledger

_TIMEOUT_S = 15.0


class TopicFacts(NamedTuple):
    """`firsts`: the oldest offset that each partition still holds, by Kafka topic name and partition."""

    cluster_id: str
    topic_ids: dict[str, str]
    firsts: dict[str, dict[int, int]]
    identity: TopicIdentity


def learn(settings: Settings, topics: Iterable[str], stop: threading.Event | None = None) -> TopicFacts:
    """Ask Kafka. Raises OperatorActionRequired for a missing topic, RestartRequired without answer."""
    topics = [*topics]
    admin = admin_client(settings, stop)
    try:
        cluster = str(admin.describe_cluster(request_timeout=_TIMEOUT_S).result().cluster_id)
        known = admin.list_topics(timeout=_TIMEOUT_S).topics
        if missing := [topic for topic in topics if topic not in known]:
            raise OperatorActionRequired(
                f"{missing[0]}: no such topic (create it with: broker-events topics apply), or an ACL hides it"
            )
        identity = TopicIdentity(settings, topics)
        identity.learn()
    except KafkaException as error:
        raise RestartRequired(f"Kafka: {error.args[0].str()}") from None
    found = first_offsets(settings, [TopicPartition(t, p) for t in topics for p in known[t].partitions], stop)
    firsts: dict[str, dict[int, int]] = {topic: {} for topic in topics}
    for tp, offset in found.items():
        firsts[tp.topic][tp.partition] = offset
    return TopicFacts(cluster, identity.ids, firsts, identity)


def refuse_foreign(table: str, ledger: Ledger, facts: TopicFacts) -> None:
    """Raise OperatorActionRequired unless the ledger's offsets belong to this cluster and topic and still exist."""
    advice = "See docs/how-to/runbook.md, A lake table belongs to another topic"
    known, found = (ledger.cluster_id, ledger.topic_id), (facts.cluster_id, facts.topic_ids[ledger.topic])
    if known != found:
        raise OperatorActionRequired(
            f"{table}: its offsets belong to the topic id {known[1]} of {ledger.topic} in the cluster {known[0]}; "
            f"Kafka has the id {found[1]} in the cluster {found[0]}. {advice}"
        )
    firsts = facts.firsts[ledger.topic]
    for partition, offset in sorted(ledger.offsets.items()):
        if offset < firsts.get(partition, 0):
            raise OperatorActionRequired(
                f"{table}: its next offset is {offset} in {ledger.topic}[{partition}], but Kafka's oldest record is "
                f"{firsts[partition]}: records between them are lost for the table. "
                "See docs/how-to/runbook.md, A lake table is behind the topic's retention"
            )
