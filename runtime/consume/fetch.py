"""What a consumer has fetched, by partition: as Python objects, or as records that native code holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

from confluent_kafka import Consumer, KafkaError, Message

from broker_events.runtime.consume.record import KafkaRecord, Part, TopicPartition, limited, partition_of
from broker_events.runtime.kafka.clients import raise_if_hopeless
from broker_events.runtime.kafka.topic_reader import END_OF_PARTITION
from broker_events.runtime.process.errors import RestartRequired

if TYPE_CHECKING:
    from broker_events.native._native import Client, Reader

# One response of the cluster comes in pieces, a partition at a time. Where there are few records, those that are late
# by so much go with them: else they would wait for the next commit.
_GATHER_S: Final = 0.001
_FEW: Final = 200


class Fetched(NamedTuple):
    """What to process one after the other, and the offsets of the partitions' ends that were reached."""

    parts: Iterable[Part]
    ends: dict[TopicPartition, int]


class Fetch(Protocol):
    """Fetches from a consumer of the group `group`; its callbacks for rebalances come meanwhile.

    Logs what librdkafka recovers from by itself, raises OperatorActionRequired or RestartRequired for the rest.
    """

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """These partitions are about to be assigned to the consumer."""

    def revoke(self) -> None:
        """What was assigned is no longer."""

    def fetch(self, wait_s: float, most: int, part_bytes: int) -> Fetched | None:
        """Wait for a first record, and return what is there, at most so many; None where nothing came, not even an end.

        The values of a part have `part_bytes` at most, or not many more.
        """

    def close(self) -> None:
        """Let go of what was fetched; the consumer is about to be closed."""


def fetch_of(consumer: Consumer, client: Client | None, group: str) -> Fetch:
    """Return the way past Python where native code knows the consumer as `client`."""
    return PythonFetch(consumer, group) if client is None else NativeFetch(consumer, client, group)


class PythonFetch(Fetch):
    """Records are the Python client's messages."""

    def __init__(self, consumer: Consumer, group: str) -> None:
        self._consumer = consumer
        self._group = group
        self._assigned: set[TopicPartition] = set()
        self._revoked: set[TopicPartition] = set()  # within this fetch

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self._assigned = set(partitions)

    def revoke(self) -> None:
        self._revoked |= self._assigned
        self._assigned.clear()

    def fetch(self, wait_s: float, most: int, part_bytes: int) -> Fetched | None:
        first = self._consumer.poll(wait_s)
        if first is None:
            return None
        self._revoked.clear()  # what was revoked up to here was revoked before `first` came
        messages = [first, *self._consumer.consume(most - 1, 0)]
        few = min(_FEW, most)
        if len(messages) < few:
            messages += self._consumer.consume(few - len(messages), _GATHER_S)
        partitions, ends = self._by_partition(messages)
        for tp in self._revoked:  # a rebalance came between them: the records of a lost partition are the next owner's
            if tp in self._assigned and tp in partitions:
                raise RestartRequired(f"{tp.topic}[{tp.partition}] was revoked and assigned again within one fetch")
            partitions.pop(tp, None)
            ends.pop(tp, None)
        return Fetched(limited(partitions, part_bytes), ends)

    def close(self) -> None:
        """Nothing is held."""

    def _by_partition(
        self, messages: list[Message]
    ) -> tuple[dict[TopicPartition, list[KafkaRecord]], dict[TopicPartition, int]]:
        partitions: dict[TopicPartition, list[KafkaRecord]] = {}
        ends: dict[TopicPartition, int] = {}
        current: tuple[str | None, int | None] = (None, None)
        records: list[KafkaRecord] = []
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() == END_OF_PARTITION:
                    ends[partition_of(cast(KafkaRecord, message))] = cast(KafkaRecord, message).offset()
                else:
                    raise_if_hopeless(error, message.topic(), self._group)
                continue
            at = (message.topic(), message.partition())
            if at != current:
                current = at
                records = partitions.setdefault(partition_of(cast(KafkaRecord, message)), [])
            records.append(cast(KafkaRecord, message))
        return partitions, ends


class NativeFetch(Fetch):
    """Native code holds the records, until the next fetch.

    They come by a queue of their own. Rebalances come by the consumer's, and only while that is served, which is done
    before: none comes between a fetch and its batch, and one waits for up to `wait_s`. What was fetched for an earlier
    assignment librdkafka drops by itself: each operation has the version of its partition's assignment.
    """

    def __init__(self, consumer: Consumer, client: Client, group: str) -> None:
        from broker_events.native._native import Reader  # noqa: PLC0415 (only here is it sure to be there)

        self._consumer = consumer
        self._group = group
        self._reader: Reader = Reader(client)
        self._assigned: set[TopicPartition] = set()

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        if self._assigned:  # their end would come later, and silence those that are in both
            raise RestartRequired("partitions were assigned before the last ones were revoked")
        self._assigned = set(partitions)
        for tp in self._assigned:
            self._reader.attach(*tp)

    def revoke(self) -> None:
        self._assigned.clear()

    def fetch(self, wait_s: float, most: int, part_bytes: int) -> Fetched | None:
        message = self._consumer.poll(0)
        if message is not None:
            self._look_at(message)
        records, events = self._reader.read(
            *(round(wait_s * 1000), round(_GATHER_S * 1000)), few=_FEW, most=most, most_bytes=part_bytes
        )
        if not records and not events:
            return None
        partitions = {TopicPartition(of.topic, of.partition): of for of in records}
        if len(partitions) < len(records):
            raise RestartRequired(
                f"records of one partition came apart: {[(of.topic, of.partition) for of in records]}"
            )
        assigned = {tp: of for tp, of in partitions.items() if tp in self._assigned}  # others are their next owner's
        sizes: Counter[str] = Counter()
        for tp, of in assigned.items():
            sizes[tp.topic] += of.bytes
        return Fetched([Part(assigned, sizes)] if assigned else [], dict(self._ends(events)))

    def close(self) -> None:
        self._reader.close()

    def _look_at(self, message: Message) -> None:
        error = message.error()
        if error is None:
            raise RestartRequired(f"a record of {message.topic()} came by the consumer's own queue")
        raise_if_hopeless(error, message.topic(), self._group)

    def _ends(self, events: Iterable[tuple[str, int, int, int, str]]) -> Iterator[tuple[TopicPartition, int]]:
        for topic, partition, offset, code, text in events:
            if code == END_OF_PARTITION:
                yield TopicPartition(topic, partition), offset
            else:
                raise_if_hopeless(KafkaError(code, text), topic or None, self._group)
