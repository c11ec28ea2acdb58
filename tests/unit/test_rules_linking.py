"""Every id of an event identifies its movement: one record, one history, one alert, in any order of arrival."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_events import ACCOUNT, SECOND, Folded, Memory, event, fold, transfer

from broker_events.processors.rules import Flag

Event = dict[str, Any]
KINDS = {
    "TRANSFER": ("client_request_id", "transfer_id"),
    "FEE_DEDUCTION": ("client_request_id", "fee_id", "instant_funding_id"),
}
PLACEHOLDERS = (
    "0",
    "00-00",
    "0.0",
    "N/A",
    "#n/a",
    "-",
    "-1",
    " ",
    "null",
    "(None)",
    "nil",
    "NaN",
    "\u00ad",
    "\uff10",
    "…",
    "❌",
)
STATUSES = ("PENDING", "COMPLETED", "RETURNED", "REJECTED")


def moved(status: str, ns: int, request: str | None, its_id: str | None, **changes: Any) -> Event:
    return transfer(status, ns=ns * SECOND, client_request_id=request, transfer_id=its_id, **changes)


def key(tail: str, biz_type: str = "TRANSFER") -> str:
    return f"{ACCOUNT}/{biz_type}/{tail}"


def aliases(folded: Folded) -> dict[str, str]:
    return {name: state["alias_of"] for name, state in folded.states.items() if state["alias_of"] is not None}


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_three_events_that_share_ids_in_pairs_are_one_movement(order: tuple[int, ...]) -> None:
    events = (moved("PENDING", 0, None, "T"), moved("COMPLETED", 1, "R", "T"), moved("RETURNED", 2, "R", None))
    folded = fold(*(events[number] for number in order))
    state = folded.state
    assert state["movement_id"] == key("R")
    assert (state["client_request_id"], state["system_ids"]) == ("R", {"transfer_id": "T"})
    assert [entry["status"] for entry in state["history"]] == ["PENDING", "COMPLETED", "RETURNED"]
    assert state["completed"]["event_id"] == events[1]["event_id"]
    assert set(aliases(folded)) <= {key("T")}
    (alert,) = folded.alerts
    assert alert["event_id"] == events[2]["event_id"]
    assert alert["dedup_key"] == f"TRANSFER_RETURNED/{ACCOUNT}/R"


def test_the_second_return_of_a_movement_is_not_alerted_whatever_id_it_has() -> None:
    folded = fold(moved("RETURNED", 0, None, "T"), moved("RETURNED", 1, "R", "T"), moved("RETURNED", 2, "R", None))
    assert [alert["subject"] for alert in folded.alerts] == ["T"]
    assert folded.state["returned_alert_id"] == folded.alerts[0]["alert_id"]
    assert Flag.ALERTED_TWICE not in folded.flags


def test_two_returns_that_nothing_linked_are_two_alerts_and_counted_once_linked() -> None:
    halves = (moved("RETURNED", 0, None, "T"), moved("RETURNED", 1, "R", None))
    folded = fold(*halves, moved("COMPLETED", 2, "R", "T"))
    assert [alert["subject"] for alert in folded.alerts] == ["T", "R"]
    assert {Flag.MERGED, Flag.ALERTED_TWICE} <= set(folded.flags)
    assert folded.state["returned_alert_id"] == folded.alerts[1]["alert_id"]
    assert len(folded.state["history"]) == 3


def test_a_key_that_was_a_movements_leads_to_it() -> None:
    folded = fold(moved("COMPLETED", 0, None, "T"), moved("RETURNED", 1, "R", "T"))
    alias = folded.states[key("T")]
    assert (alias["alias_of"], alias["movement_id"], alias["status"]) == (key("R"), key("T"), "ALIAS")
    assert (alias["system_ids"], alias["client_request_id"], alias["history"]) == ({"transfer_id": "T"}, None, [])
    assert (alias["amount"], alias["completed"], alias["returned_alert_id"]) == (None, None, None)
    assert folded.alerts[0]["transfer"] is not None
    assert folded.alerts[0]["transfer"]["movement_id"] == key("R")


def test_events_that_all_have_the_request_id_make_no_alias() -> None:
    folded = fold(moved("COMPLETED", 0, "R", "T"), moved("RETURNED", 1, "R", "T"), moved("RETURNED", 2, "R", None))
    assert list(folded.states) == [key("R")]


def test_equal_ids_of_different_kinds_are_not_compared() -> None:
    folded = fold(moved("RETURNED", 0, "X", None), moved("RETURNED", 1, None, "X"), moved("RETURNED", 2, "Y", "X"))
    assert [alert["subject"] for alert in folded.alerts] == ["X", "X"]
    assert {name for name, state in folded.states.items() if state["alias_of"] is None} == {key("X"), key("Y")}
    assert aliases(folded) == {key("transfer_id/X"): key("Y")}


def test_movements_of_other_accounts_and_types_are_others() -> None:
    tables = {"state.movements": Memory()}
    fold(moved("RETURNED", 0, "R", "T"), tables=tables, account_key="A")
    fold(moved("RETURNED", 0, "R", "T"), tables=tables, account_key="A/TRANSFER")
    fold(event("CREDIT", "documented", ns=0, client_request_id="R", credit_id="T"), tables=tables, account_key="A")
    assert len(tables["state.movements"].states) == 3


def test_a_second_value_of_a_kind_is_counted_and_leads_to_the_movement() -> None:
    folded = fold(moved("COMPLETED", 0, "R", "S"), moved("COMPLETED", 1, "R", "T"), moved("RETURNED", 2, None, "S"))
    assert set(folded.flags) == {Flag.ID_CONFLICT}
    assert aliases(folded) == {key("S"): key("R"), key("T"): key("R")}
    assert len(folded.state["history"]) == 3
    two = fold(moved("COMPLETED", 0, "R", "T"), moved("COMPLETED", 1, "Q", "T"), moved("RETURNED", 2, "R", None))
    assert Flag.ID_CONFLICT in two.flags
    assert (two.state["movement_id"], aliases(two)) == (key("Q"), {key("R"): key("Q")})


def test_halves_of_before_are_merged_by_the_next_event_with_both_ids() -> None:
    """Records as version 0.1 wrote them: nothing led from one half to the other."""
    tables = {"state.movements": Memory()}
    fold(moved("COMPLETED", 0, "R", None), moved("RETURNED", 1, None, "T"), tables=tables)
    states = tables["state.movements"].states
    states[key("R").encode()]["system_ids"]["transfer_id"] = "T"
    tables["state.movements"].restart()
    folded = fold(moved("RETURNED", 2, "R", "T"), tables=tables)
    assert folded.alerts == []
    assert Flag.MERGED in folded.flags
    assert [entry["status"] for entry in folded.state["history"]] == ["COMPLETED", "RETURNED", "RETURNED"]


def test_merged_histories_keep_the_newest_in_order_and_say_what_they_lost() -> None:
    one = [moved("PENDING", 2 * n, "R", None, event_id=f"r{n}") for n in range(30)]
    other = [moved("PENDING", 2 * n + 1, None, "T", event_id=f"t{n}") for n in range(30)]
    link = moved("COMPLETED", 100, "R", "T")
    state = fold(*one, *other, link).state
    expected = [f"{half}{n}" for n in range(30) for half in "rt"][-31:]
    assert [entry["event_id"] for entry in state["history"]] == [*expected, link["event_id"]]
    assert state["history_dropped"] == 29
    for order in ((link, *other, *one), (*other, *one, link)):
        assert {**fold(*order).state, "arrival": None} == {**state, "arrival": None}


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_a_placeholder_is_no_id(placeholder: str) -> None:
    """Otherwise all transfers of an account are one movement, and only the first return is alerted."""
    requests = fold(*(moved("RETURNED", n, f"R{n}", placeholder) for n in range(3)))
    assert [alert["subject"] for alert in requests.alerts] == ["R0", "R1", "R2"]
    assert {*requests.states} == {key("R0"), key("R1"), key("R2")}
    assert [state["system_ids"] for state in requests.states.values()] == [{}] * 3
    assert requests.flags == [Flag.UNKNOWN_VALUE] * 3

    transfers = fold(*(moved("RETURNED", n, placeholder, f"T{n}") for n in range(3)))
    assert [alert["dedup_key"] for alert in transfers.alerts] == [f"TRANSFER_RETURNED/{ACCOUNT}/T{n}" for n in range(3)]
    assert {state["client_request_id"] for state in transfers.states.values()} == {None}

    # Without any id, each event is a movement of its own.
    events = [moved("RETURNED", n, placeholder, placeholder) for n in range(3)]
    alone = fold(*events, times=2)
    assert [alert["subject"] for alert in alone.alerts] == [one["event_id"] for one in events]
    assert {*alone.states} == {key(one["event_id"]) for one in events}


@pytest.mark.parametrize("its_id", ["0001", "10", "A", "0x", "nullable", "NA-1", "\uff11", "Ä", "退"])
def test_an_id_with_a_letter_or_digit_links(its_id: str) -> None:
    folded = fold(moved("COMPLETED", 0, "R", its_id), moved("RETURNED", 1, None, its_id))
    assert [alert["transfer"] and alert["transfer"]["completed_event_id"] for alert in folded.alerts] == [
        "TRANSFER.COMPLETED.0"
    ]
    assert not folded.flags


def test_a_placeholder_in_a_record_of_before_leads_nowhere() -> None:
    """A record as version 0.1 wrote it."""
    tables = {"state.movements": Memory()}
    fold(moved("RETURNED", 0, "R", None), tables=tables)
    tables["state.movements"].states[key("R").encode()]["system_ids"]["transfer_id"] = "0"
    tables["state.movements"].restart()
    folded = fold(moved("RETURNED", 1, None, "0"), moved("RETURNED", 2, "Q", "0"), tables=tables)
    assert [alert["subject"] for alert in folded.alerts] == ["TRANSFER.RETURNED.1000000000", "Q"]


def components(events: Sequence[Event]) -> list[set[int]]:
    """Sets of event numbers: those that share an id of one kind, directly or through others."""
    found: list[tuple[set[int], set[tuple[str, str]]]] = []
    for number, one in enumerate(events):
        ids = {kind: one[kind] for kind in KINDS[one["biz_type"]] if one[kind] not in NONE}
        if one["biz_type"] == "FEE_DEDUCTION" and len(ids) > 1:
            ids.pop("instant_funding_id", None)
        mine = {*ids.items()} or {("", one["event_id"])}
        same = [each for each in found if each[1] & mine]
        found = [each for each in found if each not in same]
        found.append(({number}.union(*(s[0] for s in same)), mine.union(*(s[1] for s in same))))
    return [numbers for numbers, _ in found]


def expected_alerts(events: Sequence[Event]) -> tuple[int, int]:
    """Alerts, and events that joined movements alerted before, in this order of arrival."""
    alerts = twice = 0
    alerted: set[int] = set()
    for number, one in enumerate(events):
        before = [each & alerted for each in components(events[:number])]
        (mine,) = (each for each in components(events[: number + 1]) if number in each)
        joined = [each for each in before if each and each <= mine]
        twice += len(joined) > 1
        if one["status"] == "RETURNED" and one["biz_type"] == "TRANSFER" and not joined:
            alerts += 1
            alerted.add(number)
    return alerts, twice


@st.composite
def connected(draw: st.DrawFn) -> list[Event]:
    """Events of one movement: each with some of its ids; together they are connected."""
    biz_type = draw(st.sampled_from([*KINDS]))
    kinds = KINDS[biz_type][:2]  # an instant_funding_id links nothing beside another id
    subsets = draw(st.lists(st.sets(st.sampled_from(kinds), min_size=1), min_size=1, max_size=7))
    events = [
        event(
            biz_type,
            "documented-completed",
            ns=number * SECOND,
            event_id=f"e{number}",
            status=draw(st.sampled_from(STATUSES)),
            **{kind: f"its {kind}" if kind in subset else None for kind in kinds},
        )
        for number, subset in enumerate(subsets)
    ]
    if len(components(events)) > 1:  # one event has them all
        events.append({**events[0], "event_id": "all", **{kind: f"its {kind}" for kind in kinds}})
    return events


def fold_with_restarts(events: Sequence[Event], restarts: Sequence[bool]) -> tuple[Folded, dict[str, Memory]]:
    tables = {"state.movements": Memory()}
    alerts, flags = [], []
    for one, restart in zip(events, restarts, strict=True):
        if restart:
            tables["state.movements"].restart()
        step = fold(one, tables=tables)
        alerts += step.alerts
        flags += step.flags
    return Folded(step.states, alerts, flags), tables


@settings(max_examples=400)
@given(connected(), st.data())
def test_any_order_of_a_movements_events_gives_the_same_state(events: list[Event], data: st.DataObject) -> None:
    events = [{**one, "event_time": one["event_time"] + n} for n, one in enumerate(events)]
    order = data.draw(st.permutations(events))
    restarts = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
    one, other = fold(*events), fold_with_restarts(order, restarts)[0]
    assert {**one.state, "returned_alert_id": None} == {**other.state, "returned_alert_id": None}
    assert Flag.ID_CONFLICT not in (*one.flags, *other.flags)
    for given_order, folded in ((events, one), (order, other)):
        alerts, twice = expected_alerts(given_order)
        assert (len(folded.alerts), folded.flags.count(Flag.ALERTED_TWICE)) == (alerts, twice)
        if twice == 0 and events[0]["biz_type"] == "TRANSFER":
            assert len(folded.alerts) == any(one["status"] == "RETURNED" for one in events)


def test_fees_of_one_instant_funding_are_movements_of_their_own() -> None:
    """The broker's samples have no fee_id, an instant_funding_id and one client_request_id per fee."""
    changes = {"fee_id": None, "instant_funding_id": "I"}
    paid = event("FEE_DEDUCTION", "documented-completed", **changes, ns=0, client_request_id="R1", status="COMPLETED")
    failed = event("FEE_DEDUCTION", "documented-completed", **changes, ns=1, client_request_id="R2", status="FAILED")
    folded = fold(paid, {**failed, "event_id": "another"})
    assert {name: state["status"] for name, state in folded.states.items()} == {
        key("R1", "FEE_DEDUCTION"): "COMPLETED",
        key("R2", "FEE_DEDUCTION"): "FAILED",
    }
    assert not folded.flags


