"""How many of the records that were fetched are one batch."""

from __future__ import annotations

from collections import Counter
from typing import Any
from unittest.mock import MagicMock

from broker_events.runtime.consume.record import Part, TopicPartition, limited

FIRST, SECOND, THIRD = TopicPartition("one", 0), TopicPartition("one", 1), TopicPartition("other", 0)


def record(size: int) -> Any:
    return MagicMock(__len__=lambda _: size)


def test_what_is_within_the_limit_stays_together() -> None:
    partitions = {FIRST: [record(3), record(4)], SECOND: [record(2)], THIRD: [record(5)]}
    assert list(limited(partitions, 14)) == [Part(partitions, Counter(one=9, other=5))]
    assert list(limited({}, 14)) == []


def test_more_comes_in_parts_in_the_order_of_each_partition() -> None:
    a, b, large, c, d = record(3), record(4), record(100), record(5), record(6)
    assert list(limited({FIRST: [a, b, large], THIRD: [c, d]}, 9)) == [
        Part({FIRST: [a, b]}, Counter(one=7)),
        Part({FIRST: [large]}, Counter(one=100)),
        Part({THIRD: [c]}, Counter(other=5)),
        Part({THIRD: [d]}, Counter(other=6)),
    ]


def test_a_part_may_hold_the_end_of_one_partition_and_the_beginning_of_the_next() -> None:
    a, b, c, d = record(6), record(2), record(3), record(1)
    assert list(limited({FIRST: [a, b], SECOND: [c], THIRD: [d]}, 7)) == [
        Part({FIRST: [a]}, Counter(one=6)),
        Part({FIRST: [b], SECOND: [c], THIRD: [d]}, Counter(one=5, other=1)),
    ]
