"""Changes for an Alertmanager: each is sent until it is accepted, and its outcome says what happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from broker_events.sinks.deliver.alertmanager_changes import Assignment, Change, Due
from broker_events.sinks.deliver.alertmanager_set import Entry
from broker_events.sinks.deliver.delivery_record import AlertPlace
from broker_events.sinks.deliver.retry_rule import Answer
from broker_events.sinks.deliver.window import Progress

START = datetime(2026, 1, 1, tzinfo=UTC)
DOWN = Answer(problem="Connection refused", connected=False)


def change(offset: int, key: str, *, is_resolved: bool = False) -> Change:
    alert_id = f"{key}{offset}"
    found = Entry({"condition": key}, "", alert_id, is_resolved, START, START)
    return Change(AlertPlace(0, offset, alert_id, "RULE", None), key, found)


def begun() -> Assignment:
    made = Assignment(timedelta(seconds=30), {0: Progress(0, frozenset())})
    made.reached_end(0, of_active=True)
    return made


def due_at(assignment: Assignment, after: timedelta = timedelta()) -> Due:
    return assignment.due(START + after, after.total_seconds())


def admit(assignment: Assignment, *changes: Change) -> None:
    assignment.admit(changes, {0: changes[-1].place.offset + 1}, 0)
    assignment.reached_end(0, of_active=False)


def ids(due: Due) -> list[str]:
    return sorted(alert["annotations"]["alert_id"] for alert in due.alerts)


def outcomes(assignment: Assignment, due: Due) -> dict[str | None, tuple[str, int]]:
    assignment.attempted(due, Answer(200))
    finished = assignment.finish(due, ())
    return {each.change.place.alert_id: (each.outcome, each.attempts.number) for each in finished}


def test_what_is_raised_while_the_alertmanager_is_down_is_sent() -> None:
    assignment = begun()
    admit(assignment, change(0, "a"))
    assignment.attempted(due_at(assignment), DOWN)
    admit(assignment, change(1, "b"))
    due = due_at(assignment, timedelta(minutes=1))
    assert ids(due) == ["a0", "b1"]
    assert assignment.progress() == {0: Progress(0, frozenset())}
    assert outcomes(assignment, due) == {"a0": ("DELIVERED", 2), "b1": ("DELIVERED", 2)}
    assert assignment.progress() == {0: Progress(2, frozenset())}
    # The next ones have attempts of their own.
    admit(assignment, change(2, "c"))
    due = due_at(assignment, timedelta(minutes=2))
    assert "c2" in ids(due)
    assert outcomes(assignment, due) == {"c2": ("DELIVERED", 1)}


def test_an_occurrence_outlives_an_outage_and_is_kept_for_an_hour_from_then() -> None:
    assignment = begun()
    admit(assignment, change(0, "a"), change(1, "b", is_resolved=True))
    for hour in range(5):
        due = due_at(assignment, timedelta(hours=hour))
        assert ids(due) == ["a0", "b1"]
        assignment.attempted(due, DOWN)
    assert outcomes(assignment, due_at(assignment, timedelta(hours=5))) == {
        "a0": ("DELIVERED", 6),
        "b1": ("DELIVERED", 6),
    }
    assert ids(due_at(assignment, timedelta(hours=5, minutes=14))) == ["a0", "b1"]
    assert ids(due_at(assignment, timedelta(hours=5, minutes=59))) == ["a0"]
    assert ids(due_at(assignment, timedelta(hours=6))) == []


def test_only_a_later_alert_of_the_same_key_supersedes() -> None:
    assignment = begun()
    admit(assignment, change(0, "a"), change(1, "a", is_resolved=True), change(2, "b"))
    due = due_at(assignment)
    assert ids(due) == ["a1", "b2"]
    assert outcomes(assignment, due) == {"a0": ("SKIPPED", 0), "a1": ("DELIVERED", 1), "b2": ("DELIVERED", 1)}


def test_a_later_alert_supersedes_one_that_no_alertmanager_took() -> None:
    assignment = begun()
    admit(assignment, change(0, "a"))
    assignment.attempted(due_at(assignment), DOWN)
    admit(assignment, change(1, "a", is_resolved=True))
    due = due_at(assignment, timedelta(minutes=1))
    assert ids(due) == ["a1"]
    assert outcomes(assignment, due) == {"a0": ("SKIPPED", 0), "a1": ("DELIVERED", 2)}


def test_an_alert_that_is_rejected_is_given_up_alone() -> None:
    assignment = begun()
    admit(assignment, change(0, "a"), change(1, "b"))
    due = due_at(assignment)
    assignment.attempted(due, Answer(200))
    assert [each.outcome for each in assignment.finish(due, {"a0"})] == ["GIVEN_UP", "DELIVERED"]


def test_changes_that_come_during_a_request_wait_for_the_next_one() -> None:
    assignment = begun()
    admit(assignment, change(0, "a"))
    due = due_at(assignment)
    admit(assignment, change(1, "b"))
    assert outcomes(assignment, due) == {"a0": ("DELIVERED", 1)}
    assert assignment.progress() == {0: Progress(1, frozenset())}
    due = due_at(assignment, timedelta(seconds=1))
    assert "b1" in ids(due)
    assert outcomes(assignment, due) == {"b1": ("DELIVERED", 1)}