def test_a_fee_known_by_its_own_id_shows_the_funding_that_its_newest_event_names() -> None:
    changes = {"client_request_id": None, "fee_id": "F"}
    first = event("FEE_DEDUCTION", "documented-completed", **changes, ns=0, instant_funding_id="A")
    then = event("FEE_DEDUCTION", "documented-completed", **changes, ns=1, instant_funding_id="B")
    for events in (first, then), (then, first):
        state = fold(*({**each, "event_id": str(each["event_time_text"])} for each in events)).states
        assert state[key("F", "FEE_DEDUCTION")]["system_ids"] == {"fee_id": "F", "instant_funding_id": "B"}


NONE = (None, "", *PLACEHOLDERS)
ANY_IDS = st.fixed_dictionaries({"client_request_id": st.sampled_from([None, "", "0", "a", "b", "c"])})
FEES = st.builds(
    lambda ids, fee, funding: {"biz_type": "FEE_DEDUCTION", **ids, "fee_id": fee, "instant_funding_id": funding},
    ANY_IDS,
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, "", "N/A", "a", "b", "fee_id/a"]),
)
TRANSFERS = st.builds(
    lambda ids, its_id, status: {"biz_type": "TRANSFER", **ids, "transfer_id": its_id, "status": status},
    ANY_IDS,
    st.sampled_from([None, "", "0", "-", "a", "b", "transfer_id/a"]),
    st.sampled_from(STATUSES),
)


