"""One table of a lake worker: takes it over, then commits its buffer with the next offsets."""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from broker_events.sinks.lake.avro_columns import AvroColumns
from broker_events.sinks.lake.buffer import Buffer
from broker_events.sinks.lake.iceberg.data_files import DoesNotFit, fitted, write_files
from broker_events.sinks.lake.iceberg.store import LakeStore, StorageFailed, add_columns
from broker_events.sinks.lake.ledger import Ledger
from broker_events.sinks.lake.topic_facts import TopicFacts, refuse_foreign

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

    from broker_events.runtime.settings import Settings
    from broker_events.sinks.lake.tables import LakeTable

log = logging.getLogger(__name__)

# How many commits' durations the estimate of the next one covers.
_WEIGHT: Final = 0.3


class OwnedTable:
    """A table that this process owns. `offset(p)` is where to read; `buffer` holds what was read since."""

    def __init__(
        self,
        settings: Settings,
        table: LakeTable,
        store: LakeStore,
        facts: TopicFacts,
        schema_text: Callable[[int], str],
    ) -> None:
        """Take the table over. Raises OperatorActionRequired, Fenced or CommitUnknown."""
        self.table = table
        self.store = store
        self.topic = settings.topic(table.topic)
        self.freshness_s = settings.lake_freshness_s
        self.commit_s = 0.0
        avro = None if table.contract.schema is None else AvroColumns(table.contract.schema, schema_text)
        self._avro = avro
        self._columns_of = 0
        self.buffer = Buffer(table, self.topic, avro)
        before = store.ledger()
        if before is not None:
            refuse_foreign(store.name, before, facts)
        starts = facts.firsts[self.topic]
        self.ledger = Ledger(
            epoch=1 if before is None else before.epoch + 1,
            owner=f"{settings.instance_id} on {socket.gethostname()}",
            cluster_id=facts.cluster_id,
            topic=self.topic,
            topic_id=facts.topic_ids[self.topic],
            commit_id=str(uuid.uuid4()),
            starts=starts if before is None else {**starts, **before.starts},
            offsets=starts if before is None else {**starts, **before.offsets},
            rows={} if before is None else before.rows,
        )
        store.take_over(before, self.ledger)
        log.info("%s: took over with epoch %d", store.name, self.ledger.epoch)

    @property
    def is_behind(self) -> bool:
        """Whether something was read that is not committed."""
        return self.buffer.since is not None

    def is_due(self, now: float, most_records: int, most_bytes: int) -> bool:
        """Whether the buffer is full, or must be committed now for the records to be fresh in time."""
        buffer = self.buffer
        if buffer.since is None:
            return False
        waited_s = now - buffer.since
        # A commit must end, not begin, within the target.
        limit_s = max(self.freshness_s - 2 * self.commit_s, self.freshness_s / 2)
        return len(buffer) >= most_records or buffer.bytes >= most_bytes or waited_s >= limit_s

    def commit(self, pause: Callable[[float], object]) -> int:
        """Write the buffer and commit it; return the number of rows. `pause` waits between attempts (seconds).

        Raises ConversionFailed for a record that the table can't take, UnknownSchema and RegistryError as `Buffer.rows`
        does, StorageFailed if the storage refuses files (try again), Fenced and CommitUnknown.
        """
        began = time.monotonic()
        after = self.ledger.advanced(
            self.buffer.next_offsets, self.buffer.rows_per_partition(), commit_id=str(uuid.uuid4())
        )
        files = self._write() if len(self.buffer) else []
        self.store.commit(self.ledger, after, files, pause)
        rows = len(self.buffer)
        self.ledger = after
        self.buffer.clear()
        took = time.monotonic() - began
        self.commit_s = took if not self.commit_s else self.commit_s * (1 - _WEIGHT) + took * _WEIGHT
        return rows

    def _write(self) -> list[DataFile]:
        rows = self.buffer.rows()
        self._evolve()
        first = min(self.buffer.next_offsets.values())
        try:
            fit = fitted(rows, self.store.handle.schema())
        except DoesNotFit as error:
            raise self.buffer.failed(str(error)) from None
        del rows
        try:
            return write_files(self.store.handle, fit, f"{self.ledger.epoch:06d}-{first:012d}-{uuid.uuid4()}")
        except OSError as error:
            raise StorageFailed(f"{self.store.name}: writing Parquet failed: {error}") from error

    def _evolve(self) -> None:
        """Add the columns of newly seen writers before their first row."""
        schemas = [] if self._avro is None else self._avro.schemas()
        for avro in schemas[self._columns_of :]:
            if added := add_columns(self.store.handle, self.table, avro):
                log.info("%s: added columns %s of a newer schema version", self.store.name, ", ".join(added))
        self._columns_of = len(schemas)
