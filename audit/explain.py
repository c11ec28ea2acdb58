"""Finds every record in the topics that names an event id."""

from __future__ import annotations

import logging
from collections.abc import Callable

from broker_events.audit.event_trace import Decoded, EventRecords, mentions
from broker_events.audit.ledger import ROUTER
from broker_events.processors.duplicate_restore import CLOCKS_MS
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition, place_of
from broker_events.runtime.events.pushed_event import parse_event
from broker_events.runtime.kafka.partitioner import partition_for
from broker_events.runtime.kafka.topic_reader import committed_offsets, offsets_at, read_to_end, topic_partitions
from broker_events.runtime.quarantine.replay import RECOVERIES
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import DELIVERIES, RAW, load_catalog
from broker_events.schemas.invalid_event import InvalidEvent
from broker_events.schemas.models import Alert, QuarantinedEvent
from broker_events.schemas.models import Record as Model

log = logging.getLogger(__name__)

DecodeModel = Callable[[bytes], Model]


def find_event(settings: Settings, event_id: str, account: str | None, decode: DecodeModel) -> EventRecords:
    """Search the partition of an account key, or all partitions; `decode` raises ValueError for an unreadable value.

    Raises OperatorActionRequired where a topic is missing, RestartRequired where Kafka doesn't answer.
    """
    partitions = topic_partitions(settings, settings.topic(RAW))
    if account is not None:
        partitions = [partitions[partition_for(account.encode(), len(partitions))]]
    search = _Search(settings, event_id, decode)
    for number, tp in enumerate(partitions, 1):
        search.raw(tp)
        log.info("%s[%d] searched, %d of %d partitions", *tp, number, len(partitions))
    # Retention may have deleted the raw record and kept its outputs.
    hits = {record.partition() for record in search.found.raw} or {tp.partition for tp in partitions}
    for number, partition in enumerate(sorted(hits), 1):
        search.outputs(partition)
        log.info("outputs of partition %d searched, %d of %d", partition, number, len(hits))
    search.recoveries()
    search.deliveries()
    committed = committed_offsets(settings, settings.group(ROUTER), partitions)
    search.found.routed_to = {tp.partition: offset or 0 for tp, offset in committed.items()}
    return search.found


class _Search:
    def __init__(self, settings: Settings, event_id: str, decode: DecodeModel) -> None:
        self.found = EventRecords()
        self._settings = settings
        self._event_id = event_id
        self._wanted = event_id.encode("utf-8", "backslashreplace")
        self._decode = decode
        topics = [
            (name, topic.is_compacted)
            for name, (contract, topic) in load_catalog().topics.items()
            if contract.schema is not None and name not in {RECOVERIES, DELIVERIES}
        ]
        self._deleting = [settings.topic(name) for name, is_compacted in topics if not is_compacted]
        self._compacted = [settings.topic(name) for name, is_compacted in topics if is_compacted]

    def raw(self, tp: TopicPartition) -> None:
        for records in read_to_end(self._settings, {tp: 0}):
            self.found.raw += [record for record in records if self._names_it(record)]

    def outputs(self, partition: int) -> None:
        """Search typed records, quarantine, alerts, and the latest values of compacted topics."""
        kept = [TopicPartition(topic, partition) for topic in self._deleting]
        oldest_ms = min((record.timestamp()[1] for record in self.found.raw), default=None)
        starts = dict.fromkeys(kept, 0)
        if oldest_ms is not None:
            starts = offsets_at(self._settings, kept, oldest_ms - CLOCKS_MS)
        for records in read_to_end(self._settings, starts):
            for record in records:
                self._keep(record)
        present: dict[tuple[str, bytes | None], KafkaRecord] = {}
        for records in read_to_end(self._settings, {TopicPartition(topic, partition): 0 for topic in self._compacted}):
            for record in records:
                present.pop((record.topic(), record.key()), None)
                if self._wanted in (record.value() or b""):
                    present[record.topic(), record.key()] = record
        for record in present.values():
            self._keep(record)

    def recoveries(self) -> None:
        """Search the audit of replays in all partitions: its key is the place of a quarantine record."""
        topic = self._settings.topic(RECOVERIES)
        for records in read_to_end(self._settings, dict.fromkeys(topic_partitions(self._settings, topic), 0)):
            for record in records:
                self._keep(record)

    def deliveries(self) -> None:
        """Search what became of the alerts of this event at their receivers: the last record of each."""
        alerts = {
            each.model.alert_id: each.record.partition()
            for each in self.found.decoded
            if isinstance(each.model, Alert) and each.model.event_id == self._event_id
        }
        topic = self._settings.topic(DELIVERIES)
        latest: dict[bytes | None, KafkaRecord] = {}
        for records in read_to_end(self._settings, {TopicPartition(topic, number): 0 for number in alerts.values()}):
            latest |= {record.key(): record for record in records if _alert_of(record) in alerts}
        self.found.decoded += [Decoded(record, self._decode(record.value() or b"")) for record in latest.values()]

    def _keep(self, record: KafkaRecord) -> None:
        """Keep a record that names the event id."""
        value = record.value() or b""
        if self._wanted not in value:
            return
        try:
            model = self._decode(value)
        except ValueError as error:
            log.warning("%s: %s", place_of(record), error)
            return
        if isinstance(model, QuarantinedEvent):
            headers = {(header.name, header.value) for header in model.headers}
            is_it = model.event_id == self._event_id or ("event_id", self._wanted) in headers
        else:
            is_it = any(mentions(self._event_id, model.model_dump()))
        if is_it:
            self.found.decoded.append(Decoded(record, model))

    def _names_it(self, record: KafkaRecord) -> bool:
        value = record.value() or b""
        if ("event_id", self._wanted) in (record.headers() or ()):
            return True
        if self._wanted not in value:
            return False
        try:
            return bool(parse_event(value).root["id"] == self._event_id)
        except InvalidEvent:
            return False


def _alert_of(delivery: KafkaRecord) -> str:
    """Return the alert id in the key of a record of alerts.deliveries."""
    return (delivery.key() or b"").decode("utf-8", "replace").partition("/")[2]
