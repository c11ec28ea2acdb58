"""Fetching records by partition: as Python objects, or as records that native code holds."""

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

# A fetch response arrives one partition at a time. A fetch with few records waits this long for the rest of it;
# otherwise they would wait for the next commit.
_GATHER_S: Final = 0.001
_FEW: Final = 200


class Fetched(NamedTuple):
    """Parts to process in order, and the end offset of each partition that was read to its end."""

    parts: Iterable[Part]
    ends: dict[TopicPartition, int]


class Fetch(Protocol):
    """Fetches from a consumer of the group `group`. Rebalance callbacks run during a fetch.

    Logs errors that librdkafka recovers from. Raises OperatorActionRequired or RestartRequired for others.
    """

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Call it before these partitions are assigned to the consumer."""

    def revoke(self) -> None:
        """Call it when the assigned partitions are revoked."""

    def fetch(self, wait_s: float, most: int, part_bytes: int) -> Fetched | None:
        """Wait for a first record, return at most `most` records; None if neither a record nor an end arrived.

        The values of a part have about `part_bytes` at most.
        """

    def close(self) -> None:
        """Release the fetched records. Call it before the consumer closes."""


def fetch_of(consumer: Consumer, client: Client | None, group: str) -> Fetch:
    """Return the native passthrough if native code has the consumer as `client`, otherwise the Python path."""
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
        self._revoked.clear()  # earlier revocations came before `first`
        messages = [first, *self._consumer.consume(most - 1, 0)]
        few = min(_FEW, most)
        if len(messages) < few:
            messages += self._consumer.consume(few - len(messages), _GATHER_S)
        partitions, ends = self._by_partition(messages)
        for tp in self._revoked:  # a rebalance during this fetch: the next owner reads these records
            if tp in self._assigned and tp in partitions:
                raise RestartRequired(f"{tp.topic}[{tp.partition}] was revoked and assigned again within one fetch")
            partitions.pop(tp, None)
            ends.pop(tp, None)
        return Fetched(limited(partitions, part_bytes), ends)

    def close(self) -> None:
        """Do nothing: Python objects release their records."""

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

    Records arrive by a queue of their own. Rebalances arrive by the consumer's queue, which is served before each
    fetch: no rebalance comes between a fetch and its batch. It may wait for up to `wait_s`. librdkafka drops what was
    fetched for an earlier assignment: each operation has the version of its partition's assignment.
    """

    def __init__(self, consumer: Consumer, client: Client, group: str) -> None:
        from broker_events.native._native import Reader  # noqa: PLC0415 (a client means that the module exists)

        self._consumer = consumer
        self._group = group
        self._reader: Reader = Reader(client)
        self._assigned: set[TopicPartition] = set()

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        if self._assigned:  # ending the old ones later would stop partitions that are in both
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
                f"the reader returned one partition in two groups: {[(of.topic, of.partition) for of in records]}"
            )
        assigned = {tp: of for tp, of in partitions.items() if tp in self._assigned}  # the next owner reads the others
        sizes: Counter[str] = Counter()
        for tp, of in assigned.items():
            sizes[tp.topic] += of.bytes
        return Fetched([Part(assigned, sizes)] if assigned else [], dict(self._ends(events)))

    def close(self) -> None:
        self._reader.close()

    def _look_at(self, message: Message) -> None:
        error = message.error()
        if error is None:
            raise RestartRequired(f"a record of {message.topic()} arrived by the consumer's own queue")
        raise_if_hopeless(error, message.topic(), self._group)

    def _ends(self, events: Iterable[tuple[str, int, int, int, str]]) -> Iterator[tuple[TopicPartition, int]]:
        for topic, partition, offset, code, text in events:
            if code == END_OF_PARTITION:
                yield TopicPartition(topic, partition), offset
            else:
                raise_if_hopeless(KafkaError(code, text), topic or None, self._group)
