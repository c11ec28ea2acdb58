"""The minimum ACLs of each part of the pipeline, and a check that a worker has them.

`broker-events topics acls` prints it for kafka-acls, docs/how-to/security.md shows it as a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, TopicDescription

from broker_events.runtime.kafka.clients import refused
from broker_events.runtime.kafka.topic_reader import READER
from broker_events.runtime.process.errors import RestartRequired
from broker_events.runtime.settings import Settings

TOPIC, GROUP, TRANSACTIONAL_ID = "topic", "group", "transactional-id"
_REQUEST_TIMEOUT_S: Final = 15.0

_Need = tuple[str, str, str]

# Each worker verifies the topics at its start.
_VERIFY: Final[_Need] = (TOPIC, "*", "Describe DescribeConfigs")
_READER: Final[_Need] = (GROUP, READER, "Describe")

# By role: resource, its name after the topic prefix (`*`: every suffix), operations as kafka-acls names them.
# Operations that Kafka implies are left out: Read and Write imply Describe, AlterConfigs implies DescribeConfigs.
_NEEDS: Final[Mapping[str, tuple[_Need, ...]]] = {
    "bridge": (
        _VERIFY,
        (TOPIC, "raw", "Write"),
        (TOPIC, "ingest.cursors", "Read Write"),
        (TRANSACTIONAL_ID, "ingest.*", "Write"),
        _READER,
    ),
    "router": (
        _VERIFY,
        (TOPIC, "raw", "Read"),
        # It reads its own output if its group has lost its offset, to avoid writing duplicates.
        (TOPIC, "event.*", "Read Write"),
        # Rejected records are not in the typed topics: read to restore deduplication.
        (TOPIC, "quarantine", "Read Write"),
        # Which rejected records wait for a replay.
        (TOPIC, "quarantine.recoveries", "Read"),
        (GROUP, "router", "Read"),
        (TRANSACTIONAL_ID, "router.*", "Write"),
        _READER,
    ),
    "projector": (
        _VERIFY,
        (TOPIC, "event.*", "Read"),
        (TOPIC, "state.*", "Read Write"),
        (TOPIC, "alerts", "Write"),
        (TOPIC, "alerts.active", "Read Write"),
        (TOPIC, "quarantine", "Write"),
        (GROUP, "projector", "Read"),
        (TRANSACTIONAL_ID, "projector.*", "Write"),
        _READER,
    ),
    "deliverer": (
        _VERIFY,
        (TOPIC, "alerts", "Read"),
        (TOPIC, "alerts.active", "Read"),
        (TOPIC, "alerts.deliveries", "Read Write"),
        (GROUP, "deliver.*", "Read"),
        (TRANSACTIONAL_ID, "deliver.*", "Write"),
        _READER,
    ),
    "lake": (
        (TOPIC, "raw", "Read"),
        (TOPIC, "event.*", "Read"),
        (TOPIC, "state.*", "Read"),
        (TOPIC, "alerts", "Read"),
        (TOPIC, "quarantine", "Read"),
        # The offsets are in the tables; those in Kafka are for tools that show lag.
        (GROUP, "lake", "Read"),
        _READER,
    ),
    "topics": ((TOPIC, "*", "Create Describe AlterConfigs"),),
    "operator": (
        (TOPIC, "*", "Read DescribeConfigs"),
        (GROUP, "router", "Describe"),
        (GROUP, "projector", "Describe"),
        (GROUP, "deliver.*", "Describe"),
        _READER,
    ),
    # With PIPELINE_CONSOLE_ACTIONS it needs the role `replayer` as well.
    "console": (
        (TOPIC, "raw", "Read"),
        (TOPIC, "event.*", "Read"),
        (TOPIC, "state.*", "Read"),
        (TOPIC, "alerts", "Read"),
        (TOPIC, "alerts.active", "Read"),
        (TOPIC, "alerts.deliveries", "Read"),
        (TOPIC, "quarantine", "Read"),
        (TOPIC, "quarantine.recoveries", "Read"),
        (TOPIC, "console.audit", "Write"),
        (GROUP, "router", "Describe"),
        (GROUP, "projector", "Describe"),
        _READER,
    ),
    "replayer": (
        (TOPIC, "quarantine", "Read"),
        (TOPIC, "quarantine.recoveries", "Read Write"),
        (TOPIC, "raw", "Write"),
        (TRANSACTIONAL_ID, "replay", "Write"),
        _READER,
    ),
    "repairer": (
        # Committing offsets requires Read on group and topic.
        (TOPIC, "raw", "Read"),
        (GROUP, "router", "Read"),
        (TOPIC, "event.*", "Read"),
        (TOPIC, "state.*", "Read Write"),
        (TOPIC, "alerts", "Read Write"),
        (TOPIC, "alerts.active", "Read Write"),
        (TOPIC, "quarantine", "Read"),
        (TOPIC, "ingest.cursors", "Read"),
        (GROUP, "projector", "Read"),
        (TRANSACTIONAL_ID, "rebuild", "Write"),
        _READER,
    ),
    # On the source: Read, the groups, ingest.*. On the copy: Write, the group of the projectors, copy.
    "copier": (
        _VERIFY,
        (TOPIC, "raw", "Read Write"),
        (TOPIC, "event.*", "Read"),
        (TOPIC, "ingest.cursors", "Read Write"),
        (TOPIC, "state.*", "Read Write"),
        (TOPIC, "alerts", "Read Write"),
        (TOPIC, "alerts.active", "Read Write"),
        (GROUP, "router", "Describe"),
        (GROUP, "projector", "Read"),
        (TRANSACTIONAL_ID, "ingest.*", "Write"),
        (TRANSACTIONAL_ID, "replay", "Write"),
        (TRANSACTIONAL_ID, "copy", "Write"),
        _READER,
    ),
    "subscriber": (
        (TOPIC, "event.*", "Read"),
        (TOPIC, "alerts", "Read"),
        (TOPIC, "alerts.active", "Read"),
        (TOPIC, "state.*", "Read"),
    ),
}
ROLES: Final = tuple(_NEEDS)


class Grant(NamedTuple):
    """Operations on the resource of this name, or on all with this prefix if `prefixed`."""

    resource: str
    name: str
    prefixed: bool
    operations: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.resource} {self.name}{'*' if self.prefixed else ''}"

    def covers(self, topic: str) -> bool:
        return self.resource == TOPIC and (topic.startswith(self.name) if self.prefixed else topic == self.name)


def grants(settings: Settings, role: str, group: str | None = None) -> tuple[Grant, ...]:
    """Everything that a role needs; `group` begins the names of a subscriber's groups, by default the user's name."""
    prefix = settings.topic("")
    found = [
        Grant(resource, prefix + name.removesuffix("*"), name.endswith("*"), tuple(operations.split()))
        for resource, name, operations in _NEEDS[role]
    ]
    if role == "subscriber":
        found.append(Grant(GROUP, group or user(settings, role), prefixed=True, operations=("Read",)))
    return tuple(found)


def user(settings: Settings, role: str) -> str:
    """Default name of a role's user: `broker-router`."""
    return f"{settings.topic_prefix}-{role}"


