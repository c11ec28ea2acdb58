"""Protects a real cluster from simulated events: finds a record that no simulator has caused."""

from __future__ import annotations

from typing import Final

from broker_events.ingest.cursors import TOPIC as CURSORS
from broker_events.ingest.cursors import read_positions
from broker_events.runtime.consume.record import TopicPartition, place_of
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.topic_reader import end_offsets, read_to_end
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.quarantine.replay import RECOVERIES
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import DELIVERIES, load_catalog
from broker_events.schemas.headers import SIMULATED

_NO_EVENTS: Final = {CURSORS, RECOVERIES, DELIVERIES}
# Offsets per partition that are read before a source continues.
_NEWEST: Final = 1000
_REQUEST_TIMEOUT_S: Final = 15.0


def refuse_real_records(settings: Settings, source: str | None = None) -> None:
    """Raise OperatorActionRequired if a topic of the prefix holds a record without header SIMULATED.

    Reads every topic whose records derive from events up to the first such record; a topic may be missing. If `source`
    has committed a position, only the newest records are read: all were read before its first event.
    """
    found = admin_client(settings).list_topics(timeout=_REQUEST_TIMEOUT_S).topics
    names = [name for name in load_catalog().topics if name not in _NO_EVENTS and settings.topic(name) in found]
    topics = [settings.topic(name) for name in names]
    starts = {TopicPartition(topic, number): 0 for topic in topics for number in found[topic].partitions}
    if source is not None and settings.topic(CURSORS) in found and read_positions(settings, source):
        starts = {tp: max(end - _NEWEST, 0) for tp, end in end_offsets(settings, starts).items()}
    for records in read_to_end(settings, starts):
        for record in records:
            if record.value() is not None and not any(name == SIMULATED for name, _ in record.headers() or ()):
                raise OperatorActionRequired(
                    f"{settings.kafka_bootstrap_servers} holds records that no simulator wrote, such as "
                    f"{place_of(record)}: simulated events can't be written among them. Use another "
                    "PIPELINE_TOPIC_PREFIX or another cluster"
                )
