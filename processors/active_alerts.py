"""The number of conditions that hold now: keys of alerts.active in the partitions assigned to this worker."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Final

from broker_events.processors.rules.alerting import RULES, Rule
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.kafka.topic_reader import read_to_end
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings

ACTIVE_ALERTS: Final = "alerts.active"


class ActiveAlerts:
    """Counts by rule, only for the gauge `active_alerts`."""

    def __init__(
        self, settings: Settings, metrics: Metrics, stop: threading.Event, data_rules: Iterable[Rule] = ()
    ) -> None:
        """`stop`: setting it ends a restore early. `data_rules`: the rules as data that are switched on."""
        self._conditions = {rule.name for rule in (*RULES, *data_rules) if rule.is_condition}
        self._settings = settings
        self._stop = stop
        self._metrics = metrics
        self._topic = settings.topic(ACTIVE_ALERTS)
        self._keys: dict[int, set[bytes]] = {}
        self._counts: Counter[str] = Counter()

    def restore(self, partitions: set[int], kept: set[int]) -> None:
        """Hold exactly these partitions; read those that are not `kept` from the topic.

        Raises RestartRequired, and Stopped when `stop` ended it early.
        """
        self._keys = {number: self._keys[number] if number in kept else set() for number in partitions}
        self._counts = Counter(_rule(key) for keys in self._keys.values() for key in keys)
        starts = {TopicPartition(self._topic, number): 0 for number in partitions - kept}
        for records in read_to_end(self._settings, starts, stop=self._stop):
            for record in records:
                self.note(record.partition(), record.key() or b"", holds=record.value() is not None)
        self.show()

    def note(self, partition: int, dedup_key: bytes, *, holds: bool) -> None:
        """Enter a record of the topic, read or written: the condition holds, or has ended (a tombstone)."""
        keys = self._keys[partition]
        if holds == (dedup_key in keys):
            return
        if holds:
            keys.add(dedup_key)
        else:
            keys.remove(dedup_key)
        self._counts[_rule(dedup_key)] += 1 if holds else -1

    def show(self) -> None:
        """Update the gauge."""
        for rule in self._conditions | self._counts.keys():
            self._metrics.active_alerts.labels(rule).set(self._counts[rule])


def _rule(dedup_key: bytes) -> str:
    return dedup_key.split(b"/", 1)[0].decode("utf-8", "replace")