def verify_access(admin: AdminClient, settings: Settings, role: str, topics: Sequence[str]) -> None:
    """Raise OperatorActionRequired that names each operation on these topics that the role needs and Kafka denies.

    Ignores topics that don't exist. Raises RestartRequired when Kafka doesn't answer.
    """
    futures = admin.describe_topics(
        TopicCollection([*topics]), include_authorized_operations=True, request_timeout=_REQUEST_TIMEOUT_S
    )
    described = {topic: _allowed(future) for topic, future in futures.items()}
    allowed = {topic: operations for topic, operations in described.items() if operations is not None}
    lacking = []
    for grant in grants(settings, role):
        covered = [*filter(grant.covers, allowed)]
        for operation in grant.operations:
            refusing = [topic for topic in covered if operation.upper() not in allowed[topic]]
            if refusing:
                where = str(grant) if refusing == covered else f"{TOPIC} {', '.join(refusing)}"
                lacking.append(f"{operation} on {where}")
    if lacking:
        raise refused("; ".join(lacking))


def _allowed(described: Future[TopicDescription]) -> set[str] | None:
    """Return the allowed operations on a topic, in capitals; None if it doesn't exist or Kafka doesn't report them."""
    try:
        operations = described.result().authorized_operations
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return set()
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise RestartRequired(f"describing topics: {error.str()}") from None
    return {operation.name.replace("_", "") for operation in operations} if operations else None
