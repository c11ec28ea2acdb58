"""The simulated broker's events: reproducible, with valid life cycles, and counted right."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_events.devstack.simulator.event import EVENT_TYPES, Event
from broker_events.devstack.simulator.faults import FaultKind, FaultPlan, InvalidFault, Trigger, parse_fault
from broker_events.devstack.simulator.malformed import MALFORMED_REASONS
from broker_events.devstack.simulator.positions import Positions, UnknownPosition
from broker_events.devstack.simulator.traffic import Traffic

START = 1_743_231_753_200_000_000
STEP = 1_000_037
BIZ_TYPES = {
    "ACCOUNT_UPDATE",
    "VIRTUAL_ACCOUNT_BCAN_UPDATE",
    "ACCOUNT_INFO_UPDATE",
    "ACCOUNT_RESTRICT",
    "ACCOUNT_UNRESTRICTED",
    "ACCOUNT_CLOSE",
    "FEE_DEDUCTION",
    "CREDIT",
    "INSTANT_FUNDING",
    "INSTANT_EXCHANGE",
    "EXCHANGE",
    "TRANSFER",
}


def _draw(traffic: Traffic, number: int, step: int = STEP) -> list[Event]:
    return [traffic.next(START + index * step) for index in range(number)]


def _without_times(event: Event) -> tuple[object, ...]:
    payload = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "", event.payload)
    return (*event._replace(timestamp="", payload=payload),)


def test_the_same_seed_gives_the_same_events() -> None:
    assert _draw(Traffic(7, 50), 5000) == _draw(Traffic(7, 50), 5000)
    assert _draw(Traffic(7, 50), 50) != _draw(Traffic(8, 50), 50)


def test_another_clock_changes_nothing_but_times() -> None:
    slow, fast = _draw(Traffic(7, 50), 5000), _draw(Traffic(7, 50), 5000, step=20_011)
    assert [_without_times(event) for event in slow] == [_without_times(event) for event in fast]


def test_every_business_type_comes_with_unique_ids_and_rising_times() -> None:
    events = _draw(Traffic(1, 100), 20_000)
    assert {event.biz_type for event in events} == BIZ_TYPES
    assert len({event.event_id for event in events}) == len(events)
    for event in events:
        assert re.fullmatch(r"event_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", event.event_id)
        assert re.fullmatch(r"2025-03-29T\d\d:\d\d:\d\d\.(\d{3}|\d{9})Z", event.timestamp)
    assert {len(event.timestamp) for event in events} == {24, 30}


@pytest.mark.parametrize("accounts", [3, 4, 40, 1000])
def test_life_cycles_are_valid(accounts: int) -> None:
    restricted: dict[str, set[str]] = defaultdict(set)
    completed: dict[str, dict[str, Any]] = {}
    closed: set[str] = set()
    requests: set[str] = set()
    for event in _draw(Traffic(3, accounts), 20_000):
        payload = json.loads(event.payload)
        assert event.account not in closed
        assert payload.get("account_id", payload.get("account")) == event.account
        codes = {item["restriction_code"] for item in payload.get("restrict_infos", ())}
        match event.biz_type:
            case "ACCOUNT_RESTRICT":
                assert codes >= restricted[event.account]
                assert codes
                restricted[event.account] = codes
            case "ACCOUNT_UNRESTRICTED":
                assert codes == restricted.pop(event.account)
            case "ACCOUNT_CLOSE" if payload["status"] == "APPROVED":
                assert not restricted[event.account]
                closed.add(event.account)
            case "TRANSFER":
                request = payload["client_request_id"]
                if payload["status"] == "RETURNED":
                    earlier = completed.pop(request)
                    changed = {"status", "reason", "update_time"}
                    assert {k: v for k, v in payload.items() if k not in changed} == {
                        k: v for k, v in earlier.items() if k not in changed
                    }
                else:
                    assert request not in requests
                if payload["status"] == "COMPLETED":
                    completed[request] = payload
                requests.add(request)
            case "EXCHANGE":
                assert ("fx_rate" in payload) == ("to_amount" in payload) == (payload["status"] == "COMPLETED")
            case _:
                pass
        for name in ("amount", "fee", "from_amount", "to_amount", "fx_rate"):
            assert re.fullmatch(r"\d+(\.\d+)?", payload.get(name, "0"))
    assert closed


def test_expected_alerts_equal_a_recount_from_the_payloads() -> None:
    traffic = Traffic(5, 60)
    held: dict[str, set[str]] = defaultdict(set)
    count: Counter[str] = Counter()
    for event in _draw(traffic, 30_000):
        payload = json.loads(event.payload)
        if payload["biz_type"] == "ACCOUNT_UPDATE":
            now = {code[:2] for code in payload["restrictions"] if code.endswith("_LIQUIDATE_ONLY")}
            before = held[payload["account_id"]]
            count["fired"] += len(now - before)
            count["resolved"] += len(before - now)
            held[payload["account_id"]] = now
        count["returned"] += payload["biz_type"] == "TRANSFER" and payload["status"] == "RETURNED"
    assert count["fired"] > 100
    assert count["resolved"] > 100
    assert count["returned"] > 100
    assert traffic.expected_alerts() == {
        "LIQUIDATE_ONLY": {
            "FIRING": count["fired"],
            "RESOLVED": count["resolved"],
            "active": sum(len(markets) for markets in held.values()),
        },
        "TRANSFER_RETURNED": {"FIRING": count["returned"]},
    }


def test_malformed_events_come_in_addition_and_are_counted() -> None:
    plain = _draw(Traffic(2, 20), 900)
    traffic = Traffic(2, 20, [parse_fault("malformed=/10", MALFORMED_REASONS)])
    events = _draw(traffic, 1000)
    valid = [event for event in events if event.malformed is None]
    assert [event.payload[:60] for event in valid] == [event.payload[:60] for event in plain]
    assert [number for number, event in enumerate(events, 1) if event.malformed] == list(range(10, 1001, 10))
    assert sum(traffic.malformed.values()) == 100
    assert set(traffic.malformed) == set(MALFORMED_REASONS)
    assert sum(traffic.by_biz_type.values()) == 900
    assert len({event.event_id for event in events}) == 1000


@pytest.mark.parametrize("reason", MALFORMED_REASONS)
def test_malformed_means_what_it_says(reason: str) -> None:
    (event,) = _draw(Traffic(2, 20, [parse_fault(f"malformed:{reason}=@1", MALFORMED_REASONS)]), 1)
    assert event.malformed == reason
    if reason in ("not_json", "too_deep"):
        with pytest.raises((ValueError, RecursionError)):
            json.loads(event.payload)
        return
    payload = json.loads(event.payload)
    amount, time = re.compile(r"\d+(\.\d+)?"), re.compile(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z")
    found: dict[str, Callable[[], bool]] = {
        "no_payload": lambda: isinstance(payload, str),
        "unknown_biz_type": lambda: payload["biz_type"] not in BIZ_TYPES,
        "no_account": lambda: not {"account", "account_id", "account_number", "client_request_id"} & payload.keys(),
        "missing_field": lambda: "status" not in payload,
        "wrong_type": lambda: not isinstance(payload["status"], str),
        "bad_amount": lambda: not amount.fullmatch(payload["amount"]),
        "bad_time": lambda: not time.fullmatch(payload["update_time"]),
    }
    assert [name for name, check in found.items() if name in (reason, "no_payload") and check()] == [reason]


@given(st.integers(0, 2**40 - 1), st.integers(0, 2**31))
def test_positions_come_back(sequence: int, seed: int) -> None:
    account, funding = (Positions(seed, event_type) for event_type in EVENT_TYPES)
    position = account.encode(sequence)
    assert account.decode(position) == sequence
    with pytest.raises(UnknownPosition):
        funding.decode(position)


@pytest.mark.parametrize("text", ["x", "CJO1fxACGAAgADAB", "5000", "AAAAAAAAAAAA", "é"])
def test_foreign_positions_are_unknown(text: str) -> None:
    with pytest.raises(UnknownPosition):
        Positions(1, "ACCOUNT").decode(text)


def test_the_order_of_positions_says_nothing() -> None:
    positions = [Positions(1, "ACCOUNT").encode(sequence) for sequence in range(100)]
    assert positions != sorted(positions)
    assert positions != sorted(positions, reverse=True)


def test_faults_are_read() -> None:
    fault = parse_fault("silence:30s=@10s", MALFORMED_REASONS)
    assert (fault.kind, fault.amount, fault.when.kind, fault.when.unit, fault.when.value) == (
        FaultKind.SILENCE,
        30,
        "once",
        "seconds",
        10,
    )
    assert parse_fault("replay=/5000", ()).amount == 100
    assert parse_fault("disconnect=0.25", ()).when.value == 0.25


@pytest.mark.parametrize(
    "text",
    [
        "disconnect",
        "disconnect=",
        "disconnect=0",
        "disconnect=2",
        "disconnect=@0",
        "disconnect=/0s",
        "disconnect:3=@5",
        "silence:soon=@1s",
        "duplicate:0=@1",
        "meteor=0.1",
        "malformed=@10s",
        "malformed:strange=0.1",
    ],
)
def test_wrong_faults_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidFault, match=re.escape(repr(text))):
        parse_fault(text, MALFORMED_REASONS)


def test_a_probability_hits_about_as_often_as_it_says_and_the_same_again() -> None:
    def points() -> list[int]:
        trigger = Trigger(parse_fault("end=0.01", ()), "seed")
        return [number for number in range(1, 100_001) if trigger.fire(number)]

    assert 900 < len(points()) < 1100
    assert points() == points()


def test_a_fault_strikes_a_returning_subscriber_once() -> None:
    plan = FaultPlan([parse_fault("disconnect=@100", ()), parse_fault("end=/5s", ())], seed=1)
    assert plan.next_events() == 100
    assert plan.due(99, 0) == []
    assert [fault.kind for fault in plan.due(100, 0)] == [FaultKind.DISCONNECT]
    assert plan.due(50, 4.9) == []
    assert [fault.kind for fault in plan.due(100, 17)] == [FaultKind.END]
    assert plan.next_seconds() == 20
    assert plan.struck == {"disconnect": 1, "end": 1}
