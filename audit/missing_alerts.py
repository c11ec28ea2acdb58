"""Alerts that the events give rise to and the topic `alerts` doesn't have. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from broker_events.processors.alert_record import AlertRecord
from broker_events.processors.rules import active_change
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition, partition_of


class Missing(NamedTuple):
    """An alert that isn't there, and the Kafka key of the event that it is about."""

    key: bytes
    alert: AlertRecord


@dataclass
class MissingAlerts:
    """Of one partition number, to be told of every event in the order of its topic.

    `known`: ids of the alerts that are there. `cut`: the typed partitions whose first events are deleted. `since_ms`:
    time of the oldest alert that is there, where older ones may be deleted; 0 where none is.
    """

    partition: int
    known: set[str]
    cut: Collection[TopicPartition]
    since_ms: float
    missing: list[Missing] = field(default_factory=list)
    unjudged: int = 0
    """Alerts that may be missing, or rest on deleted events, or may have been deleted themselves."""
    _seen: set[tuple[str, bytes]] = field(default_factory=set)

    def note(self, record: KafkaRecord, state_key: bytes, alerts: list[AlertRecord]) -> None:
        """These are the alerts of an event, which is about the state `state_key`."""
        is_first = False
        if (tp := partition_of(record)) in self.cut:  # what came before the first event of a state is unknown
            is_first = (tp.topic, state_key) not in self._seen
            self._seen.add((tp.topic, state_key))
        for alert in alerts:
            alert_id = alert.alert["alert_id"]
            if alert_id in self.known:
                continue
            self.known.add(alert_id)
            if is_first or record.timestamp()[1] < self.since_ms:
                self.unjudged += 1
            else:
                self.missing.append(Missing(record.key() or b"", alert))

    def active_changes(
        self, live: Mapping[bytes, bytes], folded: Mapping[bytes, bytes]
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """Keys of alerts.active that the missing alerts are about, and what each has to have, where it has not.

        A condition that has ended since is not in `folded`: its FIRING doesn't come back.
        """
        changes = (active_change(each.alert.alert) for each in self.missing)
        for key in dict.fromkeys(change.dedup_key.encode() for change in changes if change is not None):
            if live.get(key) != folded.get(key):
                yield key, folded.get(key)
