"""The duplicate window against a list that forgets nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.duplicates import DuplicateWindow, Seen, body_hash

# Few ids and bodies, so that they meet again; long enough for several generations.
EVENTS = st.lists(st.tuples(st.integers(0, 25).map(str), st.sampled_from([b"", b"a", b"b"])), max_size=150)
SIZES = st.integers(1, 12)


def put(window: DuplicateWindow, event_id: str, value: bytes) -> Seen:
    """What the router does with an event that can be typed."""
    seen = window.check(event_id, body_hash(value))
    if seen is Seen.NEW:
        window.remember(event_id, body_hash(value))
    return seen


def test_the_three_answers() -> None:
    window = DuplicateWindow(10)
    assert put(window, "1", b"a") is Seen.NEW
    assert put(window, "1", b"a") is Seen.DUPLICATE
    assert put(window, "1", b"b") is Seen.CONFLICT
    assert put(window, "1", b"a") is Seen.DUPLICATE, "the first body is the one that counts"
    assert put(window, "2", b"a") is Seen.NEW


def test_an_envelope_that_was_stamped_anew_is_the_same_event() -> None:
    body = body_hash(b'{"id":"1","timestamp":"2026-01-01T00:00:00Z","payload":{"a":1}}')
    assert body == body_hash(b'{"id":"1","timestamp":"2026-01-01T00:00:09Z","payload":{"a":1}}')
    assert body != body_hash(b'{"id":"1","timestamp":"2026-01-01T00:00:00Z","payload":{"a":2}}')


def test_a_payload_that_is_named_with_an_escape_is_compared_too() -> None:
    event = b'{"id":"1","p\\u0061yload":{"a":%d},"note":"payload"}'
    assert body_hash(event % 1) != body_hash(event % 2)


@given(SIZES, EVENTS)
def test_nothing_is_forgotten_within_its_size(size: int, events: list[tuple[str, bytes]]) -> None:
    """An event of which fewer than `size` new ones have come since it was new is known."""
    window = DuplicateWindow(size)
    remembered: list[tuple[str, bytes]] = []
    for event_id, body in events:
        seen = put(window, event_id, body)
        first = dict(remembered[-size:]).get(event_id)
        if first is not None:
            assert seen is (Seen.DUPLICATE if body == first else Seen.CONFLICT)
        if seen is Seen.NEW:
            remembered.append((event_id, body))


@given(SIZES, EVENTS)
def test_nothing_is_known_that_never_came(size: int, events: list[tuple[str, bytes]]) -> None:
    window = DuplicateWindow(size)
    came: dict[str, set[bytes]] = {}
    for event_id, body in events:
        seen = put(window, event_id, body)
        if event_id not in came:
            assert seen is Seen.NEW
        if seen is Seen.DUPLICATE:
            assert body in came[event_id]
        if seen is Seen.CONFLICT:
            assert came[event_id] - {body}
        came.setdefault(event_id, set()).add(body)


@given(st.integers(0, 12), EVENTS)
def test_memory_is_bounded(size: int, events: list[tuple[str, bytes]]) -> None:
    window = DuplicateWindow(size)
    for event_id, body in events:
        put(window, event_id, body)
        assert len(window) <= 2 * size


def test_without_a_window_everything_is_new() -> None:
    window = DuplicateWindow(0)
    assert [put(window, "1", b"a") for _ in range(3)] == [Seen.NEW] * 3
