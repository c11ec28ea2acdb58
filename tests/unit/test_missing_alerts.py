"""Missing alerts: which ones are written, and their changes of alerts.active."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_events import ACCOUNT, CATALOG, HOUR, account_update, transfer
from rules_events import event as sample

from broker_events.audit.missing_alerts import MissingAlerts
from broker_events.cli.missing_alerts import emit_alerts
from broker_events.processors.alert_record import AlertWriter
from broker_events.processors.alert_rules.load import SHIPPED
from broker_events.processors.alert_rules.rule import compile_rule
from broker_events.processors.fold import fold, typed_topics
from broker_events.processors.rules import active_change, funding, linking, movement
from broker_events.processors.rules.linking import index_keys
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.state.partition_state import PartitionState
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import Alert, MovementState

CODECS: dict[str, Codec[Any]] = {
    name: Codec(contract, 1) for name, (contract, _) in CATALOG.topics.items() if contract.schema
}
RULES = [compile_rule(CATALOG, SHIPPED / name, {}) for name in ("no-trade", "transfer-rejected", "account-closed")]
TYPED = typed_topics(CATALOG, str, CODECS.__getitem__, RULES)
UPDATES = TopicPartition("event.account-update", 0)
TRANSFERS = TopicPartition("event.transfer", 0)
SKEW_US = 60_000_000
HK = "HK_STOCK_LIQUIDATE_ONLY"
Event = dict[str, Any]


def updated(codes: list[str], hours: float, **changes: Any) -> Event:
    return account_update(codes, ns=int(hours * HOUR), **changes)


def moved(status: str, hours: float, request: str | None = "R", its_id: str | None = None) -> Event:
    return transfer(status, ns=int(hours * HOUR), client_request_id=request, transfer_id=its_id)


EVENTS = [updated([HK], 1), updated([], 2), updated([HK], 3), moved("RETURNED", 4)]


class Folding:
    """Folds events as a projector or a rebuild does, all but those `without`: skipped by number, or deleted before it.

    Each is received at its own time, or at that of the event before if that is later.
    """

    def __init__(
        self, events: list[Event], *, without: Collection[int] = (), missing: MissingAlerts | None = None
    ) -> None:
        self.active: dict[bytes, bytes] = {}
        self.alerts: list[Alert] = []
        self.movements = PartitionState(CODECS["state.movements"], index_keys)
        writer = AlertWriter(CODECS["alerts"], "/broker/projector")
        tables: Any = {"state.accounts": {0: PartitionState(CODECS["state.accounts"])}}
        tables |= {"state.movements": {0: self.movements}}
        received_ms = 0
        for offset, event in enumerate(events):
            topic = CATALOG.events[event["biz_type"]].topics[0].name
            received_ms = max(received_ms, event["event_time"] // 1000)
            if offset in without:
                continue
            of = {"topic": topic, "partition": 0, "offset": offset, "key": ACCOUNT.encode(), "headers": None}
            of |= {"value": CODECS[topic].encode(event), "timestamp": (1, received_ms)}
            record: Any = Mock(**{f"{name}.return_value": value for name, value in of.items()})
            folded = fold(TYPED[topic], record, tables, writer, 4_000_000, SKEW_US)
            if missing is not None:
                missing.note(record, folded)
            for each in folded.alerts:
                self.alerts.append(each.alert)
                change = active_change(each.alert)
                if change is not None and change.alert is None:
                    self.active.pop(change.dedup_key.encode())
                elif change is not None:
                    self.active[change.dedup_key.encode()] = each.value

    @property
    def ids(self) -> list[str]:
        return [alert["alert_id"] for alert in self.alerts]

    @property
    def live_movements(self) -> list[MovementState]:
        return [CODECS["state.movements"].decode(value) for value in self.movements.values.values()]


def judged(
    events: list[Event],
    alerts: list[Alert],
    live: Folding | None = None,
    *,
    cut: int = 0,
    since_ms: float = 0,
) -> tuple[MissingAlerts, Folding]:
    """Rebuild after a live run that wrote these alerts; retention has deleted the first `cut` events."""
    missing = MissingAlerts({UPDATES, TRANSFERS} if cut else (), SKEW_US)
    missing.since_ms = since_ms
    for alert in alerts:
        missing.know(alert)
    folding = Folding(events, without=range(cut), missing=missing)
    missing.judge(folding.movements, live.live_movements if live else [])
    return missing, folding


def after_live_run(
    events: list[Event],
    *,
    skipped: Collection[int] = (),
    cut: int = 0,
    repaired: bool = False,
    lost: Collection[int] = (),
) -> MissingAlerts:
    """Judge, write, and judge again: nothing is missing then. `lost`: events whose alerts were not written."""
    live = Folding(events, without=skipped)
    ids = {events[number]["event_id"] for number in lost}
    alerts = [alert for alert in live.alerts if alert["event_id"] not in ids]
    table = Folding(events) if repaired else live
    missing, _ = judged(events, alerts, table, cut=cut)
    written = [each.alert.alert for each in missing.missing]
    again, _ = judged(events, alerts + written, table, cut=cut)
    assert (again.missing, again.unjudged) == ([], missing.unjudged)
    return missing


def changes(missing: MissingAlerts) -> list[str]:
    return [f"{each.alert.alert['status']} {each.alert.alert['event_time_text'][11:13]}" for each in missing.missing]


def ids(missing: MissingAlerts) -> list[str]:
    return [each.alert.alert["alert_id"] for each in missing.missing]


def test_all_that_are_not_there_are_missing_and_those_alone() -> None:
    missing, folding = judged(EVENTS, [])
    assert sorted(ids(missing)) == sorted(folding.ids)
    assert len(folding.ids) == 4
    for there in folding.alerts:
        missing, _ = judged(EVENTS, [alert for alert in folding.alerts if alert is not there])
        assert ids(missing) == [there["alert_id"]]
    assert not judged(EVENTS, folding.alerts)[0].missing


def test_a_condition_that_has_ended_is_written_and_not_active() -> None:
    missing, folding = judged(EVENTS[:2], [])
    assert [each.alert.alert["status"] for each in missing.missing] == ["FIRING", "RESOLVED"]
    assert [*missing.active_changes({}, folding.active)] == []
    [key] = {each.alert.alert["dedup_key"].encode() for each in missing.missing}
    assert [*missing.active_changes({key: b"FIRING"}, folding.active)] == [(key, None)]


def test_a_condition_that_holds_is_active_with_its_last_alert() -> None:
    missing, folding = judged(EVENTS, [])
    [(key, value)] = missing.active_changes({}, folding.active)
    assert value == missing.missing[2].alert.value
    assert [*missing.active_changes({key: value}, folding.active)] == [], "already right"
    other, _ = judged(EVENTS, folding.alerts[:3])
    assert len(other.missing) == 1
    assert [*other.active_changes({}, folding.active)] == [], "an occurrence is about no condition"


@pytest.mark.parametrize(
    ("events", "skipped", "expected"),
    [
        ([updated([HK], 1), updated([HK], 2)], {0}, []),
        ([updated([HK], 1), updated([HK], 2), updated([], 3), updated([], 4)], {0, 2}, []),
        ([updated([], 1), updated([HK], 2), updated([HK], 3), updated([], 4)], {1}, []),
        ([updated([HK], 1), updated([], 2)], {0}, ["FIRING 08", "RESOLVED 09"]),
        ([updated([HK], 1), updated([], 2), updated([HK], 3)], {1}, ["RESOLVED 09", "FIRING 10"]),
        ([updated([HK], n) for n in (1, 2)] + [updated([], 3), updated([HK], 4), updated([], 5)], {0, 2},
         ["RESOLVED 10", "FIRING 11"]),
        # The skipped one is newer than the next, which counts as stale only in the rebuild.
        ([updated([], 3), updated([HK], 2), updated([HK], 4)], {0}, []),
        ([updated([HK], 1)], {0}, ["FIRING 08"]),
    ],
)  # fmt: skip
def test_a_condition_alerted_under_another_event_is_alerted(
    events: list[Event], skipped: set[int], expected: list[str]
) -> None:
    assert changes(after_live_run(events, skipped=skipped)) == expected


def test_an_alert_with_another_dedup_key_and_id_is_the_same_transition() -> None:
    """Older versions did not escape the parts of a dedup_key."""
    live = Folding(EVENTS)
    alerts: list[Alert] = [
        {**alert, "dedup_key": f"old/{alert['dedup_key']}", "alert_id": f"old-{number}"}
        for number, alert in enumerate(live.alerts)
    ]
    assert not judged(EVENTS, alerts, live)[0].missing
    for number in range(4):
        missing, folding = judged(EVENTS, alerts[:number] + alerts[number + 1 :])
        assert ids(missing) == [folding.ids[number]]


def test_a_bug_that_ate_alerts_hides_none_behind_others() -> None:
    events = [updated([HK] if hour % 2 else [], hour) for hour in range(1, 9)]
    for lost in range(1, 8):
        missing = after_live_run(events, lost={lost})
        assert ids(missing) == [Folding(events).ids[lost]]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["read", "skipped", "lost"])), min_size=1, max_size=12))
def test_with_the_missing_alerts_each_condition_fires_and_resolves_in_turn(drawn: list[tuple[bool, str]]) -> None:
    """In the order of events: no transition twice, none left out, whatever was skipped and whichever alert is lost."""
    events = [updated([HK] if held else [], number) for number, (held, _) in enumerate(drawn)]
    skipped, lost = ({number for number, (_, how) in enumerate(drawn) if how == word} for word in ("skipped", "lost"))
    live = Folding(events, without=skipped)
    kept = [alert for alert in live.alerts if alert["event_id"] not in {events[number]["event_id"] for number in lost}]
    missing, folding = judged(events, kept, live)
    told = sorted([*kept, *(each.alert.alert for each in missing.missing)], key=lambda alert: alert["event_time"])
    assert [alert["status"] for alert in told] == [alert["status"] for alert in folding.alerts]
    assert len({alert["alert_id"] for alert in told}) == len(told)


@pytest.mark.parametrize("repaired", [False, True])
@pytest.mark.parametrize(
    ("events", "skipped", "expected"),
    [
        ([moved("RETURNED", 1), moved("RETURNED", 2)], {0}, []),
        ([moved("RETURNED", 1, "R", "T"), moved("RETURNED", 2, None, "T")], {0}, []),
        ([moved("RETURNED", 1, "R", None), moved("COMPLETED", 2, "R", "T"), moved("RETURNED", 3, None, "T")], {0}, []),
        ([moved("RETURNED", 1, "R", None), moved("COMPLETED", 2, "R", "T"), moved("RETURNED", 3, None, "T")], {1}, []),
        ([moved("COMPLETED", 1), moved("RETURNED", 2)], {1}, ["FIRING 09"]),
        ([moved("RETURNED", 1), moved("RETURNED", 2, "Q")], {0}, ["FIRING 08"]),
    ],
)  # fmt: skip
def test_a_return_alerted_under_another_event_is_alerted(
    events: list[Event],
    skipped: set[int],
    expected: list[str],
    repaired: bool,  # noqa: FBT001 (a parameter of the test)
) -> None:
    assert changes(after_live_run(events, skipped=skipped, repaired=repaired)) == expected


@pytest.mark.parametrize("applied", ["nothing", "apply", "apply --delete-extra"])
@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        ([("0", "T1"), ("0", "T2"), ("0", "T3")], ["FIRING 09", "FIRING 10"]),
        ([("0", None), ("0", None), ("0", None)], ["FIRING 09", "FIRING 10"]),
        ([("R1", "N/A"), ("R2", "N/A")], ["FIRING 09"]),
        ([("R1", None), ("R1", None)], []),
    ],
)
def test_returns_that_a_placeholder_joined_are_missing(
    returns: list[tuple[str, str | None]], expected: list[str], applied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 0.1.0 took a placeholder for an id, and alerted the first return of the joined movement alone."""
    events = [moved("RETURNED", hour, *ids) for hour, ids in enumerate(returns, 1)]
    with monkeypatch.context() as version:
        for module in (funding, linking, movement):
            version.setattr(module, "real_id", lambda text: text or None)
        live = Folding(events)
    assert len(live.alerts) == 1
    missing = MissingAlerts((), SKEW_US)
    missing.know(live.alerts[0])
    rebuilt = Folding(events, missing=missing)
    former = {} if applied == "apply --delete-extra" else live.movements.values
    table = former | ({} if applied == "nothing" else rebuilt.movements.values)
    missing.judge(rebuilt.movements, [CODECS["state.movements"].decode(value) for value in table.values()])
    assert (changes(missing), missing.unjudged) == (expected, 0)


