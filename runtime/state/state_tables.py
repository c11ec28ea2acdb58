"""The keyed tables of a worker. Compacted topics are their source of truth; STATE_FOLDER saves reading them again."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, Message

from broker_events.runtime.consume.offset_moves import topic_ids
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.topic_reader import end_offsets, first_offsets, read_to_end
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.errors import PipelineError, RestartRequired
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings
from broker_events.runtime.state.partition_state import PartitionState, RecordCodec
from broker_events.runtime.state.partition_store import PartitionStore, StoreBatch, StoreIdentity
from broker_events.runtime.state.state_folder import StateFolder

log = logging.getLogger(__name__)

# Every store is written in this time, one after another so that no commit waits for all. Many changes of a key are then
# one write.
_WRITE_S: Final = 10.0
# A restore writes the stores after this number of values.
_WRITE_KEYS: Final = 50_000
# RocksDB's buffers go to disk this often, so that a killed worker reads little again.
_SYNC_S: Final = 30.0
# Half of the time for which the topics keep tombstones: an older store may lack a deletion.
_TRUSTED_S: Final = 3.5 * 86_400
# Values are held in memory in two generations: those used since the last change of generation, and those before.
_GENERATIONS: Final = 2
_LOG_S: Final = 5.0
_REQUEST_TIMEOUT_S: Final = 15.0


class TableKind(NamedTuple):
    """How the records of a table are encoded, and the further keys that find a record."""

    codec: RecordCodec[Any]
    index_keys: Callable[[Any], Iterable[bytes]] | None = None


class _StoredTable:
    """One table of a partition's store. `reads`: how often it was asked."""

    def __init__(self, store: PartitionStore, table: int) -> None:
        self.store = store
        self._table = table
        self.reads = 0

    def get(self, key: bytes) -> bytes | None:
        self.reads += 1
        return self.store.get(self._table, key)

    def holder(self, index_key: bytes) -> bytes | None:
        self.reads += 1
        return self.store.holder(self._table, index_key)


