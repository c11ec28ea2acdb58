"""Records on their way from the consumer to an agent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from broker_events.runtime.consume.record import KafkaRecord, KafkaRecords, TopicPartition

Partitions = Mapping[TopicPartition, KafkaRecords]


class RecordBatch:
    """Records by partition, each in offset order. A context manager: leaving it says that the batch is done."""

    def __init__(self, partitions: Partitions, done: asyncio.Future[None]) -> None:
        self.partitions = partitions
        self.done = done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        """Hand an error to the source, which ends the process: the agent must not go on without it."""
        if self.done.done():
            return False
        if error is None:
            self.done.set_result(None)
            return False
        self.done.set_exception(error)
        return not isinstance(error, asyncio.CancelledError)


class Part(NamedTuple):
    """Some of the records of a fetch, and the bytes of their values by topic."""

    partitions: Partitions
    sizes: Counter[str]


def limited(partitions: Partitions, limit: int) -> Iterator[Part]:
    """The same records in parts of at most `limit` bytes of values, or of one record where that has more."""
    sizes: Counter[str] = Counter()
    for tp, records in partitions.items():
        sizes[tp.topic] += sum(map(len, records))
    if sizes.total() <= limit:
        if partitions:
            yield Part(partitions, sizes)
        return
    part: dict[TopicPartition, list[KafkaRecord]] = {}
    part_sizes: Counter[str] = Counter()
    for tp, records in partitions.items():
        for record in records:
            if part and part_sizes.total() + len(record) > limit:
                yield Part(part, part_sizes)
                part, part_sizes = {}, Counter()
            part.setdefault(tp, []).append(record)
            part_sizes[tp.topic] += len(record)
    yield Part(part, part_sizes)
