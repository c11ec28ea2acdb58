"""`lake verify`: every table against its topic, then raw against its outcomes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from broker_events.audit.lake_outcomes import Outcomes, judge_partition
from broker_events.audit.lake_table import TableAudit, TableVerdict
from broker_events.audit.ledger import ROUTER
from broker_events.audit.second_engine import DuckDb
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.kafka.topic_reader import committed_offsets, end_offsets
from broker_events.runtime.schema_ids import schema_lookup
from broker_events.schemas.catalog import RAW, load_catalog
from broker_events.sinks.lake.iceberg.reading import columns
from broker_events.sinks.lake.iceberg.store import Lake
from broker_events.sinks.lake.tables import QUARANTINE_TABLE, Kind, LakeTable, chosen_tables
from broker_events.sinks.lake.topic_facts import TopicFacts, learn

if TYPE_CHECKING:
    from broker_events.runtime.settings import Settings

log = logging.getLogger(__name__)

_TYPED: Final = ("_partition", "_raw_offset", "event_id")


class LakeAudit:
    """Verifies the tables of LAKE_TABLES. `with_topics`: also compare with what the topics still hold."""

    def __init__(self, settings: Settings, *, with_topics: bool) -> None:
        self._settings = settings
        self._tables = chosen_tables(load_catalog(), settings.lake_tables)
        self._lake = Lake(settings)
        topics = [settings.topic(table.topic) for table in self._tables]
        self._facts: TopicFacts | None = learn(settings, topics) if with_topics else None

    def tables(self) -> Iterator[TableVerdict]:
        """Verify one table after another. Raises RestartRequired if Kafka or the registry don't answer."""
        lookup = schema_lookup(self._settings)
        for table in self._tables:
            store = self._lake.table(table.name)
            yield TableAudit(self._settings, table, store, self._facts, lookup).verify()

    def count_with(self, engine: DuckDb, verdict: TableVerdict) -> None:
        """Count the table's rows with another engine and add what differs to the verdict."""
        rows, different = engine.counts(self._lake.table(verdict.name).handle.metadata_location)
        if (rows, different) != (verdict.rows, verdict.rows):
            verdict.add(f"duckdb counts {rows} rows and {different} offsets, expected {verdict.rows}")

    def outcomes(self) -> Outcomes | None:
        """Judge every raw row by the lake's rows. None if LAKE_TABLES leaves out raw, an event table or quarantine."""
        everything = chosen_tables(load_catalog(), ())
        needed = [t for t in everything if t.kind in {Kind.RAW, Kind.EVENT} or t.name == QUARANTINE_TABLE]
        if not {table.name for table in needed} <= {table.name for table in self._tables}:
            return None
        events = [table for table in needed if table.kind is Kind.EVENT]
        raw = self._lake.table(RAW)
        ledger = raw.ledger()
        if ledger is None:
            return None
        typed = pa.concat_tables(
            [columns(self._lake.table(t.name).handle, _TYPED).select(_TYPED).cast(_TYPED_SCHEMA) for t in events]
        )
        rejected = self._rejected(ledger.topic)
        places = columns(raw.handle, ("_partition", "_offset"))
        complete = self._complete_to([*events, *(t for t in needed if t.name == QUARANTINE_TABLE)])
        found = Outcomes()
        for partition in sorted(ledger.offsets):

            def values(offsets: list[int], partition: int = partition) -> Mapping[int, bytes | None]:
                return self._raw_values(partition, offsets)

            judge_partition(
                found,
                partition,
                _of(places, "_partition", partition).column("_offset").combine_chunks(),
                _of(typed, "_partition", partition),
                _of(rejected, "partition", partition).column("offset").combine_chunks(),
                complete[partition],
                values,
            )
        return found

    def _rejected(self, topic: str) -> pa.Table:
        """Return partition and offset of the raw records that were quarantined."""
        rows = columns(self._lake.table(QUARANTINE_TABLE).handle, ("topic", "partition", "offset"))
        return rows.filter(pc.equal(rows.column("topic"), topic))

    def _complete_to(self, tables: Sequence[LakeTable]) -> dict[int, int]:
        """Return by partition the raw offset below which all outputs are in these tables.

        That is the routers' offset if the tables have all that their topics have. Otherwise 0: without an output, a raw
        row is then pending.
        """
        settings = self._settings
        ledgers = {table.name: self._lake.table(table.name).ledger() for table in tables}
        partitions = range(settings.partitions)
        nothing = dict.fromkeys(partitions, 0)
        if self._facts is None or any(ledger is None for ledger in ledgers.values()):
            return nothing
        raw = [TopicPartition(settings.topic(RAW), partition) for partition in partitions]
        committed = committed_offsets(settings, settings.group(ROUTER), raw)
        topics = [settings.topic(table.topic) for table in tables]
        ends = end_offsets(settings, [TopicPartition(topic, p) for topic in topics for p in partitions])
        found = {}
        for tp in raw:
            behind = [
                ledger
                for ledger in ledgers.values()
                if ledger is not None
                and ledger.offsets[tp.partition] < ends[TopicPartition(ledger.topic, tp.partition)]
            ]
            found[tp.partition] = 0 if behind else committed[tp] or 0
        return found

    def _raw_values(self, partition: int, offsets: list[int]) -> dict[int, bytes | None]:
        """Return the raw values at these offsets."""
        if not offsets:
            return {}
        rows = (
            self._lake.table(RAW)
            .handle.scan(
                row_filter=f"_partition = {partition} and _offset in ({', '.join(map(str, offsets))})",
                selected_fields=("_offset", "value"),
            )
            .to_arrow()
        )
        return dict(zip(rows.column("_offset").to_pylist(), rows.column("value").to_pylist(), strict=True))


_TYPED_SCHEMA: Final = pa.schema([("_partition", pa.int32()), ("_raw_offset", pa.int64()), ("event_id", pa.string())])


def _of(rows: pa.Table, column: str, partition: int) -> pa.Table:
    return rows.filter(pc.equal(rows.column(column), partition))
