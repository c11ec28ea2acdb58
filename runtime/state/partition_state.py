"""The states of one partition of a table, by their keys. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, Protocol, TypeVar

from broker_events.schemas.invalid_event import InvalidEvent, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from broker_events.runtime.kafka.clients import Headers

# Above it reading and writing a record takes longer than all else: not for each of the events that change it.
LARGE_BYTES: Final = 16_384

R = TypeVar("R")


class RecordCodec(Protocol[R]):
    """Encodes one kind of record (see schemas.codec)."""

    def encode(self, record: R) -> bytes: ...
    def decode(self, value: bytes) -> R: ...


class _Unwritten(NamedTuple, Generic[R]):
    """A record that isn't encoded yet, and how many bytes it has at most."""

    record: R
    at_most: int


class PartitionState(Generic[R]):
    """Encoded records, in `values`; a large one that was put stays a record until `settle`.

    Records that `get` returns are never altered. `values` may be filled before the first `put`; then call `reindex`.
    """

    def __init__(self, codec: RecordCodec[R], index_keys: Callable[[R], Iterable[bytes]] | None = None) -> None:
        """`index_keys`: what leads to a record besides its key."""
        self.values: dict[bytes, bytes] = {}
        self._codec = codec
        self._unwritten: dict[bytes, _Unwritten[R]] = {}
        self._changed: dict[bytes, Headers] = {}
        self._index_keys = index_keys
        self._index: dict[bytes, bytes] = {}

    def reindex(self) -> None:
        """Make the index of `values`; where two records claim an index key, it leads to the one with the lesser key."""
        if self._index_keys is None:
            return
        self._index.clear()
        for key, value in self.values.items():
            try:
                record = self._codec.decode(value)
            except ValueError:
                continue  # whoever asks for this record is told
            for index_key in self._index_keys(record):
                self._index[index_key] = min(key, self._index.get(index_key, key))

    def holder(self, index_key: bytes) -> bytes | None:
        """Return the key of the record that this index key leads to."""
        return self._index.get(index_key)

    def lead(self, index_keys: Iterable[bytes], key: bytes) -> None:
        """Let the index keys lead to the record of this key."""
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
        """Change a record, which `get` gives from now on; `headers` are for its next change on the topic.

        `growth`: bytes that it may have more than the one before; `limit`: bytes that key and value may have. Raises
        InvalidEvent above that, and what the codec raises for a record of another form; nothing is changed then.
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
        """Return the record's value. Raises InvalidEvent where key and value have more than `limit` bytes."""
        value = self._codec.encode(record)
        if len(key) + len(value) > limit:
            raise InvalidEvent(Reason.TOO_LARGE, "", f"{len(key) + len(value)} bytes as a state, where {limit} fit")
        return value

    def settle(self) -> dict[bytes, Headers]:
        """Encode what isn't; return the keys changed since the last call, each with the headers of its last change."""
        for key, unwritten in self._unwritten.items():
            self.values[key] = self._codec.encode(unwritten.record)
        self._unwritten.clear()
        changed, self._changed = self._changed, {}
        return changed

    @property
    def is_settled(self) -> bool:
        """Whether nothing has changed since `settle`."""
        return not self._changed
