"""Reading partitions from an offset to their current end, or following them, without a consumer group."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple, cast

import confluent_kafka
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, OffsetSpec

from broker_events.runtime.consume.offset_note import OffsetNote, parse_note
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition, partition_of
from broker_events.runtime.kafka.clients import admin_client, client_config, consumer_config, raise_if_hopeless, refused
from broker_events.runtime.process.errors import OperatorActionRequired, RestartRequired, Stopped
from broker_events.runtime.process.retry import keep_trying
from broker_events.runtime.settings import Settings

# No consumer joins this group, but librdkafka looks up its coordinator.
READER: Final = "reader"
BATCH_RECORDS: Final = 10_000
_FIRST_WINDOW: Final = 2_000  # offsets per partition
_PREFETCH_KBYTES: Final = 262_144  # of all partitions together
_REQUEST_TIMEOUT_S: Final = 15.0
_OFFSETS_TIMEOUT_S: Final = 5.0  # then ask the new leader if a Kafka broker has just died
# Longer than the transaction of a dead worker can hold the last stable offset back.
_STALL_LIMIT_S: Final = 75.0
END_OF_PARTITION: Final = KafkaError._PARTITION_EOF  # noqa: SLF001 (the public name of a client-side code)


def topic_partitions(settings: Settings, topic: str) -> list[TopicPartition]:
    """Return all partitions of a topic (Kafka name). Raises OperatorActionRequired if it doesn't exist."""
    found = admin_client(settings).list_topics(timeout=_REQUEST_TIMEOUT_S).topics.get(topic)
    if found is None:
        raise OperatorActionRequired(
            f"{topic}: no such topic (create it with: broker-events topics apply), or an ACL hides it"
        )
    return [TopicPartition(topic, number) for number in sorted(found.partitions)]


def end_offsets(
    settings: Settings, partitions: Iterable[TopicPartition], stop: threading.Event | None = None
) -> dict[TopicPartition, int]:
    """Return the high watermark of each partition, which includes open transactions."""
    return _offsets(settings, dict.fromkeys(partitions, OffsetSpec.latest()), stop)


def first_offsets(
    settings: Settings, partitions: Iterable[TopicPartition], stop: threading.Event | None = None
) -> dict[TopicPartition, int]:
    """Offset of the oldest record that each partition still holds."""
    return _offsets(settings, dict.fromkeys(partitions, OffsetSpec.earliest()), stop)


def offsets_at(settings: Settings, partitions: Sequence[TopicPartition], time_ms: int) -> dict[TopicPartition, int]:
    """Offset of each partition's first record of this time (ms since the epoch) or later; its end if there is none."""
    return offsets_since(settings, dict.fromkeys(partitions, time_ms))


def offsets_since(
    settings: Settings, times_ms: Mapping[TopicPartition, int], stop: threading.Event | None = None
) -> dict[TopicPartition, int]:
    """Same as `offsets_at`, with one time per partition."""
    # Kafka reads a negative time as a command: -1 is the end of the partition.
    specs = {tp: OffsetSpec.for_timestamp(max(time_ms, 0)) for tp, time_ms in times_ms.items()}
    found = _offsets(settings, specs, stop)
    return end_offsets(settings, times_ms, stop) | {tp: offset for tp, offset in found.items() if offset >= 0}


def committed_offsets(
    settings: Settings, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int | None]:
    """Next offset that a group (Kafka name) reads in each partition; None where it has none.

    Waits for transactions that commit offsets (KIP-447). Doesn't join the group; needs Describe on it. Raises
    OperatorActionRequired if an ACL forbids it, RestartRequired when the cluster doesn't answer within
    `start_timeout_s`.
    """
    found = committed_notes(settings, group, partitions)
    return {tp: committed.offset if committed.offset >= 0 else None for tp, committed in found.items()}


