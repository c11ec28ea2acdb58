"""Records on their way from the consumer to an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from runtime.record import Record, TopicPartition

Partitions = dict[TopicPartition, list[Record]]


class RecordBatch:
    """Records by partition, each list in offset order. A context manager: leaving it says that the batch is done."""

    def __init__(self, partitions: Mapping[TopicPartition, list[Record]], done: asyncio.Future[None]) -> None:
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


def limited(partitions: Partitions, limit: int) -> Iterator[Partitions]:
    """The same records in parts of at most `limit` bytes of values, or of one record where that has more."""
    if sum(len(record) for records in partitions.values() for record in records) <= limit:
        if partitions:
            yield partitions
        return
    part: Partitions = {}
    size = 0
    for tp, records in partitions.items():
        for record in records:
            if part and size + len(record) > limit:
                yield part
                part, size = {}, 0
            part.setdefault(tp, []).append(record)
            size += len(record)
    yield part
