"""The catalog's topics: create them, compare them with Kafka, verify them at each start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from broker_events.runtime.kafka.clients import refused
from broker_events.runtime.process.errors import OperatorActionRequired, PipelineError, RestartRequired
from broker_events.runtime.settings import PREFIX, Settings
from broker_events.schemas.catalog import RAW, Catalog
from broker_events.schemas.schema_rules import MAX_ID_BYTES

T = TypeVar("T")

_DAY_MS: Final = 86_400_000
# A record derived from a raw one is larger: quarantine adds coordinates, an alert holds two snapshots.
DERIVED_SIZE_FACTOR: Final = 4
# A record's framing and its headers, which count towards the size limit of its topic.
_OVERHEAD_BYTES: Final = 1024
# A quarantine record adds to the typed record in it: the key again, coordinates, a detail.
_QUARANTINE_BYTES: Final = MAX_ID_BYTES + 8192
_REQUEST_TIMEOUT_S: Final = 15.0
# How far a record's time may be ahead of Kafka's clock: Kafka's default since 3.6.
_MOST_AHEAD_MS: Final = 3_600_000
# Settings that can't be altered without changing what consumers see.
_FIXED: Final = ("partitions", "cleanup.policy")
# Workers require these as planned, and `_AT_LEAST` at or above the plan.
_EXACT: Final = {*_FIXED, "message.timestamp.type"}
_AT_LEAST: Final = {
    "max.message.bytes",
    "message.timestamp.before.max.ms",
    "message.timestamp.after.max.ms",
    "min.insync.replicas",
}


@dataclass(frozen=True)
class TopicPlan:
    """The planned settings of one topic. `config` maps Kafka topic settings to text values."""

    name: str
    partitions: int
    replication_factor: int
    config: dict[str, str] = field(default_factory=dict)


class Difference(NamedTuple):
    """One difference between Kafka and the plan; `found` is None if the topic is missing."""

    topic: str
    what: str
    wanted: str
    found: str | None

    @property
    def is_fixed(self) -> bool:
        """True if only recreating the topic helps."""
        return self.found is not None and self.what in _FIXED

    @property
    def stops_workers(self) -> bool:
        """True if events would be lost, moved or rejected."""
        if self.found is None or self.what in _EXACT:
            return True
        return self.what in _AT_LEAST and (not self.found.isdigit() or int(self.found) < int(self.wanted))

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.topic}: missing"
        return f"{self.topic}: {self.what} is {self.found}, must be {self.wanted}"


def plan_topics(catalog: Catalog, settings: Settings) -> tuple[TopicPlan, ...]:
    """Every topic of the pipeline, in the catalog's order."""
    plans = []
    for name, (_, topic) in catalog.topics.items():
        factor = 1 if name == RAW else DERIVED_SIZE_FACTOR
        config = {
            "cleanup.policy": topic.cleanup,
            "max.message.bytes": str(settings.max_message_bytes * factor),
            # A derived record keeps the time of its source: Kafka must accept any age.
            "message.timestamp.type": "LogAppendTime" if topic.append_time else "CreateTime",
            "message.timestamp.before.max.ms": str(2**63 - 1),
            "message.timestamp.after.max.ms": str(_MOST_AHEAD_MS),
        }
        if topic.is_compacted:
            # A reader that was away for a week still sees the tombstones.
            config |= {"delete.retention.ms": str(7 * _DAY_MS), "min.cleanable.dirty.ratio": "0.2"}
        if topic.retention_days is not None:
            config["retention.ms"] = str(topic.retention_days * _DAY_MS)
        if settings.replication_factor >= 3:  # noqa: PLR2004 (a majority of three)
            config["min.insync.replicas"] = "2"
        plans.append(TopicPlan(settings.topic(name), settings.partitions, settings.replication_factor, config))
    return tuple(plans)


def derived_size_limit(settings: Settings) -> int:
    """Maximum bytes of key and value of a derived record."""
    return settings.max_message_bytes * DERIVED_SIZE_FACTOR - _OVERHEAD_BYTES


def typed_size_limit(settings: Settings) -> int:
    """Maximum bytes of key and value of a typed record, so that it also fits into a quarantine record."""
    return derived_size_limit(settings) - _QUARANTINE_BYTES


def diff_topics(admin: AdminClient, plans: Sequence[TopicPlan]) -> list[Difference]:
    """Return the differences between Kafka and the plan.

    Raises RestartRequired when the cluster doesn't answer, OperatorActionRequired if an ACL forbids the request.
    """
    try:
        existing = admin.list_topics(timeout=_REQUEST_TIMEOUT_S).topics
    except KafkaException as error:
        raise RestartRequired(f"listing topics: {error.args[0].str()}") from None
    present = [plan for plan in plans if plan.name in existing]
    configs = _configs(admin, [plan.name for plan in present])
    differences = []
    for plan in plans:
        if plan.name not in existing:
            differences.append(Difference(plan.name, "topic", f"{plan.partitions} partitions", None))
            continue
        found = {"partitions": str(len(existing[plan.name].partitions))}
        found |= {key: configs[plan.name].get(key, "unknown to this Kafka") for key in plan.config}
        wanted = {"partitions": str(plan.partitions)} | plan.config
        differences += [
            Difference(plan.name, key, wanted[key], found[key]) for key in wanted if wanted[key] != found[key]
        ]
    return differences


