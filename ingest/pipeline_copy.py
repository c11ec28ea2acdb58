"""Copies a pipeline's topics into those of another prefix, cluster or partition count, each record once.

raw and alerts are copied in order, with key and headers; raw keeps its timestamps, alerts get the time at which Kafka
appends them. Of the tables, the latest value of each key is copied. Every record goes to the partition of its account,
which the copy's partition count decides. The positions are cursors of the copy (`ingest.cursors`) and commit in the
transaction of the records, so an interrupted copy continues after its last commit. Typed topics and quarantine are not
copied: the copy's routers write them from raw.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from broker_events.ingest.cursors import NO_STREAM, PARTITION, Cursor, cursor_key, read_positions
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
    read_to_end,
    topic_partitions,
)
from broker_events.runtime.kafka.topics import DERIVED_SIZE_FACTOR, plan_topics, verify_topics
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.errors import OperatorActionRequired, Stopped
from broker_events.runtime.schema_ids import SchemaLookup, open_registry, resolve_schema_ids
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
        self._source_admin, self._target_admin = admin_client(source, stop), admin_client(target, stop)
        plans = plan_topics(self._catalog, target)
        verify_access(self._target_admin, target, ROLE, [plan.name for plan in plans])
        verify_topics(self._target_admin, plans)
        self._name = f"copy.{source.topic_prefix}"
        self._transaction = Transaction(target, f"{target.topic_prefix}.copy", DERIVED_SIZE_FACTOR)
        self._transaction.init()
        self._positions = read_positions(target, self._name)
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
        for writer in ("replay", *(f"ingest.{name}" for name in self._sources())):
            Transaction(self._source, f"{self._source.topic_prefix}.{writer}").init()
        events = [contract.topics[0].name for contract in self._catalog.events.values()]
        self._refuse_unprocessed("router", [RAW])
        self._refuse_unprocessed("projector", events)
        self._copy_log(RAW)
        self._copy_log(_ALERTS)
        for topic, member in _TABLES:
            self._copy_table(topic, member)
        self._copy_cursors()
        self._wait_for_routers()
        self._commit({_HANDOVER: "yes"})
        self._begin_projectors_at_the_end(events)
        self._commit({_FINISHED: "yes"})
        self._report()

    def close(self) -> None:
        """Abort the open transaction."""
        self._transaction.abort()

    def _copy_log(self, topic: str) -> None:
        partitions = topic_partitions(self._source, self._source.topic(topic))
        starts = {tp: int(self._positions.get(f"{topic}/{tp.partition}", 0)) for tp in partitions}
        for tp, first in first_offsets(self._source, partitions, self._stop).items():
            if 0 < starts[tp] < first:
                raise OperatorActionRequired(
                    f"{tp.topic}[{tp.partition}] is copied up to {starts[tp]}, the topic begins at {first}: retention "
                    "has deleted records that were not copied. Delete the copy's topics and begin again"
                )
        for records in read_to_end(self._source, starts, stop=self._stop):
            for part in _parts(records):
                self._write(_Written(topic, record, record.key(), record.value()) for record in part)
                offsets = {partition_of(record): record.offset() + 1 for record in part}
                self._commit({f"{topic}/{tp.partition}": str(offset) for tp, offset in offsets.items()})

    def _copy_table(self, topic: str, member: str | None) -> None:
        """Copy the latest value of each key; one partition of the source is in memory at a time."""
        codec = self._codec(topic)
        for tp in topic_partitions(self._source, self._source.topic(topic)):
            done = f"{topic}/{tp.partition}"
            if done in self._positions:
                continue
            latest: dict[bytes, KafkaRecord] = {}
            for records in read_to_end(self._source, {tp: 0}, stop=self._stop):
                for record in records:
                    key = record.key() or b""
                    if record.value() is None:
                        latest.pop(key, None)
                    else:
                        latest[key] = record
            for part in _parts(latest.values()):
                self._write(_row(topic, record, codec, member) for record in part)
                self._commit({})
            self._commit({done: "copied"})

    def _codec(self, topic: str) -> Codec[Any]:
        lookup = SchemaLookup(open_registry(self._source).schema_text)
        ids = resolve_schema_ids(self._target, self._catalog)
        return Codec(self._catalog.topics[topic][0], ids[topic], lookup)

    def _copy_cursors(self) -> None:
        """Copy the bridges' cursors: the copy's bridges continue where the source's were fenced."""
        for key, record in self._cursors().items():
            self._transaction.begin()
            headers = [*(record.headers() or ())]
            self._transaction.produce(self._target.topic(CURSORS), record.value(), key, PARTITION, headers)

    def _cursors(self) -> dict[bytes, KafkaRecord]:
        latest: dict[bytes, KafkaRecord] = {}
        for records in read_to_end(self._source, {TopicPartition(self._source.topic(CURSORS), PARTITION): 0}):
            latest |= {record.key() or b"": record for record in records}
        return {key: record for key, record in latest.items() if record.value() and not key.startswith(b"copy.")}

    def _sources(self) -> set[str]:
        return {key.decode().rpartition("/")[0] for key in self._cursors()} - {NO_STREAM}

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
        typed = [
            tp
            for contract in self._catalog.events.values()
            for tp in topic_partitions(self._target, self._target.topic(contract.topics[0].name))
        ]
        found = {tp: at for tp, at in committed_offsets(self._target, group, typed).items() if at is not None}
        # An interrupted handover may have set them; no projector has gone beyond.
        if found and (_HANDOVER not in self._positions or found != end_offsets(self._target, typed)):
            raise OperatorActionRequired(
                f"the group {group} has offsets: projectors of the copy have run before the tables were copied. Delete "
                "the copy's topics and groups, and begin again"
            )

    def _refuse_unprocessed(self, app: str, topics: list[str]) -> None:
        """Raise OperatorActionRequired unless the source's workers of this app have processed everything and ended."""
        group = self._source.group(app)
        partitions = [tp for topic in topics for tp in topic_partitions(self._source, self._source.topic(topic))]
        for record in _unread(self._source, group, partitions, self._stop):
            raise OperatorActionRequired(
                f"{place_of(record)} has not been processed by the {app}s of {self._source.topic_prefix}: let them "
                "read to the end and stop them, then run this again"
            )
        if members := group_members(self._source_admin, self._source, group):
            raise OperatorActionRequired(f"the group {group} has {members} members: stop all its workers first")

    def _wait_for_routers(self) -> None:
        group, raw = self._target.group("router"), topic_partitions(self._target, self._target.topic(RAW))
        reported_at = time.monotonic()
        while next(_unread(self._target, group, raw, self._stop), None) is not None:
            if time.monotonic() - reported_at >= _REPORT_S:
                reported_at = time.monotonic()
                log.info("waiting until the routers of %s have processed raw", self._target.topic_prefix)
            if self._stop.wait(_POLL_S):
                raise Stopped("stopped while waiting for the routers: run this again")

    def _begin_projectors_at_the_end(self, events: list[str]) -> None:
        topics = [self._target.topic(name) for name in events]
        ends = end_offsets(self._target, [tp for topic in topics for tp in topic_partitions(self._target, topic)])
        reason = f"copied from {self._source.topic_prefix} with its tables"
        ids = topic_ids(self._target_admin, topics)
        accept_offsets(self._target_admin, self._target.group("projector"), ends, ids, reason)


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
