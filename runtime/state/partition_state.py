"""The states of one table partition, by key. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, Protocol, TypeVar

from broker_events.schemas.invalid_event import InvalidEvent, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from broker_events.runtime.kafka.clients import Headers

# Encoding a larger record takes most of the time, so it is encoded once per transaction, not per event.
LARGE_BYTES: Final = 16_384

R = TypeVar("R")


class RecordCodec(Protocol[R]):
    """Encodes one kind of record (see schemas.codec)."""

    def encode(self, record: R) -> bytes: ...
    def decode(self, value: bytes) -> R: ...


class _Unwritten(NamedTuple, Generic[R]):
    """A record that is not encoded yet, and its maximum size in bytes."""

    record: R
    at_most: int


class PartitionState(Generic[R]):
    """Encoded records in `values`. A large record that was put is encoded by `settle`.

    Never changes records that `get` returned. Callers may fill `values` before the first `put`, then call `reindex`.
    """

    def __init__(self, codec: RecordCodec[R], index_keys: Callable[[R], Iterable[bytes]] | None = None) -> None:
        """`index_keys`: returns further keys that find a record."""
        self.values: dict[bytes, bytes] = {}
        self._codec = codec
        self._unwritten: dict[bytes, _Unwritten[R]] = {}
        self._changed: dict[bytes, Headers] = {}
        self._index_keys = index_keys
        self._index: dict[bytes, bytes] = {}

    def reindex(self) -> None:
        """Rebuild the index of `values`. If two records share an index key, it finds the one with the smaller key."""
        if self._index_keys is None:
            return
        self._index.clear()
        for key, value in self.values.items():
            try:
                record = self._codec.decode(value)
            except ValueError:
                continue  # `get` raises for this record
            for index_key in self._index_keys(record):
                self._index[index_key] = min(key, self._index.get(index_key, key))

    def holder(self, index_key: bytes) -> bytes | None:
        """Return the key of the record that this index key finds."""
        return self._index.get(index_key)

    def lead(self, index_keys: Iterable[bytes], key: bytes) -> None:
        """Point the index keys to the record of this key."""
        for index_key in index_keys:
            self._index[index_key] = key

    def __contains__(self, key: bytes) -> bool:
        return key in self.values

    def get(self, key: bytes) -> R | None:
        unwritten = self._unwritten.get(key)
        if unwritten is not None:
            return unwritten.record
        value = self.values.get(key)
        return None if value is None else self._codec.decode(value)

    def put(self, key: bytes, record: R, headers: Headers, *, growth: int, limit: int) -> None:
        """Replace a record; `headers` go to its next record on the topic.

        `growth`: maximum bytes that it adds to the previous record. `limit`: maximum bytes of key and value. Raises
        InvalidEvent above the limit, and the codec's error for an invalid record. Changes nothing then.
        """
        unwritten = self._unwritten.get(key)
        before = len(self.values.get(key, b"")) if unwritten is None else unwritten.at_most
        if before >= LARGE_BYTES and len(key) + before + growth <= limit:
            self._unwritten[key] = _Unwritten(record, before + growth)
        else:
            value = self.encode(key, record, limit)
            self.values[key] = value
            if len(value) >= LARGE_BYTES:
                self._unwritten[key] = _Unwritten(record, len(value))
            else:
                self._unwritten.pop(key, None)
        self._changed[key] = headers

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
        return changed

    @property
    def is_settled(self) -> bool:
        """Whether nothing has changed since `settle`."""
        return not self._changed