def committed_notes(
    settings: Settings, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, Committed]:
    """Return what a group has committed, with notes. Waits and raises as `committed_offsets`."""
    consumer = Consumer(consumer_config(settings, group_id=group))
    refusals = {KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED}

    def ask() -> dict[TopicPartition, Committed]:
        try:
            return consumers_commits(consumer, partitions, _REQUEST_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() in refusals:
                raise refused(f"Describe on group {group} ({error.args[0].str()})") from None
            raise

    try:
        return keep_trying(f"the offsets of the group {group}", ask, settings.start_timeout_s, (KafkaException,))
    finally:
        consumer.close()


class Committed(NamedTuple):
    """A group's committed offset of a partition, negative if there is none, and its note."""

    offset: int
    note: OffsetNote


def consumers_commits(
    consumer: Consumer, partitions: Iterable[TopicPartition], timeout_s: float
) -> dict[TopicPartition, Committed]:
    """Return what the consumer's group has committed.

    Raises KafkaException also for an error of one partition: its offset would look like none.
    """
    found = consumer.committed([confluent_kafka.TopicPartition(*tp) for tp in partitions], timeout_s)
    if failed := next((tp.error for tp in found if tp.error is not None), None):
        raise KafkaException(failed)
    return {TopicPartition(tp.topic, tp.partition): Committed(tp.offset, parse_note(tp.metadata)) for tp in found}


def read_to_end(
    settings: Settings,
    starts: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[list[KafkaRecord]]:
    """Committed records from each start offset to the end, in batches, in order within a partition.

    `ends` defaults to the current high watermarks. An open transaction, or a committed one without all its markers,
    holds the read-committed end back. Its records belong to the result, so this waits until it has ended. Raises
    OperatorActionRequired if that takes longer than any live transaction may, RestartRequired if nothing comes for
    another reason, and Stopped once `stop` is set.
    """
    ends = end_offsets(settings, starts, stop) if ends is None else ends
    firsts = first_offsets(settings, starts, stop)
    unfinished = {tp for tp, start in starts.items() if max(start, firsts[tp]) < ends[tp]}
    if not unfinished:
        return
    group = settings.group(READER)
    consumer = Consumer(
        consumer_config(
            settings,
            group_id=group,
            enable_partition_eof=True,
            queued_min_messages=100_000,
            queued_max_messages_kbytes=max(_PREFETCH_KBYTES // len(unfinished), 1024),
        )
    )
    try:
        consumer.assign([confluent_kafka.TopicPartition(*tp, max(starts[tp], firsts[tp])) for tp in unfinished])
        last_progress = time.monotonic()
        while unfinished:
            if stop is not None and stop.is_set():
                raise Stopped(f"stopped while reading {len(unfinished)} partitions to their end")
            records, reached = _consume(consumer, group)
            if any(offset > ends[tp] for tp, offset in reached.items()):
                records = [record for record in records if record.offset() < ends[partition_of(record)]]
            unfinished -= {tp for tp, offset in reached.items() if offset >= ends[tp]}
            if records:
                last_progress = time.monotonic()
                yield records
            elif time.monotonic() - last_progress > _STALL_LIMIT_S:
                _refuse_open_transaction(settings, {tp: ends[tp] for tp in unfinished}, stop)
                raise RestartRequired(f"reading {sorted(unfinished)} to the end: no progress for {_STALL_LIMIT_S:g} s")
    finally:
        consumer.close()


def latest_records(batches: Iterable[Sequence[KafkaRecord]]) -> dict[tuple[int, bytes | None], KafkaRecord]:
    """Return the last record of each partition number and key, without tombstones, in their order."""
    latest: dict[tuple[int, bytes | None], KafkaRecord] = {}
    for record in chain.from_iterable(batches):
        key = (record.partition(), record.key())
        latest.pop(key, None)
        if record.value() is not None:
            latest[key] = record
    return latest


def read_back(settings: Settings, partitions: Iterable[TopicPartition]) -> Iterator[list[KafkaRecord]]:
    """Committed records from the current ends back to the beginnings: windows, later ones first, that grow.

    Within a window, records of a partition are in order. The caller stops when it has found what it looks for.
    """
    ends = end_offsets(settings, partitions)
    firsts = first_offsets(settings, ends)
    size = _FIRST_WINDOW
    while left := {tp: end for tp, end in ends.items() if end > firsts[tp]}:
        starts = {tp: max(firsts[tp], end - size) for tp, end in left.items()}
        yield [record for records in read_to_end(settings, starts, left) for record in records]
        ends |= starts
        size *= 4


def _refuse_open_transaction(
    settings: Settings, ends: Mapping[TopicPartition, int], stop: threading.Event | None
) -> None:
    """Raise OperatorActionRequired if an open transaction is before one of these ends."""
    latest = dict.fromkeys(ends, OffsetSpec.latest())
    for tp, begin in sorted(_offsets(settings, latest, stop, IsolationLevel.READ_COMMITTED).items()):
        if begin < ends[tp]:
            raise OperatorActionRequired(
                f"{tp.topic}[{tp.partition}]: the transaction that began at offset {begin} has not ended for "
                f"{_STALL_LIMIT_S:g} s, and nothing behind it can be read. See docs/how-to/runbook.md, An open "
                "transaction blocks a reader"
            )


def follow(settings: Settings, starts: Mapping[TopicPartition, int]) -> Iterator[list[KafkaRecord]]:
    """Yield committed records from each start offset in batches, without end."""
    group = settings.group(READER)
    consumer = Consumer(consumer_config(settings, group_id=group))
    try:
        consumer.assign([confluent_kafka.TopicPartition(*tp, offset) for tp, offset in starts.items()])
        while True:
            records, _ = _consume(consumer, group)
            if records:
                yield records
    finally:
        consumer.close()


def _consume(consumer: Consumer, group: str) -> tuple[list[KafkaRecord], dict[TopicPartition, int]]:
    """Return records, and per partition the offset after its last record, or the end that was reached."""
    messages = consumer.consume(BATCH_RECORDS, 0.05)
    records = cast(list[KafkaRecord], [message for message in messages if message.error() is None])
    # Plain tuples equal the named ones and cost half as much.
    last = {(record.topic(), record.partition()): record for record in records}
    reached = {partition_of(record): record.offset() + 1 for record in last.values()}
    for message in messages if len(records) < len(messages) else ():
        record, error = cast(KafkaRecord, message), message.error()
        if error is None:
            continue
        if error.code() != END_OF_PARTITION:
            raise_if_hopeless(error, record.topic(), group)
            continue
        tp = partition_of(record)
        reached[tp] = max(reached.get(tp, 0), record.offset())
    return records, reached


def _offsets(
    settings: Settings,
    specs: Mapping[TopicPartition, OffsetSpec],
    stop: threading.Event | None,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[TopicPartition, int]:
    wanted = {confluent_kafka.TopicPartition(*tp): spec for tp, spec in specs.items()}
    if not wanted:
        return {}

    def ask() -> dict[TopicPartition, int]:
        # A new client per attempt: it would keep asking the first leader. It needs a name,
        # or the futures never resolve.
        admin = AdminClient(client_config(settings))
        # Connect and learn the leaders first: librdkafka would retry only after 1 or 3 s.
        admin.list_topics(timeout=_OFFSETS_TIMEOUT_S)
        futures = admin.list_offsets(wanted, isolation_level=isolation, request_timeout=_OFFSETS_TIMEOUT_S)
        found = {TopicPartition(tp.topic, tp.partition): future.result().offset for tp, future in futures.items()}
        # While one Kafka broker answers, librdkafka reports no error for another: its partitions have this offset.
        if silent := [tp for tp, offset in found.items() if offset == confluent_kafka.OFFSET_INVALID]:
            raise KafkaException(KafkaError(KafkaError.REQUEST_TIMED_OUT, f"no answer for {sorted(silent)}"))
        return found

    # A partition has no leader for a moment after its creation, and while its broker restarts.
    return keep_trying("Kafka, asked for offsets,", ask, settings.start_timeout_s, (KafkaException,), stop)
