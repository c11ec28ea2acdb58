"""When quarantine is an alarm: by share, by a row, and when it is over."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from broker_events.runtime.quarantine.limit import QuarantineLimit

ALL = [*range(10)]


def by_share(share: float = 0.5, records: int = 20) -> QuarantineLimit:
    return QuarantineLimit(share, records, consecutive=0)


def in_a_row(consecutive: int) -> QuarantineLimit:
    return QuarantineLimit(share=1, records=1, consecutive=consecutive)


def counted(limit: QuarantineLimit, *batches: tuple[int, Sequence[int]]) -> list[bool]:
    return [limit.count(total, refused) is not None for total, refused in batches]


def test_a_share_needs_as_many_records_as_it_is_of() -> None:
    assert counted(by_share(), (10, ALL), (9, ALL[:9]), (1, [0])) == [False, False, True]


def test_a_share_is_exceeded_above_it_and_recovers_at_it() -> None:
    limit = by_share()
    assert counted(limit, (10, ALL), (10, [0])) == [False, True]
    assert counted(limit, (10, ALL[:9])) == [False], "10 of 20"
    assert counted(limit, (10, [0, 1])) == [True], "11 of 20"
    assert counted(limit, (10, []), (10, [])) == [False, False]


def test_a_large_batch_is_counted_whole() -> None:
    assert counted(by_share(), (100, range(50)), (100, range(51))) == [False, True]


def test_the_share_counts_no_more_batches_than_it_must() -> None:
    generator = random.Random(7)  # noqa: S311
    limit = by_share(0.3, 50)
    seen: list[tuple[int, int]] = []
    for _ in range(500):
        total = generator.randint(1, 30)
        refused = sorted(generator.sample(range(total), generator.randint(0, total // 2)))
        seen.append((total, len(refused)))
        last: list[tuple[int, int]] = []
        for each in reversed(seen):
            if sum(total for total, _ in last) >= 50:
                break
            last.append(each)
        records, bad = sum(total for total, _ in last), sum(bad for _, bad in last)
        assert counted(limit, (total, refused)) == [records >= 50 and bad > 0.3 * records]


def test_a_row_goes_on_from_batch_to_batch() -> None:
    limit = in_a_row(25)
    assert counted(limit, (10, ALL), (10, ALL), (10, ALL[:4])) == [False, False, False]
    assert counted(limit, (10, ALL), (10, ALL), (10, ALL[:5])) == [False, False, True]
    assert counted(limit, (10, [])) == [False]


def test_a_row_inside_a_batch_is_seen_though_it_has_ended() -> None:
    assert counted(in_a_row(3), (10, [2, 3, 4]), (10, [2, 3, 5, 6])) == [True, False]


def test_a_row_is_broken_at_either_end_of_a_batch() -> None:
    assert counted(in_a_row(4), (10, [8, 9]), (10, [0, 1]), (10, [7, 8]), (10, [0, 1])) == [False, True, False, False]


@pytest.mark.parametrize("limit", [QuarantineLimit(1, 1, 0), QuarantineLimit(1, 1, 100_000)])
def test_switched_off(limit: QuarantineLimit) -> None:
    assert counted(limit, *[(10, ALL)] * 1000) == [False] * 1000


def test_what_is_said_names_the_setting() -> None:
    assert by_share().count(20, range(11)) == "11 of the last 20 records were quarantined (QUARANTINE_LIMIT_SHARE 0.5)"
    assert in_a_row(3).count(9, range(4)) == "4 consecutive records were quarantined (QUARANTINE_LIMIT_CONSECUTIVE 3)"
