"""When a delivery is tried again, given up, or held for a receiver as a whole."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker_events.sinks.deliver.retry_rule import SCHEDULE_S, Answer, ReceiverHealth, Retries, Verdict, verdict

AFTER = timedelta(hours=75)
DOWN = Answer(problem="Connection refused", connected=False)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(200), Verdict.DELIVERED),
        (Answer(204), Verdict.DELIVERED),
        (Answer(302), Verdict.NOT_READY),
        (Answer(401), Verdict.NOT_READY),
        (Answer(403), Verdict.NOT_READY),
        (Answer(404), Verdict.NOT_READY),
        (Answer(410), Verdict.NOT_READY),
        (Answer(400), Verdict.REJECTED),
        (Answer(413), Verdict.REJECTED),
        (Answer(422), Verdict.REJECTED),
        (Answer(408), Verdict.FAILED),
        (Answer(500), Verdict.FAILED),
        (Answer(429), Verdict.BUSY),
        (Answer(502), Verdict.BUSY),
        (Answer(503), Verdict.BUSY),
        (Answer(504), Verdict.BUSY),
        (Answer(problem="no complete answer in time"), Verdict.FAILED),
        (DOWN, Verdict.BUSY),
    ],
)
def test_what_an_answer_means(answer: Answer, expected: Verdict) -> None:
    assert verdict(answer) is expected


def test_the_schedule_is_that_of_standard_webhooks() -> None:
    retries, now_s, waits = Retries(), 0.0, []
    while (due_s := retries.next_s(Verdict.FAILED, now_s, AFTER)) is not None:
        waits.append(due_s - now_s)
        now_s = due_s
    assert tuple(waits[:8]) == SCHEDULE_S[:8]
    assert now_s == AFTER.total_seconds()


def test_a_rejected_alert_has_five_attempts() -> None:
    retries = Retries()
    assert [retries.next_s(Verdict.REJECTED, 100, AFTER) for _ in range(5)] == [105, 105, 105, 105, None]


def test_failures_before_a_rejection_are_no_rejections() -> None:
    retries = Retries()
    for now_s in range(4):
        retries.next_s(Verdict.BUSY, now_s, AFTER)
    assert [retries.next_s(Verdict.REJECTED, 100, AFTER) for _ in range(5)] == [105, 105, 105, 105, None]


def test_only_rejections_in_a_row_count() -> None:
    retries = Retries()
    for _ in range(4):
        retries.next_s(Verdict.REJECTED, 0, AFTER)
    retries.next_s(Verdict.FAILED, 0, AFTER)
    assert retries.next_s(Verdict.REJECTED, 100, AFTER) == 105


def test_a_receiver_that_is_not_ready_loses_nothing() -> None:
    retries = Retries()
    for hour in range(1000):
        assert retries.next_s(Verdict.NOT_READY, hour * 3600, AFTER) is not None
    # Set up at last: the first failure after it begins the schedule, and the time until it is given up.
    began_s = 3_600_000.0
    assert retries.next_s(Verdict.FAILED, began_s, AFTER) == began_s + SCHEDULE_S[0]
    assert retries.next_s(Verdict.FAILED, began_s + AFTER.total_seconds(), AFTER) is None


def test_one_bad_account_is_no_bad_receiver() -> None:
    health = ReceiverHealth()
    for _ in range(10):
        health.note(Verdict.FAILED, "a", Answer(500), 0)
    assert not health.is_failing
    health.note(Verdict.FAILED, "b", Answer(500), 0)
    health.note(Verdict.DELIVERED, "c", Answer(200), 0)
    health.note(Verdict.FAILED, "d", Answer(500), 0)
    assert not health.is_failing


def test_three_accounts_in_a_row_are() -> None:
    health = ReceiverHealth()
    for lane in "abc":
        health.note(Verdict.FAILED, lane, Answer(500), 7)
    assert health.is_failing
    assert health.held_until_s == 8
    assert health.note(Verdict.DELIVERED, "a", Answer(200), 9)
    assert not health.is_failing


def test_pauses_grow_to_a_minute_and_retry_after_counts() -> None:
    health = ReceiverHealth()
    pauses = []
    for number in range(8):
        now_s = number * 1000.0
        health.note(Verdict.BUSY, "a", DOWN, now_s)
        pauses.append(health.held_until_s - now_s)
    assert pauses == [1, 2, 5, 10, 30, 60, 60, 60]
    health.note(Verdict.BUSY, "a", Answer(429, retry_after_s=120), 10_000)
    assert health.held_until_s == 10_120
    health.note(Verdict.BUSY, "a", Answer(429, retry_after_s=10**8), 20_000)
    assert health.held_until_s == 23_600
