"""Offsets of a group that an operator sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import confluent_kafka
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from broker_events.runtime.consume.offset_note import OffsetNote
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.kafka.clients import refused
from broker_events.runtime.process.errors import OperatorActionRequired, RestartRequired
from broker_events.runtime.process.operator import operator
from broker_events.runtime.process.retry import keep_trying
from broker_events.runtime.settings import Settings

_HAS_MEMBERS = {KafkaError.NON_EMPTY_GROUP, KafkaError.UNKNOWN_MEMBER_ID}
_FORBIDDEN = {KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED}
_REQUEST_TIMEOUT_S = 15.0


def topic_ids(admin: AdminClient, topics: Sequence[str]) -> dict[str, str]:
    """Id of each topic (KIP-516). Raises KafkaException if Kafka doesn't report one."""
    futures = admin.describe_topics(TopicCollection([*topics]), request_timeout=_REQUEST_TIMEOUT_S)
    return {topic: str(future.result().topic_id) for topic, future in futures.items()}


def accept_offsets(
    admin: AdminClient, group: str, offsets: Mapping[TopicPartition, int], ids: Mapping[str, str], reason: str
) -> None:
    """Commit these offsets for a group without members; its workers begin there, and log who set them and why.

    `ids`: topic ids. Raises OperatorActionRequired while the group has members or if an ACL forbids it, otherwise
    RestartRequired.
    """
    by = operator()
    wanted = [
        confluent_kafka.TopicPartition(*tp, offset, OffsetNote(ids[tp.topic], by, reason).encode())
        for tp, offset in offsets.items()
    ]
    try:
        done = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)])[group].result()
        for tp in done.topic_partitions:
            if tp.error is not None:
                raise KafkaException(tp.error)
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        if error.code() in _HAS_MEMBERS:
            raise _has_members(group) from None
        if error.code() in _FORBIDDEN:
            raise refused(f"Read on group {group} ({error.str()})") from None
        raise RestartRequired(f"setting offsets of the group {group}: {error.str()}") from None


def require_no_members(admin: AdminClient, settings: Settings, group: str) -> None:
    """Raise OperatorActionRequired if the group has members."""
    if group_members(admin, settings, group):
        raise _has_members(group)


def _has_members(group: str) -> OperatorActionRequired:
    return OperatorActionRequired(f"the group {group} has members: stop all its workers first")


def group_members(admin: AdminClient, settings: Settings, group: str) -> int:
    """Return the number of members of a group, 0 for a group that no consumer has ever joined."""

    def ask() -> int:
        try:
            described = admin.describe_consumer_groups([group], request_timeout=_REQUEST_TIMEOUT_S)[group].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                raise refused(f"Describe on group {group}") from None
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return 0
            raise
        return len(described.members)

    return keep_trying(f"the group {group}", ask, settings.start_timeout_s, (KafkaException,))
