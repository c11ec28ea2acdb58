"""Missing alerts: which ones are written, and their changes of alerts.active."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from rules_events import ACCOUNT, CATALOG, account_update, transfer

from broker_events.audit.missing_alerts import MissingAlerts
from broker_events.cli.missing_alerts import emit_alerts
from broker_events.processors.alert_record import AlertWriter
from broker_events.processors.fold import fold, typed_topics
from broker_events.processors.rules import active_change
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.state.partition_state import PartitionState
from broker_events.schemas.codec import Codec

CODECS: dict[str, Codec[Any]] = {
    name: Codec(contract, 1) for name, (contract, _) in CATALOG.topics.items() if contract.schema
}
TYPED = typed_topics(CATALOG, str, CODECS.__getitem__)
UPDATES = TopicPartition("event.account-update", 0)
RECEIVED_MS = 1_800_000_000_000  # later than every event
HK = "HK_STOCK_LIQUIDATE_ONLY"
EVENTS: list[dict[str, Any]] = [
    account_update([HK], ns=1),
    account_update([], ns=2),
    account_update([HK], ns=3),
    transfer("RETURNED", ns=4),
]


class Folding:
    """Folds events, the n-th at offset n and received n seconds after the first, as a rebuild does."""

    def __init__(self, missing: MissingAlerts, events: list[dict[str, Any]]) -> None:
        self.active: dict[bytes, bytes] = {}
        self.ids: list[str] = []
        writer = AlertWriter(CODECS["alerts"], "/broker/projector")
        tables: Any = {name: {0: PartitionState(CODECS[name])} for name in ("state.accounts", "state.movements")}
        for offset, event in enumerate(events):
            topic = CATALOG.events[event["biz_type"]].topics[0].name
            of = {"topic": topic, "partition": 0, "offset": offset, "key": ACCOUNT.encode(), "headers": None}
            of |= {"value": CODECS[topic].encode(event), "timestamp": (1, RECEIVED_MS + 1000 * offset)}
            record: Any = Mock(**{f"{name}.return_value": value for name, value in of.items()})
            state_key, _, alerts, _ = fold(TYPED[topic], record, tables, writer, 4_000_000, 300_000_000)
            missing.note(record, state_key, alerts)
            for alert in alerts:
                self.ids.append(alert.alert["alert_id"])
                change = active_change(alert.alert)
                if change is not None and change.alert is None:
                    self.active.pop(change.dedup_key.encode())
                elif change is not None:
                    self.active[change.dedup_key.encode()] = alert.value


def ids(missing: MissingAlerts) -> list[str]:
    return [each.alert.alert["alert_id"] for each in missing.missing]


def test_all_that_are_not_there_are_missing_and_those_alone() -> None:
    missing = MissingAlerts(0, set(), (), 0)
    folding = Folding(missing, EVENTS)
    assert ids(missing) == folding.ids
    assert len(folding.ids) == 4
    for there in folding.ids:
        missing = MissingAlerts(0, {there}, (), 0)
        Folding(missing, EVENTS)
        assert ids(missing) == [each for each in folding.ids if each != there]
    missing = MissingAlerts(0, set(folding.ids), (), 0)
    Folding(missing, EVENTS)
    assert not missing.missing


def test_a_condition_that_has_ended_is_written_and_not_active() -> None:
    missing = MissingAlerts(0, set(), (), 0)
    folding = Folding(missing, EVENTS[:2])
    assert [each.alert.alert["status"] for each in missing.missing] == ["FIRING", "RESOLVED"]
    assert [*missing.active_changes({}, folding.active)] == []
    [key] = {each.alert.alert["dedup_key"].encode() for each in missing.missing}
    assert [*missing.active_changes({key: b"FIRING"}, folding.active)] == [(key, None)]


def test_a_condition_that_holds_is_active_with_its_last_alert() -> None:
    missing = MissingAlerts(0, set(), (), 0)
    folding = Folding(missing, EVENTS)
    [(key, value)] = missing.active_changes({}, folding.active)
    assert value == missing.missing[2].alert.value
    assert [*missing.active_changes({key: value}, folding.active)] == [], "already right"
    other = MissingAlerts(0, set(folding.ids) - {folding.ids[3]}, (), 0)
    Folding(other, EVENTS)
    assert [*other.active_changes({}, folding.active)] == [], "an occurrence is about no condition"


def test_what_rests_on_deleted_events_is_not_judged() -> None:
    missing = MissingAlerts(0, set(), {UPDATES}, 0)
    Folding(missing, EVENTS)
    assert (missing.unjudged, len(missing.missing)) == (1, 3), (
        "the first of a state may have been raised by another event"
    )


def test_what_may_have_been_deleted_is_not_judged() -> None:
    missing = MissingAlerts(0, set(), (), RECEIVED_MS + 2000)
    Folding(missing, EVENTS)
    assert (missing.unjudged, len(missing.missing)) == (2, 2)


@pytest.mark.parametrize(("applied", "code"), [(False, 1), (True, 0)])
def test_the_account_is_shown_by_its_last_characters(
    applied: bool,  # noqa: FBT001 (a parameter of the test)
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    missing = MissingAlerts(0, set(), (), 0)
    Folding(missing, EVENTS)
    rebuild = Mock(**{"missing_alerts.return_value": (missing, [], {})})
    repair = Mock(**{"write.return_value": 5}) if applied else None
    assert emit_alerts(rebuild, repair, [UPDATES], as_json=False) == code
    shown = capsys.readouterr().out
    assert ACCOUNT not in shown
    assert f"…{ACCOUNT[-4:]}" in shown
    said = "4 alerts written, and 1 record of alerts.active" if applied else "4 alerts missing; --apply writes"
    assert said in shown
    _, audit = rebuild.missing_alerts.call_args.args
    assert [name for name, _ in audit] == ["recovery_id", "recovered_by"]