@pytest.mark.parametrize(
    ("events", "cut", "unjudged"),
    [
        # Stale when it was read, as a deleted event was newer.
        ([updated([], 9), updated([], 5), updated([HK], 6)], 1, 1),
        ([updated([], 9), updated([HK], 5), updated([], 6), updated([HK], 7)], 1, 3),
        # The restriction held already.
        ([updated([HK], 1), updated([HK], 2)], 1, 0),
        ([updated([HK], 1), updated([], 2), updated([HK], 3)], 1, 0),
        # Times after the receipt of every deleted event.
        ([updated([HK], 1), updated([], 2), updated([], 3)], 1, 0),
    ],
)
def test_after_retention_nothing_is_alerted_twice(events: list[Event], cut: int, unjudged: int) -> None:
    missing = after_live_run(events, cut=cut)
    assert (ids(missing), missing.unjudged) == ([], unjudged)


def test_after_retention_an_account_is_judged_again_after_its_first_certain_snapshot() -> None:
    events = [updated([HK], 1), updated([], 2), updated([], 3), updated([], 3.5), updated([HK], 4), updated([], 5)]
    assert changes(after_live_run(events, cut=2, lost={4})) == ["FIRING 11"]
    # Its time is not after the cut, but the live run alerted it.
    events = [updated([HK], 1), updated([], 2), updated([HK], 2.01), updated([], 2.02), updated([HK], 2.03)]
    assert changes(after_live_run(events, cut=2, lost={3})) == ["RESOLVED 09"]
    assert after_live_run(events, cut=1, lost={2}).unjudged == 1


