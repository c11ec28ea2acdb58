"""When a transaction commits."""

from __future__ import annotations

import pytest

from broker_events.runtime.consume.commit_rule import CommitRule

INTERVAL_S = 0.1
MOST = 1000
TIMEOUT_S = 60.0


def test_what_is_read_to_its_end_commits_at_once() -> None:
    assert CommitRule(INTERVAL_S, MOST, TIMEOUT_S).is_due(0, 1, at_end=True)


def test_while_catching_up_it_is_a_matter_of_age_and_size() -> None:
    rule = CommitRule(INTERVAL_S, MOST, TIMEOUT_S)
    assert not rule.is_due(0.09, 999, at_end=False)
    assert rule.is_due(0.1, 1, at_end=False)
    assert rule.is_due(0, 1000, at_end=False)


@pytest.mark.parametrize(("took_s", "open_s"), [(0.001, 0.1), (0.02, 0.38), (0.05, 0.95), (3.0, 2.0)])
def test_commits_take_a_twentieth_of_the_time_at_most_up_to_a_limit(took_s: float, open_s: float) -> None:
    rule = CommitRule(INTERVAL_S, MOST, TIMEOUT_S)
    rule.committed(took_s)
    assert not rule.is_due(open_s - 1e-6, 1, at_end=False)
    assert rule.is_due(open_s + 1e-6, 1, at_end=False)
    rule.committed(0)
    assert rule.is_due(INTERVAL_S, 1, at_end=False)


@pytest.mark.parametrize(("took_s", "rest_s"), [(0.005, 0.015), (0.02, 0.06), (0.05, INTERVAL_S)])
def test_a_source_that_trickles_commits_for_a_quarter_of_the_time(took_s: float, rest_s: float) -> None:
    rule = CommitRule(INTERVAL_S, MOST, TIMEOUT_S)
    assert rule.rest_s == INTERVAL_S
    rule.committed(took_s)
    assert rule.rest_s == pytest.approx(rest_s)


def test_one_slow_commit_hardly_changes_the_rest_and_many_do() -> None:
    rule = CommitRule(INTERVAL_S, MOST, TIMEOUT_S)
    rule.committed(0.005)
    rule.committed(0.015)
    assert rule.rest_s == pytest.approx(3 * 0.006)
    for _ in range(100):
        rule.committed(0.015)
    assert rule.rest_s == pytest.approx(3 * 0.015, rel=1e-3)


def test_an_outage_does_not_count_for_more_than_the_interval() -> None:
    rule = CommitRule(INTERVAL_S, MOST, TIMEOUT_S)
    rule.committed(0.001)
    rule.committed(50)
    assert rule.rest_s < 0.04


def test_where_the_broker_ends_transactions_soon_they_commit_long_before() -> None:
    rule = CommitRule(INTERVAL_S, MOST, 2.0)
    rule.committed(3.0)
    assert rule.is_due(0.4, 1, at_end=False)


def test_an_interval_that_is_set_longer_than_the_limit_holds() -> None:
    rule = CommitRule(3.0, MOST, TIMEOUT_S)
    rule.committed(3.0)
    assert not rule.is_due(2.9, 1, at_end=False)
    assert rule.is_due(3.0, 1, at_end=False)
