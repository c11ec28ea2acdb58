"""Reads the quarantine (dead-letter) records that one stage wrote for some source topics."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Generator, Mapping

from broker_events.runtime.consume.record import KafkaRecord, TopicPartition, place_of
from broker_events.runtime.kafka.topic_reader import read_to_end
from broker_events.runtime.quarantine.writer import QUARANTINE
from broker_events.runtime.schema_ids import registry_problem, schema_lookup
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import Catalog
from broker_events.schemas.codec import Codec, DecodeError
from broker_events.schemas.registry import RegistryError
from broker_events.schemas.storage_types import QuarantinedEvent

log = logging.getLogger(__name__)


class QuarantineReader:
    """Reads the quarantine records that `stage` wrote for records of `topics` (Kafka names)."""

    def __init__(
        self, settings: Settings, catalog: Catalog, schema_id: int, stage: str, topics: Collection[str]
    ) -> None:
        """`schema_id`: registry id of the current schema of quarantine records."""
        self._settings = settings
        self._stage, self._topics = stage, topics
        self._codec: Codec[QuarantinedEvent] = Codec(catalog.topics[QUARANTINE][0], schema_id, schema_lookup(settings))

    def read(
        self,
        starts: Mapping[TopicPartition, int],
        stop: threading.Event | None = None,
        *,
        ends: Mapping[TopicPartition, int] | None = None,
    ) -> Generator[tuple[KafkaRecord, QuarantinedEvent]]:
        """Yield records from the start offsets to `ends`, by default the current ends. Logs and skips undecodable ones.

        Raises what `read_to_end` raises, and the error of `registry_problem` for a registry failure.
        """
        for records in read_to_end(self._settings, starts, ends, stop):
            for record in records:
                try:
                    event = self._codec.decode(record.value() or b"")
                except RegistryError as error:
                    raise registry_problem(error) from None
                except DecodeError as error:
                    log.warning("%s: skipped, cannot be decoded: %s", place_of(record), error)
                    continue
                if event["stage"] == self._stage and event["topic"] in self._topics:
                    yield record, event
