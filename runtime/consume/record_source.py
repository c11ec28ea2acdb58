"""A consumer group that hands record batches to a Faust agent, and commits what the agent made of them.

Everything but a restore runs on the event loop, including calls that block on Kafka (fetch, commit). While the agent
holds a batch, nothing is fetched, assigned or committed. A separate thread for blocking calls would cost a sixth of the
speed. A restore may take minutes: it runs in a thread, and until it has ended the group's partitions are not read.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Protocol

import confluent_kafka
from confluent_kafka import Consumer, KafkaException
from mode import Service

from broker_events.runtime.consume.commit_rule import CommitRule
from broker_events.runtime.consume.failed_record import MOST_ATTEMPTS, Attempts, RecordBlocks, RecordFailed
from broker_events.runtime.consume.fetch import Fetched, fetch_of
from broker_events.runtime.consume.lag import SourceLag
from broker_events.runtime.consume.offset_note import OffsetNote
from broker_events.runtime.consume.record import KafkaRecord, Part, Partitions, RecordBatch, TopicPartition
from broker_events.runtime.consume.refused_outputs import RefusedOutputs
from broker_events.runtime.consume.restorer import Assignment, Restorer, unmoved
from broker_events.runtime.consume.starting_offsets import foreign_offsets, start_offsets
from broker_events.runtime.consume.topic_identity import TopicIdentity
from broker_events.runtime.kafka.clients import member_config
from broker_events.runtime.kafka.native_client import make_client
from broker_events.runtime.kafka.topic_reader import Committed, consumers_commits
from broker_events.runtime.kafka.transaction import RecordRefused, Transaction
from broker_events.runtime.process.errors import PipelineError, RestartRequired
from broker_events.runtime.process.health import Health
from broker_events.runtime.process.memory import give_back
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.process.retry import keep_trying
from broker_events.runtime.quarantine.writer import Quarantine
from broker_events.runtime.settings import Settings
from broker_events.schemas.invalid_event import InvalidEvent

log = logging.getLogger(__name__)

BATCH_RECORDS: Final = 2000
# Bounds the time of a batch of large events, which must be below the transaction timeout.
BATCH_BYTES: Final = 4_000_000
_IDLE_POLL_S: Final = 0.1
# An open transaction commits after this time without a record.
_LINGER_S: Final = 0.003
# With so many records a source doesn't trickle: they are committed without a rest.
_WORTH_A_COMMIT: Final = 10
# After this time without a record, skipped markers are committed in a transaction of their own.
_SETTLED_S: Final = 1.0
_COMMITTED_TIMEOUT_S: Final = 10.0
_LEAVE_LIMIT_S: Final = 2.0
# Asking for the committed offsets of an assignment: below max.poll.interval.ms, after which the group takes it away.
_ASSIGN_LIMIT_S: Final = 290.0
_RESTORE_POLL_S: Final = 0.02
# A restore ends this soon after a stop.
_RESTORE_ENDS_S: Final = 5.0
_RESTORE_STALLS_S: Final = 290.0


class Processor(Protocol):
    """Processes the batches of a worker. No other call comes while `process` runs."""

    def restore(
        self, positions: Mapping[TopicPartition, int], unmoved: set[TopicPartition], foreign: set[TopicPartition]
    ) -> None:
        """Load the state for the assigned partitions, which are all keys of `positions` (next offset to process).

        `unmoved`: partitions whose offset is unchanged since this worker last had them; their state is still valid.
        `foreign`: partitions whose offset no worker has committed. Raises OperatorActionRequired if such an offset
        doesn't fit the outputs, and Stopped once a stop is requested. Runs in a thread of its own; no transaction is
        open then, and no other call but `restoring` comes.
        """

    def restoring(self) -> str:
        """Return how far `restore` is, for /ready."""
        return "restoring"

    def process(self, batch: RecordBatch) -> None:
        """Produce the outputs of the batch's records into the open transaction. The agent calls it for each batch."""

    def refuse(self, record: KafkaRecord, problem: InvalidEvent) -> None:
        """Quarantine a record whose output Kafka refuses, or raise RecordFailed; called instead of `process`."""

    def before_commit(self) -> None:
        """Produce buffered records: the open transaction is about to commit."""

    def after_commit(self) -> None:
        """The transaction is committed: consumers can read its records."""