@settings(max_examples=600)
@given(st.lists(st.one_of(FEES, TRANSFERS), min_size=1, max_size=9), st.data())
def test_there_is_one_record_for_each_set_of_events_that_share_ids(drawn: list[Event], data: st.DataObject) -> None:
    """Ids of any values: contradicting ones, equal ones of different kinds, ones that look like other keys."""
    events = [
        {**event(ids["biz_type"], "documented-completed", ns=number * SECOND), **ids, "event_id": f"e{number}"}
        for number, ids in enumerate(drawn)
    ]
    order = data.draw(st.permutations(events))
    restarts = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
    folded, tables = fold_with_restarts(order, restarts)
    expected = {
        frozenset(order[number]["event_id"] for number in each)
        for biz_type in KINDS
        for each in components([one if one["biz_type"] == biz_type else {**one, **NOTHING} for one in order])
        if {order[number]["biz_type"] for number in each} == {biz_type}
    }
    states = {name: state for name, state in folded.states.items() if state["alias_of"] is None}
    assert {frozenset(entry["event_id"] for entry in state["history"]) for state in states.values()} == expected
    for name, state in folded.states.items():
        assert state["movement_id"] == name
        while state["alias_of"] is not None:
            state = folded.states[state["alias_of"]]  # noqa: PLW2901 (to the movement)
    transfers = [one for one in order if one["biz_type"] == "TRANSFER"]
    assert (len(folded.alerts), folded.flags.count(Flag.ALERTED_TWICE)) == expected_alerts(transfers)
    again = fold(*order, tables=tables)
    assert again.alerts == []
    assert {name: state for name, state in again.states.items() if state["alias_of"] is None} == states


