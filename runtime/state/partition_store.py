"""The states of one partition on disk: a RocksDB folder that is behind the topics by some transactions, never ahead."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from broker_events.runtime.process.errors import OperatorActionRequired, RestartRequired, StateFolderFull

# Increase it where the keys, the values or the index of a store change their meaning: older stores are then rebuilt.
FORMAT: Final = 1
_META: Final = b"\0"
_DAMAGED: Final = "damaged"
_MEGABYTE: Final = 1_048_576
_BUFFER_SHARE: Final = 4  # memtables take this part of the block cache
_MOST_BUFFER: Final = 16 * _MEGABYTE
_FILTER_BITS: Final = 10
_OPEN_FILES: Final = 128
# RocksDB reports errors as text. EFBIG comes from a file size limit, EDQUOT from a quota.
_FULL: Final = ("No space left", "Disk quota exceeded", "File too large")


class StoreIdentity(NamedTuple):
    """What a store belongs to; it is used only where all of it is the same."""

    cluster_id: str
    prefix: str
    partitions: int
    topic_ids: Mapping[str, str]
    """By Kafka name of each state topic, in the order of the tables (KIP-516)."""


class Checkpoint(NamedTuple):
    """The next offset of each state topic (Kafka name), and when the store had all before it, in Unix seconds.

    The time is 0 until the first restore has read to the end: a later one would miss deletions that the topics drop.
    """

    offsets: dict[str, int]
    at_s: float


class StoreDamaged(RestartRequired):
    """RocksDB can't read the store. It is marked, and the next start rebuilds it from the topics."""


