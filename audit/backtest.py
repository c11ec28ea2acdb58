"""Runs a rule as data over the typed events of the past: what it would have alerted. Writes nothing.

A rule sees its event types only, and a state that depends on these alone. So the topics of its event types are enough.
They are read from the beginning, as the projector would have, so that conditions and movements have their past.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from broker_events.audit.progress import Progress
from broker_events.processors.alert_record import AlertWriter
from broker_events.processors.alert_rules.rule import DataRule
from broker_events.processors.fold import fold, typed_topics
from broker_events.processors.projector import ALERTS, TABLES, source_uri
from broker_events.processors.rules import INDEX_KEYS
from broker_events.runtime.consume.record import TopicPartition, place_of
from broker_events.runtime.kafka.topic_reader import read_to_end
from broker_events.runtime.kafka.topics import derived_size_limit
from broker_events.runtime.schema_ids import registry_problem, resolve_schema_ids, schema_lookup
from broker_events.runtime.settings import Settings
from broker_events.runtime.state.partition_state import PartitionState
from broker_events.schemas.catalog import Catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.invalid_event import InvalidEvent
from broker_events.schemas.registry import RegistryError
from broker_events.schemas.storage_types import Alert


class Raised(NamedTuple):
    """An alert that the rule would have raised, and when its event was received, milliseconds since the epoch."""

    alert: Alert
    received_ms: int


class Failed(NamedTuple):
    """An event for which the rule, or the projection, has no value: place and reason."""

    place: str
    reason: str


class Backtest:
    """Backtests one rule. Raises OperatorActionRequired where the registry lacks a schema."""

    def __init__(self, settings: Settings, catalog: Catalog, rule: DataRule) -> None:
        self._settings = settings
        ids = resolve_schema_ids(settings, catalog)
        lookup = schema_lookup(settings)

        def codec(topic: str) -> Codec[Any]:
            return Codec(catalog.topics[topic][0], ids[topic], lookup)

        typed = typed_topics(catalog, settings.topic, codec, [rule])
        self._typed = {topic: each for topic, each in typed.items() if each.rules}
        self._rule = rule.rule.name
        self._codecs = {name: codec(name) for name in TABLES}
        self._writer = AlertWriter(codec(ALERTS), source_uri(settings))
        self.events = 0

    @property
    def topics(self) -> list[str]:
        """The topics that it reads (Kafka names)."""
        return [*self._typed]

    def run(self, partition: int) -> Iterator[Raised | Failed]:
        """Yield the alerts of one partition number, topic by topic, in the order of their events."""
        tables = {
            name: {partition: PartitionState[Any](codec, INDEX_KEYS.get(name))} for name, codec in self._codecs.items()
        }
        size_limit, max_skew_us = derived_size_limit(self._settings), self._settings.max_clock_skew_us
        progress = Progress(f"typed records of partition {partition}")
        for topic, typed in self._typed.items():
            for records in read_to_end(self._settings, {TopicPartition(topic, partition): 0}):
                for record in records:
                    try:
                        folded = fold(typed, record, tables, self._writer, size_limit, max_skew_us)
                    except InvalidEvent as problem:
                        yield Failed(place_of(record), str(problem))
                        continue
                    except RegistryError as error:
                        raise registry_problem(error) from None
                    for each in folded.alerts:
                        if each.alert["rule"] == self._rule:
                            yield Raised(each.alert, record.timestamp()[1])
                for table in tables.values():
                    table[partition].settle()
                self.events += len(records)
                progress.add(len(records))
