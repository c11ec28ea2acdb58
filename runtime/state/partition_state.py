"""The states of one table partition, by key. Pure: what is on disk comes by `StoredTable`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, Protocol, TypeVar

from broker_events.schemas.invalid_event import InvalidEvent, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from broker_events.runtime.kafka.clients import Headers

# Encoding a larger record takes most of the time, so it is encoded once per transaction, not per event.
LARGE_BYTES: Final = 16_384

# Bytes of an entry of a dict with its key and value objects, besides their contents.
_ENTRY_BYTES: Final = 180
# Stands for the value of a deleted key, compared by identity.
_DELETED: Final = b"\0 deleted"

R = TypeVar("R")


class RecordCodec(Protocol[R]):
    """Encodes one kind of record (see schemas.codec)."""

    def encode(self, record: R) -> bytes: ...
    def decode(self, value: bytes) -> R: ...


class StoredTable(Protocol):
    """What a table's partition has on disk."""

    def get(self, key: bytes) -> bytes | None: ...
    def holder(self, index_key: bytes) -> bytes | None: ...


class Unstored(NamedTuple):
    """What the disk lacks: values and index entries by key; None: the key is deleted."""

    values: Mapping[bytes, bytes | None]
    leads: Mapping[bytes, bytes]


class _Unwritten(NamedTuple, Generic[R]):
    """A record that is not encoded yet, and its maximum size in bytes."""

    record: R
    at_most: int