class StoreMemory:
    """Block cache and memtables that all stores of a worker share: `size` bytes together."""

    def __init__(self, size: int) -> None:
        self._cache = Cache(max(size, 4 * _MEGABYTE))
        self._buffers = WriteBufferManager.new_write_buffer_manager_with_cache(
            max(size // _BUFFER_SHARE, _MEGABYTE), allow_stall=False, cache=self._cache
        )

    def options(self) -> Options:
        blocks = BlockBasedOptions()
        blocks.set_block_cache(self._cache)
        blocks.set_bloom_filter(_FILTER_BITS, block_based=False)
        blocks.set_cache_index_and_filter_blocks(True)
        # An index or filter in one piece would be larger than a shard of the cache, and read again for each key.
        blocks.set_index_type(BlockBasedIndexType.two_level_index_search())
        blocks.set_partition_filters(True)
        blocks.set_pin_top_level_index_and_filter(True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)  # noqa: FBT003 (positional-only)
        options.set_block_based_table_factory(blocks)
        options.set_write_buffer_manager(self._buffers)
        options.set_write_buffer_size(_MOST_BUFFER)
        options.set_compression_type(DBCompressionType.none())  # decompressing a block costs a fifth of a read
        options.set_level_compaction_dynamic_level_bytes(True)
        options.set_max_open_files(_OPEN_FILES)
        options.set_max_background_jobs(2)
        options.set_keep_log_file_num(2)
        options.set_max_log_file_size(_MEGABYTE)
        return options


class PartitionStore:
    """Values and index of the tables of one partition. Not thread-safe.

    There is no write-ahead log: what a crash loses is read from the topics again. RocksDB keeps the order of writes, so
    the checkpoint that survives is that of the values that survive.
    """

    def __init__(self, folder: Path, identity: StoreIdentity, memory: StoreMemory) -> None:
        """Open or create the folder. A store that can't be read or belongs to another pipeline is emptied.

        `refusal` is then the reason. Raises StateFolderFull.
        """
        self.folder = folder
        self._identity = identity
        self._memory = memory
        self._writing = WriteOptions()
        # The binding's stub has a method here; it is an attribute.
        self._writing.disable_wal = True  # type: ignore[method-assign,assignment]
        self.checkpoint: Checkpoint | None = None
        self._db: Rdict
        self.refusal: str | None = self._open()
        if self.refusal is not None:
            self.empty()

    def empty(self) -> None:
        """Delete everything. Raises OperatorActionRequired if that fails: what remains would become state."""
        with suppress(AttributeError, Exception):
            self._db.close()
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise OperatorActionRequired(
                f"{self.folder}: {error.strerror}. Delete this folder, then start again: its store is not valid"
            ) from None
        self.checkpoint = None
        self._db = self._new()

    def get(self, table: int, key: bytes) -> bytes | None:
        """Return the value of a table (by number) at a key. Raises StoreDamaged."""
        return self._get(_prefix(table) + key)

    def holder(self, table: int, index_key: bytes) -> bytes | None:
        """Return the key that an index key of a table leads to. Raises StoreDamaged."""
        return self._get(_index_prefix(table) + index_key)

    def items(self, table: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys and values of a table in the order of keys. Raises StoreDamaged."""
        return self._items(_prefix(table))

    def index(self, table: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield the index of a table. Raises StoreDamaged."""
        return self._items(_index_prefix(table))

    def estimated_size(self) -> tuple[int, int]:
        """Return the approximate number of keys and their bytes as compressed on disk."""
        names = ("rocksdb.estimate-num-keys", "rocksdb.estimate-live-data-size")
        keys, size = (self._db.property_int_value(name) or 0 for name in names)
        return keys, size

    def disk_bytes(self) -> int:
        return sum(self._db.property_int_value(name) or 0 for name in ("rocksdb.total-sst-files-size",))

    def write(self, batch: StoreBatch, offsets: Mapping[str, int], *, is_partial: bool = False) -> None:
        """Write changes and the next offsets of the state topics in one batch.

        `is_partial`: the topics have more, so the store is as old as before. Raises StateFolderFull and StoreDamaged.
        """
        before_s = 0.0 if self.checkpoint is None else self.checkpoint.at_s
        checkpoint = Checkpoint(dict(offsets), before_s if is_partial else time.time())
        document = {"format": FORMAT, **self._identity._asdict(), **checkpoint._asdict()}
        batch.writes.put(_META, json.dumps(document).encode())
        try:
            self._db.write(batch.writes, self._writing)
        except Exception as error:  # noqa: BLE001 (the binding raises nothing more specific)
            raise self._problem(error) from None
        self.checkpoint = checkpoint

    def sync(self) -> None:
        """Begin to write RocksDB's buffers to disk. Raises StateFolderFull and StoreDamaged."""
        try:
            self._db.flush(wait=False)
        except Exception as error:  # noqa: BLE001 (the binding raises nothing more specific)
            raise self._problem(error) from None

    def close(self) -> None:
        """Write what is in memory to disk and release the folder. A failure only makes the next start read more."""
        with suppress(Exception):
            self._db.flush()
        with suppress(Exception):
            self._db.close()

    def _open(self) -> str | None:
        if (self.folder / _DAMAGED).exists():
            return "it was found damaged"
        if not self.folder.exists():
            self._db = self._new()
            return "there is none"
        try:
            self._db = Rdict(str(self.folder), self._memory.options())
            found = self._db.get(_META)
        except Exception as error:  # noqa: BLE001 (the binding raises nothing more specific)
            self._raise_if_full(error)
            return f"it can't be read ({_first_line(error)})"
        try:
            document: dict[str, Any] = json.loads(found or b"{}")
        except ValueError:
            return "it can't be read (its checkpoint is no JSON)"
        return self._misfit(document)

    def _misfit(self, document: Mapping[str, Any]) -> str | None:
        if not document:
            return "it is empty"
        if document.get("format") != FORMAT:
            return f"it has the format {document.get('format')}, this version writes {FORMAT}"
        for name, wanted in self._identity._asdict().items():
            if document.get(name) != wanted:
                return f"its {name} is {document.get(name)}, not {wanted}"
        self.checkpoint = Checkpoint(document["offsets"], document["at_s"])
        return None

    def _new(self) -> Rdict:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Rdict(str(self.folder), self._memory.options())
        except Exception as error:
            self._raise_if_full(error)
            raise

    def _get(self, key: bytes) -> bytes | None:
        try:
            found: bytes | None = self._db.get(key)
        except Exception as error:  # noqa: BLE001 (the binding raises nothing more specific)
            raise self._problem(error) from None
        return found

    def _items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        try:
            cursor = self._db.iter()
            cursor.seek(prefix)
            while cursor.valid():
                key: bytes = cursor.key()
                if key[:1] != prefix:
                    return
                yield key[1:], cursor.value()
                cursor.next()
            cursor.status()  # a damaged block ends an iteration as if it were the last one
        except Exception as error:  # noqa: BLE001 (the binding raises nothing more specific)
            raise self._problem(error) from None

    def _problem(self, error: Exception) -> Exception:
        self._raise_if_full(error)
        with suppress(OSError):
            (self.folder / _DAMAGED).touch()
        return StoreDamaged(f"{self.folder}: {_first_line(error)}. The next start rebuilds this store from the topics")

    def _raise_if_full(self, error: Exception) -> None:
        if any(text in str(error) for text in _FULL):
            raise StateFolderFull(
                f"{self.folder}: {_first_line(error)}. Nothing is lost: the topics hold what the store lacks. Free "
                "some space or use a larger volume, then start again"
            ) from None


class StoreBatch:
    """Changes of one partition that are written together."""

    def __init__(self) -> None:
        self.writes = WriteBatch(raw_mode=True)

    def put_all(self, table: int, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Add values; None deletes the key."""
        self._add(_prefix(table), changes)

    def lead_all(self, table: int, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Add index keys and the keys that they lead to."""
        self._add(_index_prefix(table), changes)

    def _add(self, prefix: bytes, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        put, delete = self.writes.put, self.writes.delete
        for key, value in changes:
            if value is None:
                delete(prefix + key)
            else:
                put(prefix + key, value)


def _prefix(table: int) -> bytes:
    return bytes([2 * table + 1])


def _index_prefix(table: int) -> bytes:
    return bytes([2 * table + 2])


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
