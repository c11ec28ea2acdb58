"""Events stamped after their receipt: they apply, and make no event with a true time stale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_events import HK, HOUR, MAX_SKEW_US, SECOND, US, Arrived, account_update, event, fold, transfer
from test_rules_laws import CHANGES, interleave

from broker_events.processors.rules import Flag

MAX_SKEW = MAX_SKEW_US * 1000
YEAR = 365 * 24 * HOUR


def snapshot(codes: list[str], *, stamped: int, received: int | None = None) -> Arrived:
    made = account_update(codes, ns=stamped, event_id=f"{stamped}/{received}")
    return Arrived(made, stamped if received is None else received)


def fired(*events: Arrived | dict[str, Any]) -> list[tuple[str, str]]:
    return [(alert["status"], alert["subject"]) for alert in fold(*events).alerts]


@pytest.mark.parametrize("ahead", [SECOND, 59 * SECOND, 61 * SECOND, 8 * HOUR, 7000 * YEAR])
def test_a_snapshot_stamped_ahead_mutes_no_later_one(ahead: int) -> None:
    events = (
        snapshot([], stamped=0),
        snapshot([], stamped=5 * SECOND + ahead, received=5 * SECOND),
        snapshot([HK], stamped=10 * SECOND),
        snapshot([HK, US], stamped=3 * HOUR),
    )
    assert fired(*events) == [("FIRING", "HK"), ("FIRING", "US")]


def test_a_snapshot_stamped_ahead_has_its_own_alerts_and_keeps_its_time() -> None:
    ahead = snapshot([HK], stamped=8 * HOUR, received=SECOND)
    folded = fold(snapshot([], stamped=0), ahead)
    (alert,) = folded.alerts
    assert alert["event_time_text"] == ahead.event["event_time_text"]
    assert folded.state["restrictions"]["event_time"] == ahead.event["event_time"]
    assert folded.state["restrictions"]["arrival"]["order_time"] == account_update([], ns=0)["event_time"]


def test_in_a_file_received_hours_later_the_year_9999_mutes_nothing() -> None:
    events = (
        snapshot([HK], stamped=0, received=9 * HOUR),
        snapshot([], stamped=7000 * YEAR, received=9 * HOUR),
        snapshot([HK], stamped=10 * SECOND, received=9 * HOUR),
    )
    assert fired(*events) == [("FIRING", "HK"), ("RESOLVED", "HK"), ("FIRING", "HK")]


@pytest.mark.parametrize("latency", [0, 30 * SECOND, 60 * SECOND])
def test_behind_a_slightly_fast_clock_an_event_of_the_last_minute_counts(latency: int) -> None:
    events = (
        snapshot([], stamped=HOUR + 10 * SECOND, received=HOUR),
        snapshot([HK], stamped=HOUR - latency, received=HOUR + SECOND),
    )
    assert fired(*events) == [("FIRING", "HK")]


def test_behind_a_slightly_fast_clock_an_old_event_is_still_stale() -> None:
    folded = fold(
        snapshot([HK], stamped=HOUR + 10 * SECOND, received=HOUR),
        snapshot([], stamped=HOUR - MAX_SKEW - SECOND, received=HOUR + SECOND),
    )
    assert folded.state["restrictions"]["codes"] == [HK]
    assert folded.flags == [Flag.STALE]


def test_a_clock_that_is_fast_all_the_time_leaves_the_order_of_arrival() -> None:
    codes: Sequence[list[str]] = ([HK], [], [US], [HK, US])
    events = [snapshot(each, stamped=(n + 5) * SECOND, received=n * SECOND) for n, each in enumerate(codes)]
    expected = [("FIRING", "HK"), ("RESOLVED", "HK"), ("FIRING", "US"), ("FIRING", "HK")]
    assert fired(*events) == expected


def test_a_bridge_whose_clock_is_set_back_loses_no_event() -> None:
    events = (
        snapshot([], stamped=HOUR),
        snapshot([HK], stamped=HOUR + SECOND, received=HOUR - 30 * SECOND),
        snapshot([HK, US], stamped=HOUR + 2 * SECOND, received=HOUR - 29 * SECOND),
    )
    assert fired(*events) == [("FIRING", "HK"), ("FIRING", "US")]


def test_a_receipt_is_anywhere_in_its_millisecond() -> None:
    state = fold(snapshot([HK], stamped=SECOND + 999_999, received=SECOND)).state
    assert state["restrictions"]["arrival"] is None


@pytest.mark.parametrize(("since", "until"), [(7000 * YEAR, 2 * SECOND), (SECOND, 8 * HOUR)])
def test_a_duration_from_or_to_an_impossible_time_is_left_out(since: int, until: int) -> None:
    folded = fold(
        snapshot([HK], stamped=since, received=SECOND),
        snapshot([], stamped=until, received=2 * SECOND),
    )
    resolved = folded.alerts[-1]
    assert resolved["status"] == "RESOLVED"
    assert resolved["restriction"] is not None
    assert resolved["restriction"]["duration_us"] is None


def test_a_duration_by_a_slightly_fast_clock_is_never_below_zero() -> None:
    folded = fold(
        snapshot([HK], stamped=30 * SECOND, received=SECOND),
        snapshot([], stamped=2 * SECOND, received=2 * SECOND),
    )
    assert folded.alerts[-1]["restriction"]
    assert folded.alerts[-1]["restriction"]["duration_us"] == 0


def test_a_movement_goes_on_behind_a_status_stamped_ahead() -> None:
    completed = Arrived(transfer("COMPLETED", ns=7000 * YEAR), SECOND)
    returned = Arrived(transfer("RETURNED", ns=2 * SECOND), 2 * SECOND)
    folded = fold(completed, returned)
    assert (folded.state["status"], folded.flags) == ("RETURNED", [])
    assert [entry["status"] for entry in folded.state["history"]] == ["COMPLETED", "RETURNED"]
    assert folded.alerts[0]["transfer"]
    assert folded.alerts[0]["transfer"]["completed_event_id"] == completed.event["event_id"]
    assert folded.alerts[0]["transfer"]["elapsed_us"] is None


def test_a_completion_with_a_true_time_is_preferred_to_one_without() -> None:
    impossible = Arrived(transfer("COMPLETED", ns=7000 * YEAR), SECOND)
    completed, returned = transfer("COMPLETED", ns=2 * SECOND), transfer("RETURNED", ns=3 * SECOND)
    for order in ((impossible, completed, returned), (completed, impossible, returned)):
        evidence = fold(*order).alerts[0]["transfer"]
        assert evidence
        assert evidence["completed_event_id"] == completed["event_id"]
        assert evidence["elapsed_us"] == 1_000_000


def test_what_several_topics_state_ranks_an_impossible_time_below_every_true_one() -> None:
    impossible = Arrived(event("ACCOUNT_RESTRICT", "documented-risk", ns=7000 * YEAR), 2 * SECOND)
    true = event("ACCOUNT_UNRESTRICTED", "documented-risk", ns=SECOND)
    for order in ((impossible, true), (true, impossible)):
        assert fold(*order).state["restrict_infos"]["biz_type"] == "ACCOUNT_UNRESTRICTED"


def test_what_several_topics_state_takes_a_slightly_fast_clock_by_the_receipt() -> None:
    restrict = event("ACCOUNT_RESTRICT", "documented-risk", ns=SECOND)
    fast = Arrived(event("ACCOUNT_UNRESTRICTED", "documented-risk", ns=30 * SECOND), 2 * SECOND)
    again = event("ACCOUNT_RESTRICT", "documented-risk", ns=3 * SECOND)
    assert fold(restrict, fast).state["restrict_infos"]["biz_type"] == "ACCOUNT_UNRESTRICTED"
    assert fold(restrict, fast, again).state["restrict_infos"]["event_id"] == again["event_id"]


# Reading the same events again.


def test_two_snapshots_of_one_instant_that_are_read_again_alert_no_second_time() -> None:
    events = (account_update([HK], ns=5, event_id="A"), account_update([], ns=5, event_id="B"))
    once, twice = fold(*events), fold(*events, times=2)
    assert [alert["status"] for alert in twice.alerts] == ["FIRING", "RESOLVED"]
    assert twice.states == once.states


def test_a_recreated_topic_begins_with_0_and_its_events_count() -> None:
    # All in one topic, whose offsets begin again at each call of `fold`.
    first = [snapshot([HK] * (n % 2), stamped=n * SECOND + HOUR, received=n * SECOND) for n in range(9)]
    state = fold(*first).state
    assert state["restrictions"]["arrival"]["typed_offset"] == 8
    fired_again = fold(*first, snapshot([HK], stamped=11 * SECOND + HOUR, received=10 * SECOND))
    assert fired_again.alerts[-1]["status"] == "FIRING"


# Laws.

TIMES = st.sampled_from([0, 1, 1_000, SECOND, MAX_SKEW, MAX_SKEW + SECOND, HOUR, 3 * HOUR, 7000 * YEAR])
RECEIPTS = st.sampled_from([0, SECOND, MAX_SKEW, HOUR, HOUR + SECOND, 3 * HOUR])
CODES = st.lists(st.sampled_from([HK, US]), max_size=2, unique=True)


@st.composite
def topics(draw: st.DrawFn) -> list[list[Arrived]]:
    """For each event type, what its topic holds of one account, with arbitrary clocks of broker and bridge."""
    drawn = []
    for biz_type, (name, changes) in CHANGES.items():
        values = st.fixed_dictionaries({"ns": TIMES, **changes})
        topic = draw(st.lists(st.tuples(values, RECEIPTS), max_size=4))
        drawn.append(
            [
                Arrived(event(biz_type, name, **{**each, "event_id": f"{biz_type}-{n}"}), received)
                for n, (each, received) in enumerate(topic)
            ]
        )
    return drawn


@settings(max_examples=150)
@given(topics(), st.data())
def test_whatever_the_clocks_states_and_alerts_do_not_depend_on_how_the_topics_interleave(
    drawn: list[list[Arrived]], data: st.DataObject
) -> None:
    in_turn = [number for number, topic in enumerate(drawn) for _ in topic]
    one = fold(*interleave(drawn, in_turn))
    other = fold(*interleave(drawn, data.draw(st.permutations(in_turn))))
    assert one.states == other.states
    assert {alert["alert_id"]: alert for alert in one.alerts} == {alert["alert_id"]: alert for alert in other.alerts}


@settings(max_examples=150)
@given(topics())
def test_whatever_the_clocks_folding_the_same_events_again_changes_nothing(drawn: list[list[Arrived]]) -> None:
    events = [each for topic in drawn for each in topic]
    once, twice = fold(*events), fold(*events, times=2)
    assert twice.states == once.states
    assert twice.alerts == once.alerts


def test_folding_a_movement_again_whose_history_is_cut_changes_nothing() -> None:
    events = [transfer("PENDING", ns=n % 5, event_id=f"e{n}") for n in range(40)]
    assert fold(*events, times=2).states == fold(*events).states


@settings(max_examples=150)
@given(st.lists(st.tuples(CODES, TIMES, RECEIPTS), max_size=10))
def test_a_true_time_is_stale_only_because_of_what_can_not_have_happened_before_it(
    drawn: list[tuple[list[str], int, int]],
) -> None:
    events = [
        Arrived(account_update(codes, ns=stamped, event_id=f"e{n}"), received)
        for n, (codes, stamped, received) in enumerate(drawn)
    ]
    for number, (codes, stamped, received) in enumerate(drawn):
        if stamped // 1_000_000 > received // 1_000_000:
            continue
        least = [
            its if its // 1_000_000 <= at // 1_000_000 else at - MAX_SKEW
            for _, its, at in drawn[:number]
            if its - at <= MAX_SKEW
        ]
        if all(stamped >= time for time in least):
            folded = fold(*events[: number + 1])
            assert folded.state["restrictions"]["codes"] == codes
            assert folded.state["restrictions"]["event_id"] == f"e{number}"
