"""The route of an event, by biz_type."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_events.native import extension
from broker_events.processors.routing import Route, Routing, find_route
from broker_events.runtime.events import event_reader
from broker_events.runtime.events.body_hash import body_hash
from broker_events.runtime.events.duplicate_window import PythonDuplicateWindow, duplicate_window
from broker_events.runtime.events.transcoder import Transcoder
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.invalid_event import InvalidEvent, Reason

EVENTS = load_catalog().events
CREDIT = Route(
    "CREDIT", "FUNDING", "broker.event.credit", Transcoder(EVENTS["CREDIT"], 1), EVENTS["CREDIT"].account_key
)
CLOSE = Route(
    "ACCOUNT_CLOSE", "ACCOUNT", "broker.event.account-close", Transcoder(EVENTS["ACCOUNT_CLOSE"], 2), ("account_id",)
)
ROUTES = {"CREDIT": CREDIT, "ACCOUNT_CLOSE": CLOSE}


def event(event_type: str, **payload: Any) -> dict[str, Any]:
    return {"id": "1", "event_type": event_type, "timestamp": "", "payload": payload}


def test_a_known_biz_type_has_its_route() -> None:
    assert find_route(event("FUNDING", biz_type="CREDIT"), ROUTES) is CREDIT
    assert find_route(event("ACCOUNT", biz_type="ACCOUNT_CLOSE"), ROUTES) is CLOSE


@pytest.mark.parametrize(
    ("refused", "reason", "pointer"),
    [
        (event("FUNDING"), Reason.MISSING_FIELD, "/payload/biz_type"),
        (event("FUNDING", biz_type=None), Reason.MISSING_FIELD, "/payload/biz_type"),
        (event("FUNDING", biz_type=1), Reason.WRONG_TYPE, "/payload/biz_type"),
        (event("FUNDING", biz_type=["CREDIT"]), Reason.WRONG_TYPE, "/payload/biz_type"),
        (event("FUNDING", biz_type=""), Reason.UNKNOWN_BIZ_TYPE, "/payload/biz_type"),
        (event("FUNDING", biz_type="credit"), Reason.UNKNOWN_BIZ_TYPE, "/payload/biz_type"),
        (event("FUNDING", biz_type="CREDIT "), Reason.UNKNOWN_BIZ_TYPE, "/payload/biz_type"),
        (event("ACCOUNT", biz_type="CREDIT"), Reason.UNKNOWN_EVENT_TYPE, "/event_type"),
        (event("", biz_type="CREDIT"), Reason.UNKNOWN_EVENT_TYPE, "/event_type"),
    ],
)
def test_what_has_no_route_says_why(refused: dict[str, Any], reason: Reason, pointer: str) -> None:
    with pytest.raises(InvalidEvent) as raised:
        find_route(refused, ROUTES)
    assert (raised.value.reason, raised.value.pointer) == (reason, pointer)


def test_a_long_value_is_quoted_in_part() -> None:
    with pytest.raises(InvalidEvent) as raised:
        find_route(event("FUNDING", biz_type="X" * 10_000), ROUTES)
    assert len(raised.value.detail) < 200


SAMPLES = [
    path.read_bytes()
    for contract in EVENTS.values()
    for path in sorted(contract.folder.glob("samples/accept/documented-*.json"))
    if not path.name.endswith(".record.json")
]


@contextmanager
def without_native_code() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extension, "native", None)
        yield


def test_the_same_without_native_code() -> None:
    ids = {contract.topics[0].name: number for number, contract in enumerate(EVENTS.values())}

    def routed() -> list[tuple[str | None, bytes | None]]:
        routing, window = Routing(EVENTS, ids, "test.{}".format, 10_000), duplicate_window(100)
        typed = [routing.type(value, b"key", window) for value in SAMPLES * 2]
        assert routing.duplicate_keys == 1
        return [(route and route.topic, value) for route, value, _ in typed]

    fast = routed()
    with without_native_code():
        assert routed() == fast
    assert [value for _, value in fast].count(None) == len(SAMPLES), "the second time around"


def test_what_is_wrong_is_the_same_without_native_code() -> None:
    """Native code reports where the search for a fault begins; of two faults the first is reported."""

    def faults() -> list[tuple[object, ...]]:
        routing, found = Routing(EVENTS, IDS, "test.{}".format, 10_000), []
        for value in SAMPLES:
            event = json.loads(value)
            for first, second in itertools.combinations(event["payload"], 2):
                broken = event | {"payload": event["payload"] | {first: True, second: [[]]}}
                try:
                    routing.type(json.dumps(broken).encode(), b"key", duplicate_window(0))
                except InvalidEvent as problem:
                    found.append(problem.args)
        return found

    fast = faults()
    assert len({pointer for _, pointer, _ in fast}) > 20
    with without_native_code():
        assert faults() == fast


SAMPLE = next(value for value in SAMPLES if b'"CREDIT"' in value)
OTHER_BODY = SAMPLE.replace(b'"status"', b'"note":"","status"')
IDS = {contract.topics[0].name: number for number, contract in enumerate(EVENTS.values())}


def written(*members: str) -> bytes:
    return f"{{{','.join(members)}}}".encode()


HEAD = [f'"{name}":{json.dumps(value)}' for name, value in json.loads(SAMPLE).items() if name != "payload"]
BODY = json.dumps(json.loads(SAMPLE)["payload"])
PLAIN = [
    written(f'"payload":{BODY}', *HEAD),
    written(HEAD[0], f'"payload":{BODY}', *HEAD[1:]),
    written(*HEAD, f'"payload" : {BODY} '),
    written(*HEAD, f'"payload":{BODY}') + b" \n",
]
ODD = [
    written(*HEAD),
    written(*HEAD, f'"payload":{BODY}', f'"payload":{BODY}'),
    written(*HEAD, '"payload":1', f'"payload":{BODY}'),
    written(*HEAD, f'"payload":{BODY}', '"payload":null'),
    written(*HEAD, '"payload":null'),
    written(*HEAD, '"payload":{}'),
    written(*HEAD, f'"payload":[{BODY}]'),
    written(*HEAD, f'"payl\\u006fad":{BODY}'),
    written(*HEAD, f'"payl\\u006fad":{BODY}', f'"payload":{BODY}'),
    written(*HEAD, f'"payload":{BODY[:-1]},"a":[1}}]}}'),
    written(*HEAD, f'"payload":{BODY[:-1]}'),
    written(*HEAD, f'"payload":{BODY[:-1]},}}'),
    written(*HEAD, f'"payload":{BODY}')[:-1],
    written(*HEAD, f'"payload":{BODY}') + b"}",
    written(*HEAD, f'"payload":{BODY}')[:-1] + b',"\\',
]


def test_native_code_and_the_python_path_agree_wherever_the_payload_is() -> None:
    def outcomes() -> list[object]:
        routing, found = Routing(EVENTS, IDS, "test.{}".format, 10_000), list[object]()
        for value in PLAIN + ODD:
            try:
                route, typed, _ = routing.type(value, b"key", duplicate_window(0))
                found.append((route and route.topic, typed, routing.duplicate_keys))
            except InvalidEvent as problem:
                found.append(problem.args)
        return found

    reader = event_reader.EventReader([event_reader.Readable(EVENTS["CREDIT"], 1, "credit")])
    assert [reader.read(value) is not None for value in PLAIN + ODD] == [True] * len(PLAIN) + [False] * len(ODD)
    fast = outcomes()
    with without_native_code():
        assert outcomes() == fast


class Partition:
    """A raw partition and what a router makes of it: the topic, None for a duplicate, or the reason."""

    def __init__(self, without: str = "") -> None:
        self.window = duplicate_window(100)
        self.upgrade(without)

    def upgrade(self, without: str = "") -> None:
        """Go on with all contracts but one."""
        contracts = {biz_type: contract for biz_type, contract in EVENTS.items() if biz_type != without}
        self.routing = Routing(contracts, IDS, str, 10_000)

    def put(self, value: bytes, key: bytes | None = b"key") -> str | None:
        try:
            route, typed, _ = self.routing.type(value, key, self.window)
        except InvalidEvent as problem:
            return problem.reason.value
        assert route is not None
        return None if typed is None else route.topic


def test_a_rejected_event_is_judged_again_when_it_comes_again() -> None:
    partition = Partition()
    assert [partition.put(SAMPLE, key=None) for _ in range(2)] == ["no_account"] * 2
    assert partition.put(SAMPLE) == "event.credit"
    assert partition.put(SAMPLE) is None
    assert partition.put(OTHER_BODY) == "id_conflict"


STAMPED = json.loads(SAMPLE) | {"timestamp": "2031-01-01T00:00:00Z", "position": "other"}
REORDERED = {"payload": dict(reversed(STAMPED["payload"].items()))} | STAMPED


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(STAMPED).encode(),
        json.dumps(REORDERED, indent=1).encode(),
        b"\xef\xbb\xbf" + json.dumps(REORDERED).encode() + b"\x00",
        json.dumps(REORDERED).replace('"status"', '"\\u0073tatus"').encode(),
        SAMPLE.replace(b'"status"', b'"note":{"a":[1],"b":2},"status"'),
    ],
)
def test_duplicates_are_found_by_the_meaning_of_the_payload(value: bytes) -> None:
    same = b'"note"' not in value
    for first, second in ((SAMPLE, value), (value, SAMPLE)):
        partition = Partition()
        assert [partition.put(first), partition.put(second)] == ["event.credit", None if same else "id_conflict"]
        restored = Partition()
        restored.window.remember(*restored.routing.identity(first))
        assert restored.put(second) == (None if same else "id_conflict")


def test_an_event_that_gets_a_contract_is_typed_once() -> None:
    partition = Partition(without="CREDIT")
    assert partition.put(SAMPLE) == "unknown_biz_type"
    partition.upgrade()
    assert [partition.put(SAMPLE) for _ in range(2)] == ["event.credit", None]


@pytest.mark.parametrize("value", [SAMPLE, SAMPLE.replace(b"{", b'{"new":1e999,', 1)], ids=["plain", "unusual"])
def test_id_and_body_hash_of_an_event_can_be_read_alone(value: bytes) -> None:
    assert Routing(EVENTS, IDS, str, 10_000).identity(value) == (json.loads(SAMPLE)["id"], body_hash(value))


def test_what_has_no_id_says_why() -> None:
    with pytest.raises(InvalidEvent, match="not_json"):
        Routing(EVENTS, IDS, str, 10_000).identity(b"{")


def test_an_event_too_large_for_its_topic_is_rejected() -> None:
    routing = Routing(EVENTS, IDS, str, 100)
    with pytest.raises(InvalidEvent, match="too_large"):
        routing.type(SAMPLE, b"key", duplicate_window(1))


def traced(value: bytes) -> bytes:
    return value.replace(b"{", b'{"traceparent":"00-1-2-3",', 1)


def simulated(value: bytes) -> bytes:
    return value.replace(b"{", b'{"simulated":true,', 1)


MARKED = [traced(SAMPLE), simulated(SAMPLE)]
VALUES = [
    SAMPLE,
    *MARKED,
    OTHER_BODY,
    *SAMPLES[:3],
    *ODD[:2],
    SAMPLE.replace(b'"id":"', b'"id":"\xc3\xa9'),
]
STEPS = st.tuples(st.sampled_from(VALUES), st.sampled_from([None, b"", b"key"]), st.integers(0, 2))


# Between 0 and all, native code may know more than Python: a window holds at least so many.
@given(st.lists(STEPS, max_size=30), st.sampled_from([0, 30]), st.integers(150, 400))
def test_step_by_step_the_same_without_native_code(
    steps: list[tuple[bytes, bytes | None, int]], size: int, limit: int
) -> None:
    """Few events that come again, with or without a key, some too large, known or not remembered."""

    def outcomes() -> list[object]:
        routing, window, found = Routing(EVENTS, IDS, str, limit), duplicate_window(size), list[object]()
        for value, key, hidden in steps:
            try:
                route, typed, traced = routing.type(
                    value.replace(b"{", b"{" + value[1 : value.index(b",") + 1] * hidden, 1), key, window
                )
                found.append((route and route.topic, typed, traced))
            except InvalidEvent as problem:
                found.append(problem.args)
            found.append((len(window), routing.duplicate_keys))
        return found

    fast = outcomes()
    with without_native_code():
        assert outcomes() == fast


@pytest.mark.parametrize("value", [*SAMPLES, *MARKED])
def test_documented_events_are_routed_by_native_code(value: bytes) -> None:
    (one,) = (one for one in EVENTS.values() if one.biz_type == json.loads(value)["payload"]["biz_type"])
    reader, window = event_reader.EventReader([event_reader.Readable(one, 7, "label")]), duplicate_window(1)
    read = reader.read(value)
    assert read is not None
    label, event_id, typed, hidden, is_traced, body = read
    assert reader.hidden == 0
    assert reader.route(value, b"key", window, len(typed) + 3) == (label, typed, is_traced)
    assert (reader.hidden, window.body(event_id)) == (hidden, body)
    assert is_traced == (b"traceparent" in value or b"simulated" in value)
    assert reader.route(value, b"key", window, 10_000) == (label, None, False)
    assert reader.hidden == hidden


def test_what_native_code_leaves_to_the_python_path_is_not_remembered() -> None:
    reader = event_reader.EventReader([event_reader.Readable(EVENTS["CREDIT"], 7, "label")])
    read = reader.read(SAMPLE)
    assert read is not None
    window, size = duplicate_window(9), len(read[2])
    assert isinstance(reader.route(SAMPLE, None, window, 10_000), int), "no key"
    assert isinstance(reader.route(SAMPLE, b"key", window, size + 2), int), "too large"
    assert len(window) == 0
    assert not isinstance(reader.route(SAMPLE, b"key", window, size + 3), int)
    assert isinstance(reader.route(OTHER_BODY, b"key", window, 10_000), int), "another body"
    assert window.body(read[1]) == read[5]


def test_native_code_of_another_version_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    class Older:
        DuplicateWindow = PythonDuplicateWindow

        class EventReader:
            def __init__(self, _routes: object) -> None: ...

            def route(self, _value: bytes | None) -> int:
                return 0

    monkeypatch.setattr(extension, "native", Older)
    with pytest.raises(TypeError, match="positional arguments"):
        Routing(EVENTS, IDS, str, 10_000)


def without_account_ids(biz_type: str) -> dict[str, Any]:
    """The first sample, which names its account by nothing but what can stand in for the broker's id."""
    samples = sorted((EVENTS[biz_type].folder / "samples" / "accept").glob("documented*.json"))
    event: dict[str, Any] = json.loads(next(path for path in samples if ".record" not in path.name).read_bytes())
    payload = {name: value for name, value in event["payload"].items() if name not in ("account_id", "account")}
    return {**event, "payload": {**payload, "account_number": "5KT05001", "client_request_id": "r-1"}}


