"""Verifies one lake table: no gap, no overlap, and its rows are the topic's records."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from broker_events.audit.discrepancies import LISTED
from broker_events.audit.progress import Progress
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition
from broker_events.runtime.kafka.topic_reader import read_to_end
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.sinks.lake.avro_columns import AvroColumns
from broker_events.sinks.lake.buffer import Buffer, ConversionFailed
from broker_events.sinks.lake.digest import digest
from broker_events.sinks.lake.iceberg.data_files import DoesNotFit, fitted
from broker_events.sinks.lake.iceberg.reading import altered_ranges, columns, live_files, window

if TYPE_CHECKING:
    from broker_events.runtime.settings import Settings
    from broker_events.sinks.lake.iceberg.store import LakeStore
    from broker_events.sinks.lake.ledger import Ledger
    from broker_events.sinks.lake.tables import LakeTable
    from broker_events.sinks.lake.topic_facts import TopicFacts

log = logging.getLogger(__name__)

# Offsets that are compared at once: a window of 1 kB rows takes some 400 MB on both sides.
_WINDOW: Final = 200_000


@dataclass
class TableVerdict:
    """`rows` in the table; `compared` with the topic; `by_digest` proved by the digests of their files alone.

    `unproved`: rows that the topic no longer has, in files that another program wrote. `problems`: the first ones.
    """

    name: str
    rows: int = 0
    compared: int = 0
    by_digest: int = 0
    unproved: int = 0
    problem_count: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.problem_count

    def add(self, problem: str) -> None:
        self.problem_count += 1
        if len(self.problems) < LISTED:
            self.problems.append(f"{self.name}: {problem}")


class TableAudit:
    """Verifies one table. `facts`: None judges by the lake alone."""

    def __init__(
        self,
        settings: Settings,
        table: LakeTable,
        store: LakeStore,
        facts: TopicFacts | None,
        schema_text: Callable[[int], str],
    ) -> None:
        self._settings = settings
        self._table = table
        self._store = store
        self._facts = facts
        self._topic = settings.topic(table.topic)
        self._avro = None if table.contract.schema is None else AvroColumns(table.contract.schema, schema_text)
        self.verdict = TableVerdict(table.name)

    def verify(self) -> TableVerdict:
        """Return the verdict. Raises RestartRequired if Kafka or the registry don't answer."""
        verdict = self.verdict
        try:
            ledger = self._store.ledger()
        except OperatorActionRequired as error:
            verdict.add(str(error))
            return verdict
        if ledger is None:
            return verdict
        firsts = self._firsts(ledger)
        progress = Progress(self._table.name)
        rows = self._verify_deleted(ledger, firsts, progress)
        for partition, number in self._verify_kept(ledger, firsts, progress).items():
            rows[partition] += number
        for partition in ledger.offsets:
            if rows[partition] != ledger.rows.get(partition, 0):
                verdict.add(
                    f"partition {partition}: {rows[partition]} rows, the ledger counted {ledger.rows.get(partition, 0)}"
                )
        verdict.rows = len(columns(self._store.handle, ("_partition",)))
        if outside := verdict.rows - rows.total():
            verdict.add(f"{outside} rows have a partition or an offset outside of what was committed")
        self._verify_files(progress)
        progress.done()
        return verdict

    def _firsts(self, ledger: Ledger) -> Mapping[int, int]:
        """Return the first offset that the topic still has per partition, empty if it is not this table's topic."""
        if self._facts is None:
            return {}
        found = (self._facts.cluster_id, self._facts.topic_ids[self._topic])
        if (ledger.cluster_id, ledger.topic_id) != found:
            log.warning("%s: filled from another topic or cluster; judged by the lake alone", self._table.name)
            return {}
        return self._facts.firsts[self._topic]

    def _verify_deleted(self, ledger: Ledger, firsts: Mapping[int, int], progress: Progress) -> Counter[int]:
        """Check the rows whose records the topic no longer has; return their numbers per partition."""
        rows: Counter[int] = Counter()
        for partition, end in ledger.offsets.items():
            low, deleted = ledger.starts.get(partition, 0), min(firsts.get(partition, end), end)
            while low < deleted:
                high = min(low + _WINDOW, deleted)
                rows[partition] += self._window(partition, low, high, progress).num_rows
                low = high
        return rows

    def _verify_kept(self, ledger: Ledger, firsts: Mapping[int, int], progress: Progress) -> Counter[int]:
        """Compare the rows whose records the topic still has; return their numbers per partition."""
        rows: Counter[int] = Counter()
        lows = {p: max(firsts.get(p, end), ledger.starts.get(p, 0)) for p, end in ledger.offsets.items()}
        lows = {p: low for p, low in lows.items() if low < ledger.offsets[p]}
        buffers = {p: Buffer(self._table, self._topic, self._avro) for p in lows}

        def compare(partition: int, high: int) -> None:
            ours = self._window(partition, lows[partition], high, progress)
            self._compare(partition, ours, buffers[partition])
            rows[partition] += ours.num_rows
            lows[partition] = high
            buffers[partition].clear()

        starts = {TopicPartition(self._topic, p): low for p, low in lows.items()}
        for records in read_to_end(self._settings, starts, {tp: ledger.offsets[tp.partition] for tp in starts}):
            by_partition: defaultdict[int, list[KafkaRecord]] = defaultdict(list)
            for record in records:
                by_partition[record.partition()].append(record)
            for partition, some in by_partition.items():
                buffers[partition].add(some)
            if sum(map(len, buffers.values())) >= _WINDOW:
                for partition, buffer in buffers.items():
                    if len(buffer):
                        compare(partition, buffer.next_offsets[partition])
        for partition, low in [*lows.items()]:
            if low < ledger.offsets[partition]:
                compare(partition, ledger.offsets[partition])
        return rows

    def _window(self, partition: int, low: int, high: int, progress: Progress) -> pa.Table:
        """Return the rows of an offset window, none twice."""
        ours = window(self._store.handle, partition, low, high)
        progress.add(ours.num_rows)
        counts = pc.value_counts(ours.column("_offset").combine_chunks())
        for offset in pc.filter(counts.field(0), pc.greater(counts.field(1), 1)).to_pylist():
            self.verdict.add(f"partition {partition}: offset {offset} is in more than one row")
        return ours

    def _compare(self, partition: int, ours: pa.Table, records: Buffer) -> None:
        """Compare rows with the topic's records of the same offsets, value by value."""
        try:
            theirs = fitted(records.rows(), self._store.handle.schema()) if len(records) else ours.slice(0, 0)
        except (ConversionFailed, DoesNotFit) as error:
            self.verdict.add(f"the topic's records can't be decoded: {error}")
            return
        theirs = theirs.sort_by("_offset")
        self.verdict.compared += ours.num_rows
        if ours.num_rows == theirs.num_rows and digest(ours) == digest(theirs):
            return
        mine, topics = (set(rows.column("_offset").to_pylist()) for rows in (ours, theirs))
        for offset in sorted(topics - mine):
            self.verdict.add(f"partition {partition}: offset {offset} of the topic has no row")
        for offset in sorted(mine - topics):
            self.verdict.add(f"partition {partition}: the row of offset {offset} has no record in the topic")
        if mine == topics and ours.num_rows == theirs.num_rows:
            for index, offset in enumerate(ours.column("_offset").to_pylist()):
                if digest(ours.slice(index, 1)) != digest(theirs.slice(index, 1)):
                    self.verdict.add(f"partition {partition}: the values of offset {offset} differ from the record's")

    def _verify_files(self, progress: Progress) -> None:
        """Check that no file counts twice, and the digests of files with rows that the topic no longer has."""
        files = live_files(self._store.handle)
        paths: set[str] = set()
        for file in files:
            if file.path in paths:
                self.verdict.add(f"the file {file.path} is in the table twice")
            paths.add(file.path)
            if file.deletes:
                self.verdict.add(f"another program deleted rows of {file.path}")
            if self.verdict.compared == self.verdict.rows:
                continue
            altered = altered_ranges(self._store.handle, file.path)
            if altered is None:
                self.verdict.unproved += file.rows
                continue
            self.verdict.by_digest += file.rows
            for each, _ in altered:
                self.verdict.add(
                    f"{file.path}: the rows of partition {each.partition}, offsets {each.first} to {each.last}, were "
                    "changed after they were written"
                )
            progress.add(file.rows)
