"""The duplicate window against a list that forgets nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_events.native import extension
from broker_events.runtime.events.body_hash import body_hash
from broker_events.runtime.events.duplicate_window import DuplicateWindow, PythonDuplicateWindow, duplicate_window

Make = Callable[[int], DuplicateWindow]
WINDOWS = pytest.mark.parametrize("make", [PythonDuplicateWindow, duplicate_window], ids=["plain", "usual"])

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
        monkeypatch.setattr(extension, "native", None)


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


PAYLOAD: dict[str, Any] = {"a": "x/y", "é": [1, {"b": None, "c": True}], "n": 150, "o": {"p": "", "q": [[]]}}


def spelled(value: Any, number: int) -> str:
    """A text of the value: the order of members, blanks, escapes and spellings of numbers depend on `number`."""
    blank = ["", " ", "\n\t"][number % 3]
    if isinstance(value, dict):
        members = [f"{spelled(name, number)}{blank}:{blank}{spelled(member, number)}" for name, member in value.items()]
        return "{" + blank + f",{blank}".join(members[:: -1 if number % 2 else 1]) + blank + "}"
    if isinstance(value, list):
        return "[" + f"{blank},".join([spelled(item, number) for item in value]) + "]"
    if isinstance(value, str) and number % 5 == 1:
        return '"' + "".join(f"\\u{ord(character):04x}" for character in value) + '"'
    if isinstance(value, int) and not isinstance(value, bool):
        return [f"{value}", f"{value}.00", f"{value / 100}e+2", f"{value}0E-1"][number % 4]
    return json.dumps(value, ensure_ascii=number % 2 == 0)


def event(payload: str, before: str = "", after: str = "") -> bytes:
    return f'{{"id":"1"{before},"payload":{payload}{after}}}'.encode()


@pytest.mark.usefixtures("way")
def test_what_means_the_same_is_the_same() -> None:
    stamps = ["", ',"timestamp":"a"', ',"position":{"payload":1},"x\\u0079":"\\""']
    events = [
        padding + event(spelled(PAYLOAD, number), before, after) + padding
        for number in range(60)
        for before in stamps
        for after in stamps
        for padding in (b"", b"\xef\xbb\xbf \x00")
    ]
    assert len({body_hash(value) for value in events}) == 1


OTHERS: list[Any] = [
    PAYLOAD | {"a": "x\\/y"},
    PAYLOAD | {"n": 15},
    PAYLOAD | {"n": -150},
    PAYLOAD | {"n": "150"},
    PAYLOAD | {"n": None},
    PAYLOAD | {"n": False},
    PAYLOAD | {"n": []},
    PAYLOAD | {"n": {}},
    PAYLOAD | {"é": [{"b": None, "c": True}, 1]},
    PAYLOAD | {"é": [1, {"b": True, "c": None}]},
    PAYLOAD | {"o": {"p": "", "q": []}},
    PAYLOAD | {"o": {"p": "", "q": [[]], "r": None}},
    {name: value for name, value in PAYLOAD.items() if name != "n"},
    PAYLOAD | {"a": PAYLOAD["n"], "n": PAYLOAD["a"]},
    {},
]


@pytest.mark.usefixtures("way")
def test_what_means_something_else_is_not() -> None:
    hashes = {body_hash(event(json.dumps(payload))) for payload in [PAYLOAD, *OTHERS]}
    assert len(hashes) == len(OTHERS) + 1


@pytest.mark.usefixtures("way")
def test_of_a_repeated_member_the_last_counts() -> None:
    assert body_hash(event('{"a":1,"b":0,"a":2}')) == body_hash(event('{"a":2,"b":0}'))
    assert body_hash(event('{"a":1,"a":2}')) != body_hash(event('{"a":2,"a":1}'))
    assert body_hash(event('{"x":{"a":1,"a":2}}')) == body_hash(event('{"x":{"a":2}}'))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("deep", [60, 250, 300])
def test_a_deep_payload_has_a_hash(deep: int) -> None:
    one, other = ('{"x":' + "[" * deep + text + "]" * deep + "}" for text in ("1", " 1.0 "))
    assert body_hash(event(one)) == body_hash(event(other)) != body_hash(event('{"x":1}'))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("exponent", ["999999999", "9" * 30, "-" + "9" * 100_000, "0" * 100_000 + "1"])
def test_a_huge_exponent_costs_nothing(exponent: str) -> None:
    assert body_hash(event(f'{{"n":1e{exponent}}}')) != body_hash(event(f'{{"n":2e{exponent}}}'))


@given(st.binary())
def test_a_hash_is_of_64_bits_whatever_the_value_is(value: bytes) -> None:
    for native in (extension.native, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(extension, "native", native)
            assert body_hash(value) == body_hash(bytes(value))
            assert -(2**63) <= body_hash(value) < 2**63