STRICT = sorted(biz_type for biz_type, contract in EVENTS.items() if contract.account_key is not None)


@pytest.mark.parametrize("biz_type", STRICT)
def test_an_event_without_the_account_id_that_its_documents_have_is_refused(biz_type: str) -> None:
    event = without_account_ids(biz_type)
    empty = {**event, "payload": {**event["payload"], "account_id": ""}}
    for way in (contextlib.nullcontext, without_native_code):
        with way():
            partition = Partition()
            for refused in (event, empty):
                assert partition.put(json.dumps(refused).encode(), b"5KT05001") == "no_account"
            account = {**event, "payload": {**event["payload"], "account_id": "A-1"}}
            assert partition.put(json.dumps(account).encode(), b"A-1") == EVENTS[biz_type].topics[0].name
            assert not partition.routing.without_account_id


def test_an_event_that_may_come_before_its_account_exists_is_typed_and_counted() -> None:
    assert set(EVENTS) - set(STRICT) == {"ACCOUNT_INFO_UPDATE"}
    event = json.dumps(without_account_ids("ACCOUNT_INFO_UPDATE")).encode()
    for way in (contextlib.nullcontext, without_native_code):
        with way():
            partition = Partition()
            assert partition.put(event, b"5KT05001") == "event.account-info-update"
            assert partition.routing.without_account_id == {"ACCOUNT_INFO_UPDATE": 1}
