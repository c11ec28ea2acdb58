"""Differences of a live table from the rebuilt one, and which can be judged once events are deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from broker_events.audit.state_diff import (
    Comparison,
    DifferenceKind,
    RetainedEvents,
    compare,
    doubtful_accounts,
    event_ids,
)


def state(event_id: str = "e1", account: str = "A", **members: Any) -> dict[str, Any]:
    return {"account_key": account, "close": {"event_id": event_id}, **members}


def table(**records: dict[str, Any]) -> dict[bytes, bytes]:
    return {key.encode(): orjson.dumps(record) for key, record in records.items()}


def retained(live: Mapping[bytes, bytes], *left: str) -> RetainedEvents:
    events = RetainedEvents()
    for value in live.values():
        events.name(orjson.loads(value))
    for event_id in left:
        events.find(event_id.encode())
    return events


def compared(live: dict[bytes, bytes], folded: dict[bytes, bytes], **more: Any) -> Comparison:
    result = Comparison("state.accounts", 0)
    arguments = {"moving": set(), "retained": None} | more
    compare(result, live, folded, orjson.loads, **arguments)
    return result


def test_every_kind_of_difference() -> None:
    live = table(same=state(), wrong=state(status="x"), extra=state()) | {b"broken": b"{"}
    found = compared(live, table(same=state(), wrong=state(status="y"), missing=state(), broken=state()))
    assert found.equal == 1
    assert [(finding.key, finding.kind, finding.fields) for finding in found.findings] == [
        (b"broken", DifferenceKind.DIFFERENT, ("unreadable",)),
        (b"extra", DifferenceKind.EXTRA, ()),
        (b"missing", DifferenceKind.MISSING, ()),
        (b"wrong", DifferenceKind.DIFFERENT, ("status",)),
    ]
    assert [finding.value for finding in found.findings] == [
        orjson.dumps(state()),
        None,
        orjson.dumps(state()),
        orjson.dumps(state(status="y")),
    ]


def test_the_same_record_in_other_bytes_is_equal() -> None:
    found = compared({b"k": b'{"a":1, "b":2}'}, {b"k": b'{"b":2,"a":1}'})
    assert (found.equal, found.findings) == (1, [])


def test_what_moves_is_not_judged() -> None:
    found = compared(table(k=state("e2")), table(k=state("e3")), moving={b"k"})
    assert (found.moving, found.findings) == (1, [])


@pytest.mark.parametrize(("left", "judged"), [(("e1", "e2"), 1), (("e2",), 0)])
def test_a_record_is_judged_if_all_events_that_it_names_are_left(left: tuple[str, ...], judged: int) -> None:
    live = table(k=state("e1", since={"since_event_id": "e2"}))
    found = compared(live, table(k=state("e2")), retained=retained(live, *left))
    assert (len(found.findings), found.unjudged) == (judged, 1 - judged)
    extra = compared(live, {}, retained=retained(live, *left))
    assert (len(extra.findings), extra.unjudged) == (judged, 1 - judged)


def test_fields_that_depend_on_an_earlier_event_are_not_judged() -> None:
    live, folded = table(k=state(first_sight=False)), table(k=state(first_sight=True))
    assert compared(live, folded, retained=retained(live, "e1")).unjudged == 1
    assert len(compared(live, folded).findings) == 1


@pytest.mark.parametrize("forgetful", ["live", "folded"])
def test_a_movement_with_a_cut_history_is_not_judged_where_events_are_deleted(forgetful: str) -> None:
    live, folded = (table(k=state(history_dropped=int(forgetful == name), side=name)) for name in ("live", "folded"))
    assert compared(live, folded, retained=retained(live, "e1")).unjudged == 1
    assert len(compared(live, folded).findings) == 1
    whole = table(k=state(history_dropped=0, side="live"))
    assert len(compared(whole, table(k=state(history_dropped=0)), retained=retained(whole, "e1")).findings) == 1


@pytest.mark.parametrize("side", ["live", "folded"])
def test_an_alias_is_not_judged_where_events_are_deleted(side: str) -> None:
    tables: dict[str, dict[bytes, bytes]] = {"live": {}, "folded": {}} | {side: table(k=state(alias_of="r"))}
    assert compared(**tables, retained=retained(tables["live"], "e1")).unjudged == 1
    assert len(compared(**tables).findings) == 1


def test_a_movement_that_is_there_under_another_key_is_not_missing_where_events_are_deleted() -> None:
    """The event that had both ids is deleted: without it the other events seem to be of another movement."""
    live = table(r=state("e1", movement_id="r", history=[{"event_id": "gone"}]))
    folded = table(t=state("e1", movement_id="t"), lost=state("e2", movement_id="lost"))
    found = compared(live, folded, retained=retained(live, "e1", "e2"))
    assert [(finding.key, finding.kind) for finding in found.findings] == [(b"lost", DifferenceKind.MISSING)]
    assert found.unjudged == 2


def test_a_missing_condition_of_a_doubtful_account_is_not_judged() -> None:
    accounts = table(A=state("gone"), B=state("e1"))
    doubtful = doubtful_accounts(accounts, orjson.loads, retained(accounts, "e1"))
    assert doubtful == {"A"}
    conditions = table(a=state("e1", "A"), b=state("e1", "B"))
    found = compared({}, conditions, retained=RetainedEvents(), doubtful=doubtful)
    assert [finding.key for finding in found.findings] == [b"b"]
    assert found.unjudged == 1


def test_event_ids_of_a_record() -> None:
    record = {"event_id": "a", "history": [{"event_id": "b"}], "bcan": {"CN": {"event_id": "c"}}, "x_event_id": None}
    assert [*event_ids(record)] == ["a", "b", "c"]
