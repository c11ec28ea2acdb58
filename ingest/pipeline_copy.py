"""Copies a pipeline's topics into those of another prefix, cluster or partition count, each record once.

raw and alerts are copied in order, with key and headers; raw keeps its timestamps, alerts get the time at which Kafka
appends them. Of the tables, the latest value of each key is copied. Every record goes to the partition of its account,
which the copy's partition count decides. The positions are cursors of the copy (`ingest.cursors`) and commit in the
transaction of the records, so an interrupted copy continues after its last commit. Typed topics and quarantine are not
copied: the copy's routers write them from raw.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from broker_events.ingest.cursors import PARTITION, Cursor, cursor_key, read_positions
from broker_events.ingest.cursors import TOPIC as CURSORS
from broker_events.runtime.consume.offset_moves import accept_offsets, group_members, topic_ids
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition, partition_of, place_of
from broker_events.runtime.kafka.acls import verify_access
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.partitioner import partition_for
from broker_events.runtime.kafka.topic_reader import (
    committed_offsets,
    end_offsets,
    first_offsets,
    latest_records,
    read_to_end,
    topic_partitions,
)
from broker_events.runtime.kafka.topics import DERIVED_SIZE_FACTOR, plan_topics, verify_topics
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.errors import OperatorActionRequired, Stopped
from broker_events.runtime.schema_ids import resolve_schema_ids, schema_lookup
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import RAW, load_catalog
from broker_events.schemas.codec import Codec

log = logging.getLogger(__name__)

ROLE: Final = "copier"
_ALERTS: Final = "alerts"
# Topic (without the prefix), and the member of its records that has the account key; None: the record's key is it.
_TABLES: Final = (("state.accounts", None), ("state.movements", "account_key"), ("alerts.active", "account_key"))
# In a state: where the record of an event is in its typed topic. Records of the copy come after those of the source.
_TYPED_OFFSET: Final = "typed_offset"
_BEFORE_ALL: Final = -1
_CURSORS: Final = "cursors"
_HANDOVER: Final = "handover"
_FINISHED: Final = "finished"
_POLL_S: Final = 1.0
_REPORT_S: Final = 5.0
_TRANSACTION_BYTES: Final = 32_000_000


class _Written(NamedTuple):
    """A record of the copy; `topic` without the prefix."""

    topic: str
    record: KafkaRecord
    account: bytes | None
    value: bytes | None


class PipelineCopy:
    """Copies from `source` to `target`, settings that differ in prefix, cluster or partition count.

    A second copy to the same prefix fences the first. Raises OperatorActionRequired if a topic of the target is missing
    or has another partition count, or if an ACL is missing.
    """

    def __init__(self, source: Settings, target: Settings, stop: threading.Event) -> None:
        self._source, self._target, self._stop = source, target, stop
        self._catalog = load_catalog()
        self._events = [contract.topics[0].name for contract in self._catalog.events.values()]
        self._source_admin, self._target_admin = admin_client(source, stop), admin_client(target, stop)
        plans = plan_topics(self._catalog, target)
        verify_access(self._target_admin, target, ROLE, [plan.name for plan in plans])
        verify_topics(self._target_admin, plans)
        self._name = f"copy.{source.topic_prefix}"
        self._transaction = Transaction(target, f"{target.topic_prefix}.copy", DERIVED_SIZE_FACTOR)
        self._transaction.init()
        self._positions = read_positions(target, self._name)
        self._refuse_another_target()
        self._counts = dict.fromkeys((RAW, _ALERTS, *(name for name, _ in _TABLES)), 0)
        self._reported_at = time.monotonic()

    @property
    def is_finished(self) -> bool:
        """Whether `finish` has completed the copy before."""
        return _FINISHED in self._positions

    def copy_raw(self) -> int:
        """Copy raw from the last position to its present end; return the number of records."""
        before = self._counts[RAW]
        self._copy_log(RAW)
        return self._counts[RAW] - before

    def finish(self) -> None:
        """Copy what is left of a pipeline that has come to its end, and hand over to the copy's workers.

        Fences the source's bridges and replays, so that raw gets no more records. Copies raw, alerts, tables and
        cursors, waits until the copy's routers have processed raw, and sets its projectors' offsets to the end of the
        typed topics: the copied tables hold those events already. Raises OperatorActionRequired while routers or
        projectors of the source run or have records left, or once projectors of the copy have committed offsets.
        """
        self._refuse_if_projected()
        self._refuse_other_cursors()
        self._refuse_unprocessed()  # before a bridge is fenced in vain
        cursors = self._cursors(self._source)
        for writer in ("replay", *(f"ingest.{name}" for name in _sources(cursors))):
            Transaction(self._source, f"{self._source.topic_prefix}.{writer}").init()
        self._refuse_unprocessed()
        cursors = self._cursors(self._source)
        self._copy_log(RAW)
        self._copy_log(_ALERTS)
        codecs = self._codecs()
        for topic, member in _TABLES:
            self._copy_table(topic, member, codecs[topic])
        self._copy_cursors(cursors)
        self._wait_for_routers()
        self._refuse_unprocessed()  # a bridge that was started again, or a worker
        if _values(self._cursors(self._source)) != _values(cursors):
            raise OperatorActionRequired(
                f"a bridge of {self._source.topic_prefix} has written while it was copied: stop it for good, then run "
                "this again"
            )
        self._commit({_HANDOVER: "yes"})
        self._begin_projectors_at_the_end()
        self._commit({_FINISHED: "yes"})
        self._report()

    def close(self) -> None:
        """Abort the open transaction."""
        self._transaction.abort()

    def _copy_log(self, topic: str) -> None:
        partitions = _partitions(self._source, [topic])
        starts = {tp: int(self._positions.get(f"{topic}/{tp.partition}", 0)) for tp in partitions}
        ends = end_offsets(self._source, partitions, self._stop)
        for tp, first in first_offsets(self._source, partitions, self._stop).items():
            if starts[tp] < first and f"{topic}/{tp.partition}" in self._positions:
                raise OperatorActionRequired(
                    f"{tp.topic}[{tp.partition}] is copied up to {starts[tp]}, the topic begins at {first}: retention "
                    "has deleted records that were not copied. Delete the copy's topics and begin again"
                )
        for records in read_to_end(self._source, starts, ends, self._stop):
            for part in _parts(records):
                self._write(_Written(topic, record, record.key(), record.value()) for record in part)
                offsets = {partition_of(record): record.offset() + 1 for record in part}
                self._commit({f"{topic}/{tp.partition}": str(offset) for tp, offset in offsets.items()})
        # Behind the transaction markers too: retention may delete all before them.
        behind = {f"{topic}/{tp.partition}": str(end) for tp, end in ends.items()}
        if moved := {name: end for name, end in behind.items() if self._positions.get(name) != end}:
            self._commit(moved)

    def _copy_table(self, topic: str, member: str | None, codec: Codec[Any]) -> None:
        """Make the table the source's: the latest value of each key, and no other key of an earlier attempt.

        One partition of the source is in memory at a time, and the keys of the copy.
        """
        stale = self._keys(topic)
        for tp in _partitions(self._source, [topic]):
            latest = self._latest(self._source, tp)
            for part in _parts(latest.values()):
                self._write(_row(topic, record, codec, member) for record in part)
                self._commit({})
            for key in latest:
                stale.pop(key, None)
        for key, partition in stale.items():
            self._transaction.begin()
            self._transaction.produce(self._target.topic(topic), None, key, partition)
        self._commit({})

    def _keys(self, topic: str) -> dict[bytes, int]:
        """Return the keys of a table of the copy with their partitions."""
        partitions = _partitions(self._target, [topic])
        return {key: tp.partition for tp in partitions for key in self._latest(self._target, tp)}

    def _latest(self, settings: Settings, tp: TopicPartition) -> dict[bytes, KafkaRecord]:
        """Return the last record of each key that has a value."""
        latest = latest_records(read_to_end(settings, {tp: 0}, stop=self._stop))
        return {key or b"": record for (_, key), record in latest.items()}

    def _codecs(self) -> dict[str, Codec[Any]]:
        ids, lookup = resolve_schema_ids(self._target, self._catalog), schema_lookup(self._source)
        return {name: Codec(self._catalog.topics[name][0], ids[name], lookup) for name, _ in _TABLES}

    def _copy_cursors(self, cursors: dict[bytes, KafkaRecord]) -> None:
        """Write the bridges' cursors: the copy's bridges continue where the source's were fenced."""
        for key, record in cursors.items():
            self._transaction.begin()
            headers = [*(record.headers() or ())]
            self._transaction.produce(self._target.topic(CURSORS), record.value(), key, PARTITION, headers)
        self._commit({_CURSORS: _digest(cursors)})

    def _cursors(self, settings: Settings) -> dict[bytes, KafkaRecord]:
        """Return the bridges' cursors, also their tombstones; none of a copy."""
        latest: dict[bytes, KafkaRecord] = {}
        for records in read_to_end(settings, {TopicPartition(settings.topic(CURSORS), PARTITION): 0}, stop=self._stop):
            latest |= {record.key() or b"": record for record in records}
        return {key: record for key, record in latest.items() if not key.startswith(b"copy.")}

    def _refuse_another_target(self) -> None:
        """Raise OperatorActionRequired if the target is the source, or holds records that this copy has not written."""
        raw = [settings.topic(RAW) for settings in (self._source, self._target)]
        if [*topic_ids(self._source_admin, raw[:1]).values()] == [*topic_ids(self._target_admin, raw[1:]).values()]:
            raise OperatorActionRequired(f"{raw[0]} would be copied to itself: name another prefix or cluster")
        if self._positions:
            return
        topics = (RAW, _ALERTS, CURSORS, *(name for name, _ in _TABLES))
        partitions = _partitions(self._target, topics)
        for records in read_to_end(self._target, dict.fromkeys(partitions, 0), stop=self._stop):
            raise OperatorActionRequired(
                f"{place_of(records[0])} was not written by a copy of {self._source.topic_prefix}: copy to a prefix "
                "whose topics are empty"
            )

    def _refuse_other_cursors(self) -> None:
        """Raise OperatorActionRequired if a bridge of the copy has run: projectors would begin behind its events."""
        found = self._cursors(self._target)
        if found and self._positions.get(_CURSORS) != _digest(found):
            raise OperatorActionRequired(
                f"a bridge of {self._target.topic_prefix} has run before the copy was finished. Delete the copy's "
                "topics and groups, and begin again"
            )

    def _write(self, written: Iterable[_Written]) -> None:
        self._transaction.begin()
        for topic, record, account, value in written:
            self._counts[topic] += 1
            self._transaction.produce(
                self._target.topic(topic),
                value,
                record.key(),
                -1 if account is None else partition_for(account, self._target.partitions),
                headers=[*(record.headers() or ())],
                timestamp=record.timestamp()[1],
            )

    def _commit(self, positions: dict[str, str]) -> None:
        """Commit the open transaction with these positions of the copy."""
        self._transaction.begin()
        for stream, position in positions.items():
            cursor = Cursor(position, "", time.time_ns() // 1000).encode()
            self._transaction.produce(self._target.topic(CURSORS), cursor, cursor_key(self._name, stream), PARTITION)
        self._transaction.commit()
        self._positions |= positions
        if time.monotonic() - self._reported_at >= _REPORT_S:
            self._report()

    def _report(self) -> None:
        self._reported_at = time.monotonic()
        counts = ", ".join(f"{count:,} of {topic}" for topic, count in self._counts.items() if count)
        log.info("copied %s", counts or "nothing")

    def _refuse_if_projected(self) -> None:
        group = self._target.group("projector")
        typed = _partitions(self._target, self._events)
        found = {tp: at for tp, at in committed_offsets(self._target, group, typed).items() if at is not None}
        # An interrupted handover may have set them; no projector has gone beyond.
        if found and (_HANDOVER not in self._positions or found != end_offsets(self._target, typed)):
            raise OperatorActionRequired(
                f"the group {group} has offsets: projectors of the copy have run before the tables were copied. Delete "
                "the copy's topics and groups, and begin again"
            )

    def _refuse_unprocessed(self) -> None:
        """Raise OperatorActionRequired unless the source's workers have processed everything and ended."""
        for app, topics in (("router", [RAW]), ("projector", self._events)):
            group = self._source.group(app)
            if members := group_members(self._source_admin, self._source, group):
                raise OperatorActionRequired(
                    f"the group {group} has {members} members: let them read to the end, then stop them all"
                )
            for record in _unread(self._source, group, _partitions(self._source, topics), self._stop):
                raise OperatorActionRequired(
                    f"{place_of(record)} has not been processed by the {app}s of {self._source.topic_prefix}: let them "
                    "read to the end and stop them, then run this again"
                )

    def _wait_for_routers(self) -> None:
        group, raw = self._target.group("router"), _partitions(self._target, [RAW])
        reported_at = time.monotonic()
        while next(_unread(self._target, group, raw, self._stop), None) is not None:
            if time.monotonic() - reported_at >= _REPORT_S:
                reported_at = time.monotonic()
                log.info("waiting until the routers of %s have processed raw", self._target.topic_prefix)
            if self._stop.wait(_POLL_S):
                raise Stopped("stopped while waiting for the routers: run this again")

    def _begin_projectors_at_the_end(self) -> None:
        topics = [self._target.topic(name) for name in self._events]
        ends = end_offsets(self._target, _partitions(self._target, self._events))
        reason = f"copied from {self._source.topic_prefix} with its tables"
        ids = topic_ids(self._target_admin, topics)
        accept_offsets(self._target_admin, self._target.group("projector"), ends, ids, reason)


def _partitions(settings: Settings, topics: Iterable[str]) -> list[TopicPartition]:
    """Return every partition of these topics, named without the prefix."""
    return [tp for topic in topics for tp in topic_partitions(settings, settings.topic(topic))]


def _sources(cursors: Iterable[bytes]) -> set[str]:
    """Return the names of the sources that have cursors; a stream's name may contain a slash, theirs does not."""
    return {key.decode("utf-8", "replace").partition("/")[0] for key in cursors}


def _values(cursors: Mapping[bytes, KafkaRecord]) -> dict[bytes, bytes | None]:
    return {key: record.value() for key, record in cursors.items()}


def _digest(cursors: Mapping[bytes, KafkaRecord]) -> str:
    return hashlib.sha256(repr(sorted(_values(cursors).items())).encode()).hexdigest()


def _unread(
    settings: Settings, group: str, partitions: list[TopicPartition], stop: threading.Event
) -> Iterator[KafkaRecord]:
    """Yield records that the group has not committed yet."""
    starts = {tp: offset or 0 for tp, offset in committed_offsets(settings, group, partitions).items()}
    for records in read_to_end(settings, starts, stop=stop):
        yield from records


def _row(topic: str, record: KafkaRecord, codec: Codec[Any], member: str | None) -> _Written:
    """Return a table's record with its account, and without the offsets that mean nothing in the copy."""
    value = record.value() or b""
    content = codec.decode(value)
    account = record.key() if member is None else str(content[member]).encode()
    return _Written(topic, record, account, codec.encode(content) if _forget_offsets(content) else value)


def _forget_offsets(content: Any) -> bool:  # noqa: ANN401 (any part of a record)
    """Set every typed offset in a state to `_BEFORE_ALL`; return whether there was one."""
    found = False
    if isinstance(content, dict):
        found = _TYPED_OFFSET in content
        if found:
            content[_TYPED_OFFSET] = _BEFORE_ALL
    for part in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        found |= _forget_offsets(part)
    return found


def _parts(records: Iterable[KafkaRecord]) -> Iterator[list[KafkaRecord]]:
    """Split records into what one transaction takes."""
    part: list[KafkaRecord] = []
    size = 0
    for record in records:
        part.append(record)
        size += len(record.value() or b"") + len(record.key() or b"")
        if size >= _TRANSACTION_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