@pytest.mark.parametrize(
    "events",
    [
        [moved("RETURNED", 1), moved("COMPLETED", 2), moved("RETURNED", 3)],
        [moved("RETURNED", 1, "R", "T"), moved("RETURNED", 3, None, "T")],
        # A deleted event linked the two ids.
        [moved("RETURNED", 1, "R", None), moved("COMPLETED", 2, "R", "T"), moved("RETURNED", 3, None, "T")],
        [moved("COMPLETED", 1, "R", "T"), moved("RETURNED", 2, "Q", "T"), moved("RETURNED", 3, "R", None)],
    ],
)
def test_after_retention_a_movement_that_was_alerted_is_not_alerted_again(events: list[Event]) -> None:
    for cut in range(1, len(events)):
        missing = after_live_run(events, cut=cut)
        assert (ids(missing), missing.unjudged) == ([], 0)


def test_after_retention_a_return_is_missing_where_the_live_movement_has_no_alert() -> None:
    events = [moved("COMPLETED", 1), moved("RETURNED", 2)]
    assert changes(after_live_run(events, cut=1, skipped={1})) == ["FIRING 09"]


def test_a_return_whose_alert_retention_may_have_deleted_is_not_judged() -> None:
    events = [moved("RETURNED", 1), moved("COMPLETED", 2), moved("RETURNED", 3)]
    live = Folding(events)
    missing, _ = judged(events, [], live, cut=1, since_ms=1)
    assert (ids(missing), missing.unjudged) == ([], 1)


