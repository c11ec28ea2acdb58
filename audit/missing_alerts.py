"""Finds the alerts that the events cause and the topic `alerts` lacks. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from broker_events.processors.alert_record import AlertRecord
from broker_events.processors.rules import active_change
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition, partition_of


class MissingAlert(NamedTuple):
    """A missing alert and the Kafka key of its event."""

    key: bytes
    alert: AlertRecord


@dataclass
class MissingAlerts:
    """Collects the missing alerts of one partition number; takes every event in the order of its topic.

    `known`: ids in the topic. `cut`: the typed partitions whose first events are deleted. `since_ms`: time of the
    oldest alert in the topic, where older ones may be deleted; 0 where none is.
    """

    partition: int
    known: set[str]
    cut: Collection[TopicPartition]
    since_ms: float
    missing: list[MissingAlert] = field(default_factory=list)
    unjudged: int = 0
    """Alerts that can't be judged: they may depend on deleted events, or may have been deleted themselves."""
    _seen: set[tuple[str, bytes]] = field(default_factory=set)

    def note(self, record: KafkaRecord, state_key: bytes, alerts: list[AlertRecord]) -> None:
        """Take the alerts of one event, which belongs to the state `state_key`."""
        is_first = False
        if (tp := partition_of(record)) in self.cut:  # the state before its first event left is unknown
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
                self.missing.append(MissingAlert(record.key() or b"", alert))

    def active_changes(
        self, live: Mapping[bytes, bytes], rebuilt: Mapping[bytes, bytes]
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield the keys of alerts.active that the missing alerts set and whose value is wrong, with the right value.

        A condition that has ended since is not in `rebuilt`, so its FIRING alert does not return.
        """
        changes = (active_change(each.alert.alert) for each in self.missing)
        for key in dict.fromkeys(change.dedup_key.encode() for change in changes if change is not None):
            if live.get(key) != rebuilt.get(key):
                yield key, rebuilt.get(key)