class RecordSource(Service):
    """Consumes `topics` in the consumer group of `app`, one batch at a time through `channel`.

    `outputs`: topics that only this group writes, to the partition number of the source record. `stop`: once it is set,
    the current batch is the last one, and waiting for Kafka during an assignment ends with Stopped.
    `native_passthrough`: native code holds the records if it can (runtime.consume.fetch).

    The assignor is `range`. It is eager, so the generation can't change while a transaction commits; with a cooperative
    assignor Kafka would reject that commit. It assigns partition k of all topics to one worker.
    The instance id is the group's static member (KIP-345): a killed worker that starts again gets its partitions back
    at once, without a rebalance. One that stops leaves the group, so that others get them.
    Outputs and offsets commit in one transaction, when `CommitRule` says so. Revoked partitions are committed inside
    the revoke callback. Where Kafka refuses an output for what it is, the source aborts, reads again from the committed
    offsets with fewer records per transaction, and passes a single record that is refused twice to `Processor.refuse`.
    `ended` resolves when the source has stopped, or raises what ended it; after an error the
    process must end.
    """

    logger = logging.getLogger("mode")  # its own entries ("Starting...") say nothing to an operator

    def __init__(
        self,
        settings: Settings,
        app: str,
        topics: list[str],
        outputs: list[str],
        channel: Any,  # noqa: ANN401 (Faust types a channel by events, not by what is put)
        transaction: Transaction,
        processor: Processor,
        quarantine: Quarantine,
        metrics: Metrics,
        health: Health,
        stop: threading.Event,
        *,
        native_passthrough: bool = False,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._stop_asked = stop
        self._topics = topics
        self._outputs = outputs
        self._group = settings.group(app)
        self._channel = channel
        self._transaction = transaction
        self._processor = processor
        self._quarantine = quarantine
        self._metrics = metrics
        self._health = health
        config = member_config(settings, self._group, queued_min_messages=100_000, queued_max_messages_kbytes=131_072)
        self._consumer, client = make_client(Consumer, config, native_passthrough=native_passthrough)
        self._fetch = fetch_of(self._consumer, client, self._group)
        self._assigned: set[TopicPartition] = set()
        self._next_offsets: dict[TopicPartition, int] = {}  # to be committed
        self._active_at = 0.0  # monotonic, time of the last batch
        self._committed_at = 0.0  # monotonic
        self._unknown: dict[TopicPartition, int] = {}  # assigned without an offset; to be committed with the others
        self._committed: dict[TopicPartition, int] = {}  # at this worker's last commit or assignment
        self._attempts: dict[TopicPartition, Attempts] = {}  # at a record that stopped a worker, not yet passed
        self._refused = RefusedOutputs(settings.transaction_records)
        self._leaving = False
        self._commit_rule = CommitRule(
            settings.commit_interval_ms / 1000, settings.transaction_records, settings.transaction_timeout_ms / 1000
        )
        self._read = 0  # records of the open transaction
        self._given: dict[TopicPartition, int] = {}  # last offset of each partition in the open transaction
        self._lag = SourceLag(self._consumer, metrics)
        self._identity = TopicIdentity(settings, topics)
        self._restorer = Restorer(processor.restore)
        self._progress, self._progress_at = "", 0.0  # monotonic
        self._wanted = False  # the group's last assignment holds
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def on_stop(self) -> None:
        """Wait until the open transaction is committed and the partitions are given back."""
        await asyncio.wait([self.ended])

    @Service.task
    async def _pump(self) -> None:
        try:
            self._subscribe()
            while not self._is_to_stop():
                if not self._restorer.is_busy or self._restore_advances():
                    self._health.beat()
                if self._restorer.is_busy:
                    self._await_restore()
                    await asyncio.sleep(0)
                    continue
                patience_s = max(self._rest_s(), _LINGER_S) if self._transaction.is_open else _IDLE_POLL_S
                fetched = self._fetched(patience_s)
                await asyncio.sleep(0)  # lets other tasks run
                try:
                    await self._take(fetched)
                except RecordRefused as refused:
                    self._narrow(refused)
                if self._lag.is_due():
                    self._look_at_topics()
            self._health.not_ready("stopping")
            self._restorer.end(_RESTORE_ENDS_S)
            self._leave()
        except BaseException as error:  # noqa: BLE001 (whatever it is, the process must not go on)
            self._health.not_ready("failed")
            self.ended.set_exception(self._abandon(error))
        else:
            if (end_of_work := self._quarantine.end_of_work) is not None:
                self.ended.set_exception(end_of_work)
            else:
                self.ended.set_result(None)

    def _restore_advances(self) -> bool:
        """Whether a restore has made progress lately. One that hangs on a volume ends the worker, by /live."""
        if (progress := self._processor.restoring()) != self._progress:
            self._progress, self._progress_at = progress, time.monotonic()
        return time.monotonic() - self._progress_at < _RESTORE_STALLS_S

    def _fetched(self, patience_s: float) -> Fetched | None:
        try:
            return self._fetch.fetch(patience_s, min(BATCH_RECORDS, self._refused.most_records), BATCH_BYTES)
        except RestartRequired:
            if self._assigned:  # an offset out of range may be that of a former topic
                self._identity.verify(self._identity.ask())
            raise

    async def _take(self, fetched: Fetched | None) -> None:
        is_idle = True
        for part in fetched.parts if fetched is not None else ():
            is_idle = False
            await self._process(part)
            if self._commit_is_due(part.partitions):
                self._commit()
        if fetched is not None:
            self._step_over_markers(fetched.ends)
        if is_idle and self._is_worth_a_commit():
            self._commit()

    def _is_to_stop(self) -> bool:
        """Poll the stop event here: a task awaiting it can't run while a commit blocks the loop."""
        return self.should_stop or self._stop_asked.is_set() or self._quarantine.end_of_work is not None

    async def _process(self, part: Part) -> None:
        self._active_at = time.monotonic()
        partitions = part.partitions
        self._check_that_they_advance(partitions)
        self._transaction.begin()
        self._read += sum(map(len, partitions.values()))
        self._given |= {tp: records[-1].offset() for tp, records in partitions.items()}
        acceptable = self._refused.acceptable(partitions, self._processor.refuse)
        batch = RecordBatch(acceptable, asyncio.get_running_loop().create_future())
        await self._channel.put(batch)
        await batch.done
        self._quarantine.end_batch(partitions)
        counts: Counter[str] = Counter()
        for tp, records in partitions.items():
            last = records[-1]
            self._next_offsets[tp] = last.offset() + 1
            self._lag.read(tp, last)
            counts[tp.topic] += len(records)
        for topic, count in counts.items():
            self._metrics.consumed.labels(topic).inc(count)
            self._metrics.consumed_bytes.labels(topic).inc(part.sizes[topic])
        self._metrics.batch_records.observe(counts.total())
        self._transaction.poll()

    def _narrow(self, refused: RecordRefused) -> None:
        """Abort, and read again from the committed offsets until the refused record is alone in its transaction, twice.

        The state of what was read is restored: it contains the aborted records.
        """
        self._transaction.start_over()
        self._quarantine.after_abort()
        given = self._given
        self._refused.narrow(refused, refused.problem, given, min(self._read, BATCH_RECORDS))
        self._next_offsets.clear()
        self._start_transaction_over()
        self._fetch.revoke()
        positions = {tp: self._committed[tp] for tp in self._assigned}
        assignment = Assignment(positions, self._unknown, set(), self._attempts)
        self._begin_at(assignment, positions.keys() - given)

    def _check_that_they_advance(self, partitions: Partitions) -> None:
        """Raise RestartRequired for a batch that begins below its partition's position."""
        for tp, records in partitions.items():
            position, first = self._position(tp), records[0].offset()
            if first < position:
                raise RestartRequired(
                    f"{tp.topic}[{tp.partition}]: fetched offset {first}, but everything below {position} was "
                    "processed. The batch is not processed again"
                )

    def _position(self, tp: TopicPartition) -> int:
        """Next offset to process of an assigned partition."""
        return self._next_offsets.get(tp, self._committed[tp])

    def _step_over_markers(self, ends: Mapping[TopicPartition, int]) -> None:
        """Advance over the markers and aborted records behind the last record of each partition.

        Otherwise they stay unread until the next record, and retention may delete them: that looks like lost records.
        """
        for tp, end in ends.items():
            if tp in self._assigned and end > self._position(tp):
                self._next_offsets[tp] = end

    def _commit_is_due(self, processed: Partitions) -> bool:
        age_s = time.monotonic() - self._transaction.opened_at
        at_end = self._rest_s() <= 0 and all(self._lag.is_at_end(tp, self._next_offsets[tp]) for tp in processed)
        return self._read >= self._refused.most_records or self._commit_rule.is_due(age_s, self._read, at_end=at_end)

    def _is_worth_a_commit(self) -> bool:
        """Whether an idle source has an open transaction to commit, or for `_SETTLED_S` nothing but offsets."""
        settled = time.monotonic() - max(self._active_at, self._committed_at) > _SETTLED_S
        has_offsets = bool(self._next_offsets or self._unknown)
        return (self._transaction.is_open and self._rest_s() <= 0) or (settled and has_offsets)

    def _rest_s(self) -> float:
        """How long a source whose events come one by one still rests before its next commit; 0 or less: no longer."""
        if self._read >= _WORTH_A_COMMIT:
            return 0
        return self._committed_at + self._commit_rule.rest_s - time.monotonic()

    def _subscribe(self) -> None:
        self._transaction.init()
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _commit(self) -> None:
        started = time.monotonic()
        self._transaction.begin()
        self._processor.before_commit()
        self._attempts = {
            tp: attempts for tp, attempts in self._attempts.items() if self._next_offsets.get(tp, 0) <= attempts.offset
        }
        offsets = [self._to_commit(tp, offset) for tp, offset in (self._unknown | self._next_offsets).items()]
        asked = self._identity.ask()  # answered while the offsets are sent
        try:
            self._transaction.commit(
                offsets, self._consumer.consumer_group_metadata(), lambda: self._identity.verify(asked)
            )
        except Exception:
            self._metrics.transactions.labels("failed").inc()
            raise
        self._committed.update(self._next_offsets)
        self._refused.committed(self._committed)
        self._next_offsets.clear()
        self._unknown = {}
        self._start_transaction_over()
        self._committed_at = time.monotonic()
        self._commit_rule.committed(self._committed_at - started)
        self._processor.after_commit()
        self._quarantine.after_commit()
        self._metrics.transactions.labels("committed").inc()
        self._metrics.transaction_seconds.observe(time.monotonic() - self._transaction.opened_at)
        self._metrics.commit_seconds.observe(time.monotonic() - started)

    def _start_transaction_over(self) -> None:
        self._read = 0
        self._given = {}

    def _to_commit(self, tp: TopicPartition, offset: int) -> confluent_kafka.TopicPartition:
        """Return the offset with its note: the topic id, and the failed attempts at a record that is not passed yet."""
        failed_offset, attempts = self._attempts.get(tp, (None, None))
        note = OffsetNote(topic_id=self._identity.ids[tp.topic], failed_offset=failed_offset, attempts=attempts)
        return confluent_kafka.TopicPartition(*tp, offset, metadata=note.encode())

    def _await_restore(self) -> None:
        """Serve the group, and read the partitions once their state is restored."""
        fetched = self._fetch.fetch(_RESTORE_POLL_S, 1, BATCH_BYTES)
        if fetched is not None and any(part.partitions for part in fetched.parts):
            raise RestartRequired("a record arrived before the state was restored")
        restored = self._restorer.finished()
        if restored is not None:
            self._begin_reading(restored)
        else:
            self._health.not_ready(self._processor.restoring())

    def _on_assign(self, _: Consumer, assigned: list[confluent_kafka.TopicPartition]) -> None:
        if self._leaving:  # close() may deliver a pending assignment
            return
        self._health.beat(_ASSIGN_LIMIT_S)
        self._health.not_ready("restoring")
        # Blocks until the last owner's transaction has ended: its offsets are pending until then (KIP-447).
        wanted = [TopicPartition(tp.topic, tp.partition) for tp in assigned]

        def ask() -> dict[TopicPartition, Committed]:
            self._identity.learn()
            return consumers_commits(self._consumer, wanted, _COMMITTED_TIMEOUT_S)

        found = keep_trying(
            "the group's committed offsets",
            ask,
            self._settings.start_timeout_s,
            (KafkaException,),
            self._stop_asked,
        )
        foreign = foreign_offsets(self._group, found, self._identity.ids)
        offsets = {tp: committed.offset for tp, committed in found.items()}
        attempts = {
            tp: Attempts(note.failed_offset, note.attempts)
            for tp, (_, note) in found.items()
            if note.failed_offset is not None and note.attempts is not None
        }
        positions = start_offsets(self._settings, self._group, offsets, self._outputs, self._stop_asked)
        unknown = {tp: positions[tp] for tp, offset in offsets.items() if offset < 0}
        self._refused.clear()
        self._metrics.rebalances.labels("assigned").inc()
        self._begin_at(Assignment(positions, unknown, foreign, attempts), unmoved(positions, self._committed))

    def _begin_at(self, assignment: Assignment, unmoved: set[TopicPartition]) -> None:
        """Restore the state of all assigned partitions, then read from their positions."""
        self._wanted = True
        self._consumer.assign([])
        self._progress, self._progress_at = "", time.monotonic()
        self._restorer.begin(assignment, unmoved)

    def _begin_reading(self, restored: Assignment) -> None:
        """Read from the positions at which the state is restored, unless they were revoked meanwhile."""
        self._committed = dict(restored.positions)
        if not self._wanted:
            return
        self._assigned, self._unknown, self._attempts = {*restored.positions}, restored.unknown, restored.attempts
        self._lag.assign(restored.positions)
        give_back()
        self._fetch.assign(restored.positions)
        self._consumer.assign([confluent_kafka.TopicPartition(*tp, at) for tp, at in restored.positions.items()])
        self._metrics.assigned.set(len(self._assigned))
        log.info("reading %d partitions", len(self._assigned))
        self._health.ready()

    def _on_revoke(self, _: Consumer, revoked: list[confluent_kafka.TopicPartition]) -> None:
        if self._transaction.is_open:
            self._commit()
        self._fetch.revoke()
        self._next_offsets.clear()
        self._unknown = {}
        self._assigned.clear()
        self._wanted = False
        self._restorer.revoke()
        self._metrics.rebalances.labels("revoked").inc()
        self._metrics.assigned.set(0)
        self._lag.assign(())
        log.info("revoked %d partitions", len(revoked))

    def _on_lost(self, _: Consumer, lost: list[confluent_kafka.TopicPartition]) -> None:
        raise RestartRequired(
            f"lost {len(lost)} partitions: this worker was silent for longer than its session timeout"
        )

    def _leave(self) -> None:
        if self._transaction.is_open:
            self._commit()
        self._leave_group()

    def _abandon(self, error: BaseException) -> BaseException:
        """Abort the open transaction and leave the group, so that no other member waits for a timeout.

        Returns the error that the process ends with.
        """
        self._transaction.abort()
        self._next_offsets.clear()
        reported = self._counted(error) if isinstance(error, RecordFailed) else error
        try:
            self._leave_group()
        except Exception as later:  # noqa: BLE001 (the first error is the one to report)
            log.warning("leaving the consumer group: %s", later)
        return reported

    def _counted(self, failed: RecordFailed) -> PipelineError:
        """Count one more attempt in the note of the partition's unchanged offset, in a transaction.

        Returns RecordBlocks after the last attempt.
        """
        tp, known = failed.tp, self._attempts.get(failed.tp)
        failed.attempt = 1 + (known.number if known is not None and known.offset == failed.offset else 0)
        if failed.attempt > MOST_ATTEMPTS:
            return RecordBlocks(failed, self._identity.ids[tp.topic])
        log.error("%s", failed)  # the commit may end the process
        self._attempts[tp] = Attempts(failed.offset, failed.attempt)
        try:
            self._transaction.begin()
            offsets = self._unknown | {tp: self._committed[tp]}
            self._transaction.commit(
                [self._to_commit(*offset) for offset in offsets.items()], self._consumer.consumer_group_metadata()
            )
        except Exception as error:  # noqa: BLE001 (the first error is the one to report)
            self._transaction.abort()
            log.warning("attempt %d was not counted: %s", failed.attempt, error)
        return failed

    def _leave_group(self) -> None:
        """Leave the group, so that others get the partitions now and not after the session timeout.

        A static member that only closes stays in the group; one that unsubscribes leaves it, and has no id then.
        """
        self._leaving = True
        self._restorer.wait(_RESTORE_ENDS_S)
        try:
            self._fetch.close()
            self._consumer.unsubscribe()
            deadline = time.monotonic() + _LEAVE_LIMIT_S
            while self._consumer.memberid() and time.monotonic() < deadline:
                self._consumer.poll(0.02)
        finally:
            self._consumer.close()

    def _look_at_topics(self) -> None:
        if self._assigned:
            self._identity.verify(self._identity.ask())
        self._lag.measure({tp: self._position(tp) for tp in self._assigned})
