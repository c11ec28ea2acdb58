"""The clock of this machine against the cluster's."""

from __future__ import annotations

import re
from typing import Any
from unittest.mock import Mock

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, KafkaError

from broker_events.runtime.kafka.cluster_clock import ClusterClock
from broker_events.runtime.process.errors import OperatorActionRequired

NOW_S = 1_800_000_000.0


def clock_after(*, ahead_s: float, took_s: float = 0.0, error: object = None, kind: int = 0) -> ClusterClock:
    """A clock whose record was `took_s` under way, on a machine so far ahead of the cluster."""
    times = iter((NOW_S + ahead_s, NOW_S + ahead_s + took_s))
    clock = ClusterClock(60, lambda: next(times))
    message = Mock(**{"timestamp.return_value": (kind or TIMESTAMP_LOG_APPEND_TIME, int((NOW_S + took_s / 2) * 1000))})
    made_up: Any = error
    clock.sent()(made_up, message)
    return clock


@pytest.mark.parametrize("ahead_s", [0, 59, -59])
@pytest.mark.parametrize("took_s", [0, 1, 300])
def test_clocks_may_differ_a_little_and_records_may_take_their_time(ahead_s: float, took_s: float) -> None:
    clock_after(ahead_s=ahead_s, took_s=took_s).verify()


@pytest.mark.parametrize(
    ("ahead_s", "said"),
    [
        (3000, "says 2027-01-15T08:50:00Z, the Kafka cluster's 2027-01-15T08:00:00Z: it is 3,000 s ahead of it"),
        (
            -40 * 86_400,
            "says 2026-12-06T08:00:00Z, the Kafka cluster's 2027-01-15T08:00:00Z: it is 3,456,000 s behind it",
        ),
    ],
)
def test_a_wrong_clock_is_named_with_both_times(ahead_s: float, said: str) -> None:
    with pytest.raises(OperatorActionRequired, match=re.escape(said)) as raised:
        clock_after(ahead_s=ahead_s).verify()
    assert "PIPELINE_MAX_CLOCK_SKEW_S" in str(raised.value)


def test_a_clock_that_is_set_right_is_right() -> None:
    clock = clock_after(ahead_s=3000)
    clock.compare(NOW_S * 1000, int(NOW_S * 1000), NOW_S * 1000)
    clock.verify()


def test_a_report_without_the_clusters_time_says_nothing() -> None:
    clock_after(ahead_s=3000, kind=TIMESTAMP_CREATE_TIME).verify()
    clock_after(ahead_s=3000, error=KafkaError(KafkaError.INVALID_TIMESTAMP)).verify()