def test_what_rests_on_deleted_events_is_not_judged() -> None:
    missing, _ = judged([updated([], 0), updated([], 0.5), *EVENTS], [], cut=1)
    assert (missing.unjudged, len(missing.missing)) == (1, 3), (
        "the first of a state may have been raised by another event"
    )


def test_what_may_have_been_deleted_is_not_judged() -> None:
    missing, _ = judged(EVENTS, [], since_ms=EVENTS[2]["event_time"] // 1000)
    assert (missing.unjudged, len(missing.missing)) == (2, 2)


@pytest.mark.parametrize(("applied", "code"), [(False, 1), (True, 0)])
def test_the_account_is_shown_by_its_last_characters(
    applied: bool,  # noqa: FBT001 (a parameter of the test)
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    missing, _ = judged(EVENTS, [])
    rebuild = Mock(**{"missing_alerts.return_value": (missing, [], [], {})})
    repair = Mock(**{"write.return_value": 5}) if applied else None
    assert emit_alerts(rebuild, repair, [UPDATES], as_json=False) == code
    shown = capsys.readouterr().out
    assert ACCOUNT not in shown
    assert f"…{ACCOUNT[-4:]}" in shown
    said = "4 alerts written, and 1 record of alerts.active" if applied else "4 alerts missing; --apply writes"
    assert said in shown
    _, audit = rebuild.missing_alerts.call_args.args
    assert [name for name, _ in audit] == ["recovery_id", "recovered_by"]


OF_RULES = [
    updated(["HK_STOCK_NO_TRADE"], 1),
    moved("REJECTED", 2),
    moved("REJECTED", 3, request="S"),
    sample("ACCOUNT_CLOSE", "documented-approved", ns=4 * HOUR),
    updated([], 5),
]


@pytest.mark.parametrize("lost", range(len(OF_RULES)))
def test_a_lost_alert_of_a_rule_as_data_is_missing(lost: int) -> None:
    missing = after_live_run(OF_RULES, lost=[lost])
    assert [each.alert.alert["event_id"] for each in missing.missing] == [OF_RULES[lost]["event_id"]]


def test_an_occurrence_that_was_alerted_under_another_event_is_not_missing() -> None:
    again = [moved("REJECTED", 2), moved("REJECTED", 3)]
    assert after_live_run(again, skipped=[0]).missing == []


def test_an_occurrence_on_an_account_is_judged_by_its_event_where_older_events_are_deleted() -> None:
    close = sample("ACCOUNT_CLOSE", "documented-approved", ns=4 * HOUR)
    closes = TopicPartition("event.account-close", 0)
    for stateless, found in ((["ACCOUNT_CLOSED"], 1), ([], 0)):
        missing = MissingAlerts({closes}, SKEW_US, stateless)
        missing.judge(Folding([close], missing=missing).movements, [])
        assert (len(missing.missing), missing.unjudged) == (found, 1 - found)
