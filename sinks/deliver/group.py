"""The consumer group of one receiver: alerts in, delivery records and offsets out, in one transaction."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, cast

import confluent_kafka
from confluent_kafka import Consumer, KafkaException

from broker_events.runtime.consume.offset_note import OffsetNote
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition, partition_of
from broker_events.runtime.consume.starting_offsets import foreign_offsets, refusal, start_offsets
from broker_events.runtime.consume.topic_identity import TopicIdentity
from broker_events.runtime.kafka.clients import member_config, raise_if_hopeless
from broker_events.runtime.kafka.topic_reader import (
    END_OF_PARTITION,
    Committed,
    consumers_commits,
    first_offsets,
    read_to_end,
)
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.errors import OperatorActionRequired, RestartRequired
from broker_events.runtime.process.retry import keep_trying
from broker_events.runtime.process.running_clock import running_s
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import DELIVERIES
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import Delivery
from broker_events.sinks.deliver.finished_offsets import decode_finished, encode_finished
from broker_events.sinks.deliver.receivers import ALERTS
from broker_events.sinks.deliver.window import Progress

log = logging.getLogger(__name__)

ROLE: Final = "deliverer"
_BATCH_RECORDS: Final = 500
_COMMITTED_TIMEOUT_S: Final = 10.0
_LEAVE_LIMIT_S: Final = 2.0

Assigned = Callable[[Mapping[int, Progress]], None]
Revoked = Callable[[], None]


def app_of(receiver: str) -> str:
    """Return the app of a receiver, which names its group and transactional ids: `deliver.<receiver>`."""
    return f"deliver.{receiver}"


class Fetched(NamedTuple):
    """Records, per partition of alerts the offset after what was read (markers included), and where the end is."""

    records: list[KafkaRecord]
    ends: dict[int, int]
    reached: list[TopicPartition]


class ReceiverGroup:
    """One worker's member of a receiver's group. Use it in one thread, but for `may_send`.

    A worker that was suspended may have lost its partitions without a rebalance callback. `may_send` is then
    False until a commit has proved the contrary.
    """

    def __init__(
        self,
        settings: Settings,
        receiver: str,
        codec: Codec[Delivery],
        stop: threading.Event,
        assigned: Assigned,
        revoked: Revoked,
        also: Sequence[str] = (),
    ) -> None:
        """`assigned` takes where each partition begins. `revoked` returns when nothing is in flight; then it commits.

        `also`: topics (Kafka names) to read from their beginning, in the partitions that are assigned.
        """
        self._settings = settings
        self._receiver = receiver
        self._codec = codec
        self._stop = stop
        self._assigned, self._revoked = assigned, revoked
        self._also = also
        self.name = settings.group(app_of(receiver))
        self._topic, self._deliveries = settings.topic(ALERTS), settings.topic(DELIVERIES)
        self._transaction = Transaction(settings, settings.transactional_id(app_of(receiver)))
        self._consumer = Consumer(
            member_config(settings, self.name, queued_min_messages=1000, queued_max_messages_kbytes=4096)
        )
        self._identity = TopicIdentity(settings, [self._topic])
        self._owned: frozenset[int] = frozenset()
        self._held: frozenset[int] = frozenset()
        self._places: list[confluent_kafka.TopicPartition] = []
        self._seen_s = running_s()
        self._most_silence_s = settings.session_timeout_ms / 2000
        self._leaving = False
        self.is_in_doubt = False

    @property
    def has_partitions(self) -> bool:
        return bool(self._owned)

    def start(self) -> None:
        """Fence a former worker of this instance id, and join the group."""
        self._transaction.init()
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def may_send(self, partition: int) -> bool:
        """Whether the partition is this worker's, as far as it can know. Any thread may ask."""
        return partition in self._owned and running_s() - self._seen_s < self._most_silence_s and not self.is_in_doubt

    def hold(self, partitions: Iterable[int]) -> None:
        """Read these partitions no further, and all others on."""
        wanted = self._owned.intersection(partitions)
        if stopped := wanted - self._held:
            self._consumer.pause([confluent_kafka.TopicPartition(self._topic, number) for number in stopped])
        if resumed := self._held & self._owned - wanted:
            self._consumer.resume([confluent_kafka.TopicPartition(self._topic, number) for number in resumed])
        self._held = wanted

    def poll(self, timeout_s: float) -> Fetched:
        """Return what has come; waits only for the first record. Serves rebalances.

        Raises what `raise_if_hopeless` raises, RestartRequired if the partitions are lost.
        """
        places = self._places
        messages = self._consumer.consume(1, timeout_s)
        if messages:
            messages += self._consumer.consume(_BATCH_RECORDS - 1, 0)
        if self._places is not places:
            # Some may be of the former assignment. Nothing of this one has been handed on: it begins again.
            self._read_from(self._places)
            messages = []
        now_s = running_s()
        if now_s - self._seen_s >= self._most_silence_s:
            self.is_in_doubt = True
        self._seen_s = now_s
        self._transaction.poll()
        records: list[KafkaRecord] = []
        ends: dict[int, int] = {}
        reached: list[TopicPartition] = []
        for message in messages:
            record, error = cast(KafkaRecord, message), message.error()
            if error is not None and error.code() != END_OF_PARTITION:
                raise_if_hopeless(error, record.topic(), self.name)
                continue
            if error is None:
                records.append(record)
            else:
                reached.append(partition_of(record))
            if record.topic() == self._topic:
                ends[record.partition()] = record.offset() + (error is None)
        return Fetched(records, ends, reached)

    def commit(self, deliveries: Iterable[Delivery], progress: Mapping[int, Progress]) -> None:
        """Commit the records and the offsets together. Raises Fenced or RestartRequired if this is not the owner."""
        self._transaction.begin()
        for delivery in deliveries:
            key = f"{delivery['receiver']}/{delivery['alert_id']}"
            self._transaction.produce(self._deliveries, self._codec.encode(delivery), key, delivery["alert_partition"])
        asked = self._identity.ask()
        self._transaction.commit(
            [self._to_commit(number, each) for number, each in progress.items()],
            self._consumer.consumer_group_metadata(),
            lambda: self._identity.verify(asked),
        )
        self.is_in_doubt = False
        self._seen_s = running_s()

    def verify_topic(self) -> None:
        """Raise OperatorActionRequired or RestartRequired if the topic was deleted or created again."""
        if self._owned:
            self._identity.verify(self._identity.ask())

    def behind(self) -> int:
        """Return the offsets between the positions and the ends of the owned partitions, markers included."""
        found = 0
        for at in self._consumer.position([confluent_kafka.TopicPartition(self._topic, n) for n in self._owned]):
            _, end = self._consumer.get_watermark_offsets(at, cached=True) or (0, 0)
            found += max(end - at.offset, 0) if at.offset >= 0 else 0
        return found

    def leave(self) -> None:
        """Leave the group, so that others get the partitions now. Commit before."""
        self._leaving, self._owned = True, frozenset()
        try:
            self._consumer.unsubscribe()
            deadline = time.monotonic() + _LEAVE_LIMIT_S
            while self._consumer.memberid() and time.monotonic() < deadline:
                self._consumer.poll(0.02)
        finally:
            self._consumer.close()

    def abandon(self) -> None:
        """Abort and leave, after an error."""
        self._transaction.abort()
        try:
            self.leave()
        except Exception as error:  # noqa: BLE001 (the first error is the one to report)
            log.warning("receiver %s: leaving the consumer group: %s", self._receiver, error)

    def _to_commit(self, partition: int, progress: Progress) -> confluent_kafka.TopicPartition:
        note = OffsetNote(
            topic_id=self._identity.ids[self._topic],
            finished=encode_finished(progress.offset, progress.finished),
        )
        return confluent_kafka.TopicPartition(self._topic, partition, progress.offset, metadata=note.encode())

    def _on_assign(self, _: Consumer, assigned: list[confluent_kafka.TopicPartition]) -> None:
        if self._leaving:
            return
        wanted = [TopicPartition(tp.topic, tp.partition) for tp in assigned]

        def ask() -> dict[TopicPartition, Committed]:
            self._identity.learn()
            return consumers_commits(self._consumer, wanted, _COMMITTED_TIMEOUT_S)

        what = "the group's committed offsets"
        found = keep_trying(what, ask, self._settings.start_timeout_s, (KafkaException,), self._stop)
        progress = {tp.partition: each for tp, each in self._starts(found).items()}
        self._assigned(progress)
        places = [confluent_kafka.TopicPartition(self._topic, number, at.offset) for number, at in progress.items()]
        places += [
            confluent_kafka.TopicPartition(topic, number, confluent_kafka.OFFSET_BEGINNING)
            for topic in self._also
            for number in progress
        ]
        self._held, self._places = frozenset(), places
        self._read_from(places)
        self._seen_s, self.is_in_doubt = running_s(), False
        self._owned = frozenset(progress)
        log.info("receiver %s: assigned %d partitions of %s", self._receiver, len(progress), self._topic)

    def _read_from(self, places: list[confluent_kafka.TopicPartition]) -> None:
        """Read these partitions, whatever was held: a consumer pauses them still when they are assigned again."""
        self._consumer.assign(places)
        self._consumer.resume(places)

    def _starts(self, found: Mapping[TopicPartition, Committed]) -> dict[TopicPartition, Progress]:
        """Return where to begin: as committed, or for a new receiver at the oldest alert."""
        foreign = foreign_offsets(self.name, found, self._identity.ids)
        known = {tp: committed.offset for tp, committed in found.items() if committed.offset >= 0}
        new = found.keys() - known
        firsts = first_offsets(self._settings, new | foreign, self._stop)
        for tp in sorted(foreign):
            if known[tp] > firsts[tp]:
                why = "alerts before it may never have been delivered"
                raise refusal(tp, known[tp], app_of(self._receiver), why)
        self._refuse_lost_offsets(new)
        starts = start_offsets(self._settings, self.name, known, (), self._stop)
        progress = {tp: Progress(firsts[tp], frozenset()) for tp in new}
        for tp, offset in starts.items():
            progress[tp] = Progress(offset, decode_finished(offset, found[tp].note.finished))
        return progress

    def _refuse_lost_offsets(self, new: Iterable[TopicPartition]) -> None:
        """Raise OperatorActionRequired if a receiver without offsets has deliveries: its offsets have expired."""
        prefix = f"{self._receiver}/".encode()
        starts = {TopicPartition(self._deliveries, tp.partition): 0 for tp in new}
        for records in read_to_end(self._settings, starts, stop=self._stop):
            if found := next((record for record in records if (record.key() or b"").startswith(prefix)), None):
                raise OperatorActionRequired(
                    f"the group {self.name} has no offset for partition {found.partition()}, yet {self._deliveries} "
                    f"has deliveries of the receiver: its offsets have expired. Beginning at the oldest alert would "
                    "send every alert again. See docs/how-to/runbook.md, A worker refuses its offsets"
                )

    def _on_revoke(self, _: Consumer, revoked: list[confluent_kafka.TopicPartition]) -> None:
        self._owned, self._places = frozenset(), []
        if not self._leaving:
            self._revoked()
            log.info("receiver %s: revoked %d partitions", self._receiver, len(revoked))

    def _on_lost(self, _: Consumer, lost: list[confluent_kafka.TopicPartition]) -> None:
        self._owned = frozenset()
        raise RestartRequired(
            f"receiver {self._receiver}: lost {len(lost)} partitions: this worker was silent for longer than its "
            "session timeout"
        )