NOTHING: Event = {"client_request_id": None, "transfer_id": None, "fee_id": None, "instant_funding_id": None}


@st.composite
def interleavings(draw: st.DrawFn) -> tuple[list[Event], list[Event]]:
    """Transfers and two orders in which they arrive; some of them arrive twice."""
    ids = st.tuples(st.sampled_from([*NONE, *"aabbcd"]), st.sampled_from([*NONE, *"xxyyza"]))
    drawn = draw(
        st.lists(st.tuples(ids, st.sampled_from(STATUSES), st.sampled_from([0, 0, 1, 2])), min_size=1, max_size=10)
    )
    events = [
        moved(status, second, request, its_id, event_id=f"e{number}")
        for number, ((request, its_id), status, second) in enumerate(drawn)
    ]
    again = draw(st.lists(st.sampled_from(events), max_size=3))
    return draw(st.permutations(events + again)), draw(st.permutations(events + again))


@settings(max_examples=800, deadline=None)
@given(interleavings())
def test_each_movement_that_returned_is_alerted_once_in_any_order(drawn: tuple[list[Event], list[Event]]) -> None:
    """Two alerts only where two halves returned before an event linked them; that is counted."""
    for order in drawn:
        tables = {"state.movements": Memory()}
        folded = fold(*order, tables=tables)
        returned = [
            {order[number]["event_id"] for number in each}
            for each in components(order)
            if any(order[number]["status"] == "RETURNED" for number in each)
        ]
        alerted = [alert["event_id"] for alert in folded.alerts]
        assert len(alerted) == len({*alerted})
        assert all(each & {*alerted} for each in returned)
        assert len(alerted) == len(returned) + folded.flags.count(Flag.ALERTED_TWICE)
        tables["state.movements"].restart()
        again = fold(*order, tables=tables)
        assert again.alerts == []
        assert Flag.ALERTED_TWICE not in again.flags
