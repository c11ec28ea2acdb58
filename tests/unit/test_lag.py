"""How long records wait, from offsets and times."""

from __future__ import annotations

import pytest

from broker_events.runtime.consume.lag import PartitionLag


def test_nothing_waits_where_all_is_read() -> None:
    lag = PartitionLag()
    assert lag.seconds(position=0, end=0, newest_read_s=None, now_s=100.0) == 0
    assert lag.seconds(position=10, end=11, newest_read_s=90.0, now_s=200.0) == 0, "a marker is no record"
    assert lag.seconds(position=10, end=11, newest_read_s=90.0, now_s=9000.0) == 0


def test_a_record_of_a_quiet_topic_waits_since_it_came_not_since_the_one_before() -> None:
    lag = PartitionLag()
    lag.seconds(position=10, end=11, newest_read_s=100.0, now_s=5000.0)
    assert lag.seconds(position=10, end=13, newest_read_s=100.0, now_s=5002.0) == 0
    assert lag.seconds(position=10, end=13, newest_read_s=100.0, now_s=5032.0) == 30
    assert lag.seconds(position=12, end=13, newest_read_s=5002.0, now_s=5034.0) == 0


def test_the_oldest_unread_one_counts_while_more_come() -> None:
    lag = PartitionLag()
    lag.seconds(position=0, end=0, newest_read_s=None, now_s=0.0)
    for second in range(1, 5000):
        waited = lag.seconds(position=0, end=second * 10, newest_read_s=None, now_s=float(second))
        assert waited == second - 1
    assert len(lag._ends) <= 1000
    halfway = lag.seconds(position=25_000, end=50_000, newest_read_s=2500.0, now_s=5000.0)
    assert halfway == pytest.approx(2500, rel=0.01)
    assert lag.seconds(position=50_000, end=50_000, newest_read_s=5000.0, now_s=5000.0) == 0


def test_what_was_unread_before_the_first_look_is_as_old_as_what_was_read_last() -> None:
    lag = PartitionLag()
    assert lag.seconds(position=0, end=1000, newest_read_s=None, now_s=7200.0) == 0
    assert lag.seconds(position=0, end=1000, newest_read_s=None, now_s=7202.0) == 2
    assert lag.seconds(position=500, end=1000, newest_read_s=3600.0, now_s=7204.0) == 3604
    assert lag.seconds(position=999, end=1000, newest_read_s=7000.0, now_s=7206.0) == 0