def retention_ms(admin: AdminClient, topics: Sequence[str]) -> dict[str, int | None]:
    """Return how long each topic (Kafka name) keeps a record at least; None if its settings don't guarantee it.

    Raises RestartRequired when the cluster doesn't answer, OperatorActionRequired if an ACL forbids the request.
    """
    found = {}
    for name, config in _configs(admin, topics).items():
        kept_ms = int(config["retention.ms"])
        found[name] = kept_ms if kept_ms >= 0 and int(config["retention.bytes"]) < 0 else None
    return found


def apply_topics(admin: AdminClient, plans: Sequence[TopicPlan]) -> list[Difference]:
    """Create missing topics and alter settings; return the differences that were removed.

    Raises OperatorActionRequired, before changing anything, when a topic has another partition count or cleanup policy.
    """
    differences = diff_topics(admin, plans)
    _refuse([difference for difference in differences if difference.is_fixed])
    missing = {difference.topic for difference in differences if difference.found is None}
    new = [
        NewTopic(plan.name, plan.partitions, plan.replication_factor, config=plan.config)
        for plan in plans
        if plan.name in missing
    ]
    alter: dict[str, ConfigResource] = {}
    for difference in differences:
        if difference.found is not None:
            resource = alter.setdefault(difference.topic, ConfigResource(ResourceType.TOPIC, difference.topic))
            resource.add_incremental_config(
                ConfigEntry(difference.what, difference.wanted, incremental_operation=AlterConfigOpType.SET)
            )
    creations = admin.create_topics(new, request_timeout=_REQUEST_TIMEOUT_S) if new else {}
    changes = admin.incremental_alter_configs(list(alter.values())) if alter else {}
    pending = {f"Create on topic {name}": creation for name, creation in creations.items()}
    pending |= {f"AlterConfigs on topic {resource.name}": change for resource, change in changes.items()}
    for what, future in pending.items():
        _result(future, what, OperatorActionRequired)
    return differences


def verify_topics(admin: AdminClient, plans: Sequence[TopicPlan]) -> None:
    """Raise OperatorActionRequired unless every topic exists as the workers need it.

    Partition count, cleanup policy and timestamp type must be as planned; size limit, bounds of times and in-sync
    replicas at least as planned. Operators may change other settings, such as retention.
    """
    _refuse([difference for difference in diff_topics(admin, plans) if difference.stops_workers])


def in_words(differences: Sequence[Difference]) -> Iterator[str]:
    """Yield the differences as text; missing topics are one line, and topics with the same wrong partition count."""
    topics: defaultdict[tuple[str | None, str], list[str]] = defaultdict(list)
    for difference in differences:
        if difference.what == "partitions":
            topics[difference.found, difference.wanted].append(difference.topic)
    for (found, wanted), names in topics.items():
        which = f"{names[0]} has" if len(names) == 1 else f"{len(names)} topics have"
        yield f"{which} {found} partitions, {PREFIX}PARTITIONS says {wanted}"
    missing = [difference.topic for difference in differences if difference.found is None]
    if len(missing) > 1:
        yield f"{len(missing)} topics are missing: {', '.join(missing)}"
    told = {"partitions", "topic"} if len(missing) > 1 else {"partitions"}
    yield from (str(difference) for difference in differences if difference.what not in told)


def _configs(admin: AdminClient, topics: Sequence[str]) -> dict[str, dict[str, str]]:
    """Every setting of each topic."""
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
    futures = admin.describe_configs(resources, request_timeout=_REQUEST_TIMEOUT_S) if resources else {}
    found = {}
    for resource, future in futures.items():
        entries = _result(future, f"DescribeConfigs on topic {resource.name}", RestartRequired)
        found[resource.name] = {key: str(entry.value) for key, entry in entries.items()}
    return found


def _result(future: Future[T], what: str, otherwise: type[PipelineError]) -> T:
    """Return the result. Raises OperatorActionRequired if an ACL forbids it, otherwise `otherwise`."""
    try:
        return future.result()
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise refused(what) from None
        raise otherwise(f"{what}: {error.str()}") from None


def _refuse(differences: Sequence[Difference]) -> None:
    if differences:
        is_missing = any(difference.found is None for difference in differences)
        advice = "" if all(d.is_fixed for d in differences) else " (alter them with: broker-events topics apply)"
        if is_missing:
            advice = f" (create them with: broker-events topics apply, or check {PREFIX}TOPIC_PREFIX)"
        raise OperatorActionRequired("; ".join(in_words(differences)) + advice)
