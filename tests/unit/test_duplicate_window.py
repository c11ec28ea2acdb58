"""The duplicate window against a list that forgets nothing."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas import native_code
from schemas.body_hash import body_hash
from schemas.duplicate_window import DuplicateWindow, PlainDuplicateWindow, duplicate_window

Make = Callable[[int], DuplicateWindow]
WINDOWS = pytest.mark.parametrize("make", [PlainDuplicateWindow, duplicate_window], ids=["plain", "usual"])

# Few ids and bodies, so that they meet again; long enough for several generations.
EVENTS = st.lists(st.tuples(st.integers(0, 25).map(str), st.sampled_from([b"", b"a", b"b"])), max_size=150)
SIZES = st.integers(1, 12)


class Seen(Enum):
    NEW = 0
    DUPLICATE = 1
    CONFLICT = 2


def put(window: DuplicateWindow, event_id: str, value: bytes) -> Seen:
    """What the router does with an event that can be typed."""
    body, known = body_hash(value), window.body(event_id)
    if known is None:
        window.remember(event_id, body)
        return Seen.NEW
    return Seen.DUPLICATE if known == body else Seen.CONFLICT


@pytest.fixture(params=["plain", "usual"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without native code."""
    if request.param == "plain":
        monkeypatch.setattr(native_code, "native", None)


@WINDOWS
def test_the_three_answers(make: Make) -> None:
    window = make(10)
    assert put(window, "1", b"a") is Seen.NEW
    assert put(window, "1", b"a") is Seen.DUPLICATE
    assert put(window, "1", b"b") is Seen.CONFLICT
    assert put(window, "1", b"a") is Seen.DUPLICATE, "the first body is the one that counts"
    assert put(window, "2", b"a") is Seen.NEW


@pytest.mark.usefixtures("way")
def test_an_envelope_that_was_stamped_anew_is_the_same_event() -> None:
    body = body_hash(b'{"id":"1","timestamp":"2026-01-01T00:00:00Z","payload":{"a":1}}')
    assert body == body_hash(b'{"id":"1","timestamp":"2026-01-01T00:00:09Z","payload":{"a":1}}')
    assert body != body_hash(b'{"id":"1","timestamp":"2026-01-01T00:00:00Z","payload":{"a":2}}')


@pytest.mark.usefixtures("way")
def test_a_payload_that_is_named_with_an_escape_is_compared_too() -> None:
    event = b'{"id":"1","p\\u0061yload":{"a":%d},"note":"payload"}'
    assert body_hash(event % 1) != body_hash(event % 2)


@WINDOWS
@given(SIZES, EVENTS)
def test_nothing_is_forgotten_within_its_size(make: Make, size: int, events: list[tuple[str, bytes]]) -> None:
    """An event of which fewer than `size` new ones have come since it was new is known."""
    window = make(size)
    remembered: list[tuple[str, bytes]] = []
    for event_id, body in events:
        seen = put(window, event_id, body)
        first = dict(remembered[-size:]).get(event_id)
        if first is not None:
            assert seen is (Seen.DUPLICATE if body == first else Seen.CONFLICT)
        if seen is Seen.NEW:
            remembered.append((event_id, body))


@WINDOWS
@given(SIZES, EVENTS)
def test_nothing_is_known_that_never_came(make: Make, size: int, events: list[tuple[str, bytes]]) -> None:
    window = make(size)
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


@WINDOWS
@given(st.integers(0, 12), EVENTS)
def test_memory_is_bounded(make: Make, size: int, events: list[tuple[str, bytes]]) -> None:
    window = make(size)
    for event_id, body in events:
        put(window, event_id, body)
        assert len(window) <= 2 * size


@WINDOWS
def test_without_a_window_everything_is_new(make: Make) -> None:
    window = make(0)
    assert [put(window, "1", b"a") for _ in range(3)] == [Seen.NEW] * 3


@given(st.binary(), st.binary())
def test_a_hash_is_of_64_bits_and_of_the_body_alone(head: bytes, body: bytes) -> None:
    value = head.replace(b"\\", b"").replace(b'"payload"', b"") + b'"payload":' + body
    assume(value.find(b'"payload"') == len(value) - len(body) - len(b'"payload":'))
    for native in (native_code.native, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native_code, "native", native)
            assert body_hash(value) == body_hash(b'{"payload":' + body) != body_hash(value + b" ")
            assert -(2**63) <= body_hash(value) < 2**63
