"""Alerts between committed offset and position: lanes, bounds, and what a commit says."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from broker_events.sinks.deliver.finished_offsets import decode_finished, encode_finished
from broker_events.sinks.deliver.window import MOST_ALERTS, MOST_OFFSETS, READ_AHEAD, Progress, Waiting, Window


def waiting(offset: int, key: str, partition: int = 0, size: int = 1) -> Waiting[str]:
    return Waiting(partition, offset, key.encode(), size, f"{key}{offset}")


def filled(*keys: str) -> Window[str]:
    window: Window[str] = Window()
    window.assign(0, 10, frozenset())
    for offset, key in enumerate(keys, 10):
        window.add(waiting(offset, key))
    return window


def test_an_account_is_in_order_and_holds_no_other_up() -> None:
    window = filled("a", "a", "b", "a")
    first, other = window.take(0), window.take(0)
    assert first is not None
    assert other is not None
    assert (first.content, other.content) == ("a10", "b12")
    assert window.take(0) is None
    window.finish(other)
    assert dict(window.progress()) == {0: Progress(10, frozenset({12}))}
    window.retry(first, 5.0)
    assert window.take(4.9) is None
    assert window.take(5.0) is first
    window.finish(first)
    second = window.take(5)
    assert second is not None
    assert second.content == "a11"
    assert dict(window.progress()) == {0: Progress(11, frozenset({12}))}


def test_everything_finished_commits_the_position_over_markers() -> None:
    window = filled("a", "b")
    for _ in range(2):
        taken = window.take(0)
        assert taken is not None
        window.finish(taken)
    window.advance(0, 15)
    assert dict(window.progress()) == {0: Progress(15, frozenset())}


def test_what_was_finished_before_a_restart_is_known() -> None:
    window: Window[str] = Window()
    window.assign(0, 10, frozenset({12, 13}))
    assert [window.is_finished(0, offset) for offset in (10, 12, 13, 14)] == [False, True, True, False]
    window.add(waiting(10, "a"))
    window.pass_over(0, 12)
    taken = window.take(0)
    assert taken is not None
    window.finish(taken)
    assert dict(window.progress()) == {0: Progress(13, frozenset())}


def test_a_recovery_makes_delayed_alerts_due_in_order() -> None:
    window = filled("a", "b", "c")
    taken = [window.take(0) for _ in range(3)]
    for each in reversed(taken):
        assert each is not None
        window.retry(each, 1000 - each.offset)
    early = window.take_early()
    assert early is not None
    assert early.content == "c12"
    window.retry(early, 2000)
    window.hurry()
    contents = [each.content for _ in range(3) if (each := window.take(0)) is not None]
    assert contents == ["a10", "b11", "c12"]


def test_memory_is_bounded() -> None:
    window: Window[str] = Window()
    window.assign(0, 0, frozenset())
    window.assign(1, 0, frozenset())
    for offset in range(MOST_ALERTS):
        assert window.held() == []
        window.add(waiting(offset, "a"))
    assert window.held() == [0, 1]


def test_a_partition_whose_oldest_alert_waits_is_held_alone() -> None:
    window: Window[str] = Window()
    window.assign(0, 0, frozenset())
    window.assign(1, 0, frozenset())
    window.add(waiting(0, "stuck"))
    window.take(0)
    for offset in range(1, MOST_OFFSETS - READ_AHEAD):
        window.add(waiting(offset, "b"))
        taken = window.take(0)
        assert taken is not None
        window.finish(taken)
    assert window.held() == [0]
    ((_, progress), _) = window.progress()
    note = encode_finished(*progress)
    assert note is not None
    assert len(note) < 3500
    assert decode_finished(progress.offset, note) == progress.finished


@given(st.sets(st.integers(1, MOST_OFFSETS)), st.integers(0, 2**60))
def test_finished_offsets_survive_their_note(places: set[int], offset: int) -> None:
    finished = frozenset(offset + place for place in places)
    assert decode_finished(offset, encode_finished(offset, finished)) == finished


def test_the_note_of_any_offsets_fits() -> None:
    chosen = random.Random(1).sample(range(1, MOST_OFFSETS), MOST_OFFSETS // 2)  # noqa: S311 (not a secret)
    assert len(encode_finished(0, chosen) or "") < 3500


def test_a_foreign_note_means_nothing_is_finished() -> None:
    assert decode_finished(5, "no base64!") == decode_finished(5, "AAAA") == decode_finished(5, None) == frozenset()