class StateTables:
    """The states of the partitions that this worker is assigned: `states[table][partition]`.

    They are ahead of the topics until `flush` writes every changed key's last value in the open transaction and that
    transaction commits with the consumed offsets. Many changes of a key in one transaction give one record. `committed`
    then writes them to the store, which is therefore never ahead of the topics.
    """

    def __init__(
        self,
        settings: Settings,
        app: str,
        kinds: Mapping[str, TableKind],
        metrics: Metrics,
        stop: threading.Event,
    ) -> None:
        """`kinds` by table without the prefix. `stop`: ends a restore early once set.

        Raises OperatorActionRequired if STATE_FOLDER can't be used.
        """
        self._settings = settings
        self._kinds = dict(kinds)
        self._metrics = metrics
        self._stop = stop
        self._names = {settings.topic(name): name for name in kinds}
        self.states: dict[str, dict[int, PartitionState[Any]]] = {name: {} for name in kinds}
        self._folder = None if settings.state_folder is None else StateFolder(settings.state_folder, settings, app)
        self._stores: dict[int, PartitionStore] = {}
        self._tables: list[_StoredTable] = []  # whose reads are not counted yet
        self._next: dict[TopicPartition, int] = {}  # of the state topics: everything before is in memory
        self._sent: dict[TopicPartition, int] = {}  # of the open transaction
        self._in_doubt = False  # memory has changes that may not be committed
        self._restoring = threading.Lock()
        self._written_at = self._synced_at = time.monotonic()
        self._written_in: dict[int, float] = {}  # by partition, monotonic
        self.progress = "restoring"
        """What a running restore has done, for /ready."""

    def restore(self, partitions: set[int], kept: set[int]) -> None:
        """Hold exactly these partitions. Reads all except `kept`, from their store and from there on from the topics.

        Raises RestartRequired if kept partitions have uncommitted changes, and Stopped if `stop` ended it early.
        """
        for name, states in self.states.items():
            if not all(of.is_settled for number, of in states.items() if number in kept):
                raise RestartRequired(f"{self._settings.topic(name)} has changes that no transaction contains")
        if self._is_committed():
            self._write()
        self._in_doubt = True  # until everything is read: a worker that fails meanwhile must not write it
        self._drop(partitions, kept)
        numbers = sorted(partitions - kept)
        began = time.monotonic()
        with self._restoring:
            starts = self._open(numbers) if numbers else {}
            restored = self._read(starts)
        self._in_doubt = False
        self._sent.clear()
        took = time.monotonic() - began
        self._metrics.restore_seconds.observe(took)
        for topic, count in restored.items():
            self._metrics.restored.labels(self._names[topic]).inc(count)
            log.info("restored %s: %d partitions, %d records in %.2f s", topic, len(numbers), count, took)

    def flush(self, transaction: Transaction) -> None:
        """Produce every changed value to its partition."""
        for topic, name in self._names.items():
            for partition, states in self.states[name].items():
                changed = states.settle()
                if not changed:
                    continue
                self._in_doubt = True
                *others, last = changed.items()
                for key, headers in others:
                    transaction.produce(topic, states.values[key], key, partition, headers)
                # Its offset is the partition's checkpoint.
                key, headers = last
                report = None if self._folder is None else self._note
                transaction.produce(topic, states.values[key], key, partition, headers, delivered=report)

    def committed(self, transaction: Transaction) -> None:
        """Note that what was flushed is committed, and write the stores if it is time. Raises StateFolderFull."""
        self._in_doubt = False
        if self._folder is None:
            return
        transaction.poll()  # serves the delivery reports
        self._next |= self._sent
        self._sent.clear()
        if self._is_full(self._folder):
            self._write()
        elif self._stores and time.monotonic() - self._written_at >= _WRITE_S / len(self._stores):
            self._written_at = time.monotonic()
            number = min(self._stores, key=lambda number: self._written_in.get(number, 0.0))
            self._write_partition(number, self._stores[number])
            self._sync(self._folder)

    def close(self) -> None:
        """Write what is committed and release the folder. The next start then reads nothing again.

        Leaves the stores to the end of the process while a restore in another thread still uses them.
        """
        if self._folder is None or not self._restoring.acquire(blocking=False):
            return
        try:
            if self._is_committed():
                self._write()
        except PipelineError as error:
            log.warning("%s", error)
        for store in self._stores.values():
            store.close()
        self._stores.clear()
        self._folder.close()

    def _is_committed(self) -> bool:
        """Whether memory has nothing that may not be committed."""
        return not self._in_doubt and all(of.is_settled for states in self.states.values() for of in states.values())

    def _note(self, error: KafkaError | None, record: Message) -> None:
        if error is None:
            tp = TopicPartition(str(record.topic()), int(record.partition() or 0))
            self._sent[tp] = int(record.offset() or 0) + 1

    def _drop(self, partitions: set[int], kept: set[int]) -> None:
        for states in self.states.values():
            for number in states.keys() - kept:
                del states[number]
        for number in self._stores.keys() - partitions:
            self._stores.pop(number).close()
        self._tables = [table for table in self._tables if table.store in self._stores.values()]
        self._next = {tp: offset for tp, offset in self._next.items() if tp.partition in kept}

    def _open(self, numbers: list[int]) -> dict[TopicPartition, int]:
        """Make the states of these partitions, from the store where it fits; return where the topics are read from."""
        if self._folder is not None:
            self._open_stores(self._folder, numbers)
        for table, (name, kind) in enumerate(self._kinds.items()):
            for number in numbers:
                stored = None
                if (store := self._stores.get(number)) is not None:
                    stored = _StoredTable(store, table)
                    self._tables.append(stored)
                self.states[name][number] = PartitionState(kind.codec, kind.index_keys, stored)
        starts = {}
        for number in numbers:
            store = self._stores.get(number)
            checkpoint = None if store is None else store.checkpoint
            for topic in self._names:
                starts[TopicPartition(topic, number)] = 0 if checkpoint is None else checkpoint.offsets[topic]
        if self._folder is not None:
            self._load(self._folder, numbers)
        return starts

    def _open_stores(self, folder: StateFolder, numbers: list[int]) -> None:
        admin = admin_client(self._settings)
        cluster_id = str(admin.list_topics(timeout=_REQUEST_TIMEOUT_S).cluster_id)
        ids = topic_ids(admin, [*self._names])
        identity = StoreIdentity(cluster_id, self._settings.topic_prefix, self._settings.partitions, ids)
        for number in numbers:
            if number not in self._stores:
                self._stores[number] = folder.open(number, identity)
        partitions = [TopicPartition(topic, number) for topic in self._names for number in numbers]
        firsts = first_offsets(self._settings, partitions, self._stop)
        ends = end_offsets(self._settings, partitions, self._stop)
        for number in numbers:
            store = self._stores[number]
            refusal = store.refusal or self._misfit(store, number, firsts, ends)
            if refusal is not None:
                if store.checkpoint is not None:
                    store.empty()
                log.info("%s is not used: %s. Reading partition %d from the topics", store.folder, refusal, number)
            store.refusal = None
        folder.remove_unused(self._stores.keys(), time.time() - _TRUSTED_S)

    def _misfit(
        self,
        store: PartitionStore,
        number: int,
        firsts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> str | None:
        if store.checkpoint is None:
            return None
        offsets, at_s = store.checkpoint
        if at_s == 0:
            return "the restore that made it was interrupted"
        if not -_TRUSTED_S < time.time() - at_s < _TRUSTED_S:
            written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))
            return f"it was written at {written}, and the topics may have lost deletions since then"
        for topic in self._names:
            tp = TopicPartition(topic, number)
            if not firsts[tp] <= offsets.get(topic, -1) <= ends[tp]:
                held = f"{topic}[{number}] holds {firsts[tp]} to {ends[tp]}"
                return f"its checkpoint is offset {offsets.get(topic)}, {held}"
        return None

    def _load(self, folder: StateFolder, numbers: list[int]) -> None:
        """Load everything into memory if that is little; otherwise values are read when they are needed."""
        sizes = [self._stores[number].estimated_size() for number in numbers]
        # Each key has an entry in the store and one in a dict.
        expected = sum(size + 2 * keys * 100 for keys, size in sizes)
        is_small = expected + self._held() < folder.held_bytes / _GENERATIONS
        for table, name in enumerate(self._kinds):
            for number in numbers:
                states, store = self.states[name][number], self._stores[number]
                if is_small:
                    states.load(store.items(table), store.index(table))
                elif store.checkpoint is not None:
                    states.forget()

    def _read(self, starts: Mapping[TopicPartition, int]) -> dict[str, int]:
        """Read the state topics from these offsets to their ends; return the number of records by topic."""
        ends = end_offsets(self._settings, starts, self._stop)
        counts = dict.fromkeys(self._names, 0)
        total = sum(ends.values()) - sum(starts.values())
        began = logged_at = time.monotonic()
        reached = dict(starts)
        self._next |= starts
        self._metrics.restore_left.set(total)
        for records in read_to_end(self._settings, starts, ends, stop=self._stop):
            for record in records:
                self._enter(record)
                counts[record.topic()] += 1
            reached |= {TopicPartition(record.topic(), record.partition()): record.offset() + 1 for record in records}
            left = total - sum(reached.values()) + sum(starts.values())
            self._metrics.restore_left.set(left)
            self.progress = f"restoring: {left:,} of {total:,} offsets left"
            if self._folder is not None and self._is_much():
                self._next |= reached
                self._index(starts)
                self._write(is_partial=True)
            if time.monotonic() - logged_at >= _LOG_S:
                logged_at = time.monotonic()
                speed = sum(counts.values()) / (logged_at - began)
                log.info("%s, %s records/s", self.progress, f"{speed:,.0f}")
        self._next |= ends
        self._index(starts)
        if self._folder is not None:
            self._index_again(self._folder, starts)
            self._write()
        self._metrics.restore_left.set(0)
        return counts

    def _enter(self, record: KafkaRecord) -> None:
        key = record.key()
        if key is None:
            log.warning("%s[%d]@%d: ignored, has no key", record.topic(), record.partition(), record.offset())
        else:
            self.states[self._names[record.topic()]][record.partition()].restore(key, record.value())

    def _is_much(self) -> bool:
        return sum(len(of.unstored) for states in self.states.values() for of in states.values()) >= _WRITE_KEYS

    def _index(self, starts: Mapping[TopicPartition, int]) -> None:
        """Index the records that the last reads have entered."""
        for topic, number in starts:
            states = self.states[self._names[topic]][number]
            if self._folder is None:
                states.reindex()
            else:
                states.index(states.unstored)

    def _index_again(self, folder: StateFolder, starts: Mapping[TopicPartition, int]) -> None:
        """Index all records where one with index keys was deleted: these keys may lead to another record now."""
        for table, states_of in enumerate(self.states.values()):
            for number in {tp.partition for tp in starts}:
                states = states_of[number]
                if not states.lacks_holders:
                    continue
                stored = self._stores[number].items(table)
                keys = iter([*states.values]) if states.is_whole else (key for key, _ in stored)
                while some := [*itertools.islice(keys, _WRITE_KEYS)]:
                    states.index(some)
                    if self._is_full(folder):
                        self._write(is_partial=True)
                states.lacks_holders = False

    def _held(self) -> int:
        return sum(of.size for states in self.states.values() for of in states.values())

    def _write(self, *, is_partial: bool = False) -> None:
        """Write to the stores what they lack, all of which must be committed. `is_partial`: a restore goes on."""
        if self._folder is None:
            return
        for number, store in self._stores.items():
            self._write_partition(number, store, is_partial=is_partial)
        if self._is_full(self._folder):
            for states_of in self.states.values():
                for states in states_of.values():
                    states.forget()
        self._sync(self._folder)

    def _is_full(self, folder: StateFolder) -> bool:
        return self._held() > folder.held_bytes / _GENERATIONS

    def _sync(self, folder: StateFolder) -> None:
        if time.monotonic() - self._synced_at >= _SYNC_S:
            self._synced_at = time.monotonic()
            for store in self._stores.values():
                store.sync()
        self._measure(folder)

    def _measure(self, folder: StateFolder) -> None:
        self._metrics.store_bytes.set(sum(store.disk_bytes() for store in self._stores.values()))
        free, size = folder.disk_bytes()
        self._metrics.store_free_bytes.set(free)
        self._metrics.store_disk_bytes.set(size)
        self._metrics.store_written.set(time.time())
        for table in self._tables:
            self._metrics.store_reads.inc(table.reads)
            table.reads = 0

    def _write_partition(self, number: int, store: PartitionStore, *, is_partial: bool = False) -> None:
        self._written_in[number] = time.monotonic()
        batch, changes = StoreBatch(), 0
        for table, name in enumerate(self._kinds):
            if (states := self.states[name].get(number)) is None:
                continue
            values, index = states.take_unstored()
            batch.put_all(table, values.items())
            batch.lead_all(table, index.items())
            changes += len(values) + len(index)
        offsets = {topic: self._next.get(TopicPartition(topic, number), 0) for topic in self._names}
        if changes or store.checkpoint is None or store.checkpoint.offsets != offsets:
            store.write(batch, offsets, is_partial=is_partial)
