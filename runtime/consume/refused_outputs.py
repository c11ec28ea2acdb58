"""Finds the record whose output Kafka refuses, by reading again with fewer records per transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from broker_events.runtime.consume.record import KafkaRecord, Partitions, TopicPartition
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.schemas.invalid_event import InvalidEvent

log = logging.getLogger(__name__)

# While Kafka refuses a record, each further attempt has this much fewer records, down to one.
_NARROWS: Final = 8

_At = tuple[TopicPartition, int]


class RefusedOutputs:
    """Knows the records whose output Kafka refuses, and how many records a transaction may have meanwhile."""

    def __init__(self, most_records: int) -> None:
        """`most_records`: limit of a transaction while Kafka refuses nothing."""
        self.most_records = most_records
        self._usual = most_records
        self._problems: dict[_At, InvalidEvent] = {}
        self._once: set[_At] = set()  # refused once, alone in their transactions

    def acceptable(self, partitions: Partitions, refuse: Callable[[KafkaRecord, InvalidEvent], None]) -> Partitions:
        """Return the records whose output Kafka has not refused; pass the others to `refuse`."""
        if not self._problems:
            return partitions
        left: dict[TopicPartition, list[KafkaRecord]] = {}
        for tp, records in partitions.items():
            for record in records:
                if (problem := self._problems.get((tp, record.offset()))) is None:
                    left.setdefault(tp, []).append(record)
                else:
                    refuse(record, problem)
        return left

    def narrow(self, why: Exception, problem: InvalidEvent, given: Mapping[TopicPartition, int], read: int) -> None:
        """Note that Kafka refused a transaction of `read` records; `given`: the last offset of each partition in it.

        The record is known once it was refused twice alone. Raises OperatorActionRequired if Kafka also refuses its
        quarantine record.
        """
        if read > 1:
            self.most_records = max(read // _NARROWS, 1)
            log.warning("%s; reading again with at most %d records per transaction", why, self.most_records)
            return
        [at] = given.items()
        if at in self._problems:
            raise OperatorActionRequired(
                f"{why}: it is the quarantine record. Compare the topics: broker-events topics diff"
            )
        log.warning("%s[%d]@%d: %s", *at[0], at[1], why)
        if at in self._once:
            self._problems[at] = problem
        self._once.add(at)  # once may be chance, such as a topic that is just being changed

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Forget records below these offsets (next offset to read), and let the next transaction have more records."""
        self._problems = {at: problem for at, problem in self._problems.items() if at[1] >= offsets[at[0]]}
        self._once = {at for at in self._once if at[1] >= offsets[at[0]]}
        self.most_records = min(self.most_records * 2, self._usual)

    def clear(self) -> None:
        """Forget every record: other partitions are assigned."""
        self._problems.clear()
        self._once.clear()