class PartitionState(Generic[R]):
    """Encoded records in `values`. A large record that was put is encoded by `settle`.

    Never changes records that `get` returned. Callers may fill `values` before the first `put`, then call `reindex`.

    With a `stored` table, `values` holds all records or, after `forget`, the recent ones; the others are read from disk
    and kept. The index is the same. `take_unstored` returns what the disk lacks.
    """

    def __init__(
        self,
        codec: RecordCodec[R],
        index_keys: Callable[[R], Iterable[bytes]] | None = None,
        stored: StoredTable | None = None,
    ) -> None:
        """`index_keys`: returns further keys that find a record."""
        self.values: dict[bytes, bytes] = {}
        self._codec = codec
        self._unwritten: dict[bytes, _Unwritten[R]] = {}
        self._changed: dict[bytes, Headers] = {}
        self._index_keys = index_keys
        self._index: dict[bytes, bytes] = {}
        self._stored = stored
        self.is_whole = True
        """Whether memory holds every record."""
        self.size = 0
        """Approximate bytes in memory of what was used since the last `forget`."""
        self._older: dict[bytes, bytes] = {}
        self._older_index: dict[bytes, bytes] = {}
        self.lacks_holders = False
        """Whether `restore` has deleted a record with index keys: index all records again."""
        self._unstored: set[bytes] = set()
        self._unstored_index: dict[bytes, bytes] = {}

    def reindex(self) -> None:
        """Rebuild the index of `values`. If two records share an index key, it finds the one with the smaller key."""
        self._index.clear()
        self.index(self.values)

    def index(self, keys: Iterable[bytes]) -> None:
        """Point the index keys of these records to them. The rule for a shared index key is that of `reindex`."""
        if self._index_keys is None:
            return
        for key in keys:
            for index_key in self._index_keys_of(key):
                holder = self.holder(index_key)
                if holder is None or key < holder or index_key not in self._index_keys_of(holder):
                    self.lead((index_key,), key)

    def _index_keys_of(self, key: bytes) -> Collection[bytes]:
        value = self._value(key)
        if value is None or self._index_keys is None:
            return ()
        try:
            return tuple(self._index_keys(self._codec.decode(value)))
        except ValueError:
            return ()  # `get` raises for this record

    def holder(self, index_key: bytes) -> bytes | None:
        """Return the key of the record that this index key finds."""
        key = self._index.get(index_key)
        if key is None and not self.is_whole:
            key = self._older_index.get(index_key)
            if key is None and self._stored is not None:
                key = self._stored.holder(index_key)
            if key is not None:
                self._index[index_key] = key
                self.size += len(index_key) + _ENTRY_BYTES
        return key

    def lead(self, index_keys: Iterable[bytes], key: bytes) -> None:
        """Point the index keys to the record of this key."""
        for index_key in index_keys:
            self._index[index_key] = key
            self.size += len(index_key) + _ENTRY_BYTES
            if self._stored is not None:
                self._unstored_index[index_key] = key

    def __contains__(self, key: bytes) -> bool:
        return self._value(key) is not None

    def get(self, key: bytes) -> R | None:
        unwritten = self._unwritten.get(key)
        if unwritten is not None:
            return unwritten.record
        value = self.values.get(key)
        if value is None and not self.is_whole:
            value = self._older_value(key)
        return None if value is None or value is _DELETED else self._codec.decode(value)

    def _value(self, key: bytes) -> bytes | None:
        value = self.values.get(key)
        if value is None and not self.is_whole:
            value = self._older_value(key)
        return None if value is _DELETED else value

    def _older_value(self, key: bytes) -> bytes | None:
        value = self._older.get(key)
        if value is None and self._stored is not None:
            value = self._stored.get(key)
        if value is not None:
            self.values[key] = value
            self.size += len(key) + len(value) + _ENTRY_BYTES
        return value

    def put(self, key: bytes, record: R, headers: Headers, *, growth: int, limit: int) -> None:
        """Replace a record; `headers` go to its next record on the topic.

        `growth`: maximum bytes that it adds to the previous record. `limit`: maximum bytes of key and value. Raises
        InvalidEvent above the limit, and the codec's error for an invalid record. Changes nothing then.
        """
        unwritten = self._unwritten.get(key)
        if unwritten is None:
            held = self.values.get(key)
            if held is None and not self.is_whole:
                held = self._older_value(key)
            before = 0 if held is None or held is _DELETED else len(held)
        else:
            before = unwritten.at_most
        if before >= LARGE_BYTES and len(key) + before + growth <= limit:
            self._unwritten[key] = _Unwritten(record, before + growth)
        else:
            value = self.encode(key, record, limit)
            self.values[key] = value
            self.size += len(value) - before if before else len(key) + len(value) + _ENTRY_BYTES
            if len(value) >= LARGE_BYTES:
                self._unwritten[key] = _Unwritten(record, len(value))
            else:
                self._unwritten.pop(key, None)
        self._changed[key] = headers

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Enter a record of the topic; None deletes the key. Call `index` for the keys entered later."""
        if self._stored is None:
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value
            return
        if value is None and self._index_keys_of(key):
            self.lacks_holders = True
        self.size += len(key) + len(value or b"") + _ENTRY_BYTES
        self.values[key] = _DELETED if value is None else value
        self._unstored.add(key)

    def load(self, values: Iterable[tuple[bytes, bytes]], index: Iterable[tuple[bytes, bytes]]) -> None:
        """Enter values and index entries that the disk has."""
        for key, value in values:
            self.values[key] = value
            self.size += len(key) + len(value) + _ENTRY_BYTES
        for index_key, key in index:
            self._index[index_key] = key
            self.size += len(index_key) + _ENTRY_BYTES

    @property
    def unstored(self) -> Collection[bytes]:
        """Keys of the values that the disk lacks."""
        return self._unstored

    def take_unstored(self) -> Unstored:
        """Return what the disk lacks, to be written now."""
        held = self.values
        values: dict[bytes, bytes | None] = {key: held[key] for key in self._unstored}
        for key in [key for key, value in values.items() if value is _DELETED]:
            values[key] = None
            del held[key]
        index, self._unstored_index = self._unstored_index, {}
        self._unstored.clear()
        return Unstored(values, index)

    def forget(self) -> None:
        """Keep what was used since the last call; the other records stay on disk, where all of them must be."""
        self._older, self.values = self.values, {}
        self._older_index, self._index = self._index, {}
        self.is_whole = False
        self.size = 0

    def encode(self, key: bytes, record: R, limit: int) -> bytes:
        """Return the record's encoded value. Raises InvalidEvent if key and value exceed `limit` bytes."""
        value = self._codec.encode(record)
        if len(key) + len(value) > limit:
            raise InvalidEvent(Reason.TOO_LARGE, "", f"{len(key) + len(value)} bytes as a state, the limit is {limit}")
        return value

    def settle(self) -> dict[bytes, Headers]:
        """Encode pending records. Return the keys changed since the last call, with the headers of the last change."""
        for key, unwritten in self._unwritten.items():
            self.values[key] = self._codec.encode(unwritten.record)
        self._unwritten.clear()
        changed, self._changed = self._changed, {}
        if self._stored is not None:
            self._unstored.update(changed)
        return changed

    @property
    def is_settled(self) -> bool:
        """Whether nothing has changed since `settle`."""
        return not self._changed
