"""What rules as data alert: once per transition, also for late, repeated, merged and skipped events."""

from __future__ import annotations

from typing import Any

import pytest
from rules_events import ACCOUNT, CATALOG, HOUR, SECOND, Arrived, Memory, account_update, event, transfer, typed_at

from broker_events.processors.alert_rules.expression import EvaluationError
from broker_events.processors.alert_rules.judge import apply_rules
from broker_events.processors.alert_rules.load import SHIPPED
from broker_events.processors.alert_rules.rule import DataRule, compile_rule
from broker_events.processors.rules import PROJECTIONS, active_change
from broker_events.schemas.storage_types import Alert

RULES = {folder.name: compile_rule(CATALOG, folder, {}) for folder in SHIPPED.iterdir()}


class Projector:
    """Applies rules to events of one account, in memory."""

    def __init__(self, *rules: DataRule) -> None:
        self._rules = rules
        self.tables = {"state.accounts": Memory(), "state.movements": Memory()}

    def read(self, *events: dict[str, Any] | Arrived) -> list[Alert]:
        """Read the events as a projector does whose offsets are at the beginning."""
        alerts: list[Alert] = []
        offsets: dict[str, int] = {}
        for each in events:
            one = each.event if isinstance(each, Arrived) else each
            received_us = _received_us(each)
            biz_type = one["biz_type"]
            offset = offsets.get(biz_type, 0)
            offsets[biz_type] = offset + 1
            source = typed_at(biz_type, offset, received_us)
            projection = PROJECTIONS[biz_type]
            table = self.tables[projection.topic]
            key, before, outcome, link = projection.apply(table, one, ACCOUNT, source)
            rules = tuple(rule for rule in self._rules if biz_type in rule.by_type)
            outcome = apply_rules(rules, outcome, one, ACCOUNT, source)
            table.put((key, before, outcome, link))
            alerts += outcome.alerts
        return [alert for alert in alerts if alert["rule"] not in ("LIQUIDATE_ONLY", "TRANSFER_RETURNED")]


def _received_us(each: dict[str, Any] | Arrived) -> int:
    if isinstance(each, Arrived):
        return int(event("TRANSFER", "documented-completed", ns=each.ns)["event_time"])
    return int(each["event_time"])


def said(alerts: list[Alert]) -> list[tuple[str, str, str]]:
    return [(alert["status"], alert["subject"], alert["event_id"]) for alert in alerts]


def no_trade(*codes: str, ns: int, **changes: Any) -> dict[str, Any]:
    return account_update(list(codes), ns=ns, event_id=f"update.{ns}", **changes)


HK, US = "HK_STOCK_NO_TRADE", "US_STOCK_NO_TRADE"


def test_a_condition_fires_resolves_and_keeps_its_start() -> None:
    projector = Projector(RULES["no-trade"])
    alerts = projector.read(no_trade(HK, ns=0), no_trade(HK, US, ns=SECOND), no_trade(US, ns=HOUR))
    assert said(alerts) == [
        ("FIRING", "HK", "update.0"),
        ("FIRING", "US", f"update.{SECOND}"),
        ("RESOLVED", "HK", f"update.{HOUR}"),
    ]
    fired, _, resolved = alerts
    assert fired["dedup_key"] == resolved["dedup_key"] == f"NO_TRADE/{ACCOUNT}/HK"
    assert resolved["condition"] == {
        "fired_alert_id": fired["alert_id"],
        "since_event_id": "update.0",
        "since": fired["event_time"],
        "since_text": fired["event_time_text"],
        "duration_us": 3_600_000_000,
    }
    [held] = projector.tables["state.accounts"].states.values()
    assert list(held["rules"]) == ["NO_TRADE/US"]
    changes = [active_change(alert) for alert in alerts]
    assert [(each.dedup_key[-2:], each.alert is None) for each in changes if each] == [
        ("HK", False),
        ("US", False),
        ("HK", True),
    ]


def test_events_that_are_read_again_alert_nothing() -> None:
    projector = Projector(*RULES.values())
    events = [
        no_trade(HK, ns=0),
        no_trade(ns=SECOND),
        event("ACCOUNT_RESTRICT", "documented", ns=0),
        event("ACCOUNT_RESTRICT", "documented", ns=SECOND),
        event("ACCOUNT_UNRESTRICTED", "documented", ns=2 * SECOND),
        event("ACCOUNT_CLOSE", "documented-approved", ns=0),
        event("ACCOUNT_INFO_UPDATE", "documented-rejected", ns=0),
        event("VIRTUAL_ACCOUNT_BCAN_UPDATE", "documented-failed", ns=0),
        transfer("REJECTED", ns=0),
        transfer("COMPLETED", ns=SECOND, amount=event("TRANSFER", "documented-completed", ns=0)["amount"]),
    ]
    first = projector.read(*events)
    assert {alert["rule"] for alert in first} == {
        *("NO_TRADE", "ACCOUNT_RESTRICTED", "ACCOUNT_CLOSED", "INFO_UPDATE_REJECTED"),
        *("TRADING_PERMISSION_DENIED", "TRANSFER_REJECTED"),
    }
    before = {name: dict(table.states) for name, table in projector.tables.items()}
    assert projector.read(*events) == []
    assert {name: dict(table.states) for name, table in projector.tables.items()} == before


def test_a_late_event_of_an_account_fires_its_occurrence_and_no_condition() -> None:
    projector = Projector(RULES["info-update-rejected"], RULES["no-trade"])
    rejected = event("ACCOUNT_INFO_UPDATE", "documented-rejected", ns=0, event_id="late")
    alerts = projector.read(
        event("ACCOUNT_INFO_UPDATE", "documented-approved", ns=SECOND),
        Arrived(rejected, 2 * SECOND),
        no_trade(ns=SECOND),
        Arrived(no_trade(HK, ns=0), 2 * SECOND),
    )
    assert [alert["event_id"] for alert in alerts] == ["late"]


def test_a_transfer_fires_once_whatever_ids_its_events_have() -> None:
    projector = Projector(RULES["transfer-rejected"])
    ids = {"client_request_id": None, "transfer_id": "T-1"}
    alerts = projector.read(
        transfer("REJECTED", ns=0, **ids),
        transfer("COMPLETED", ns=SECOND, client_request_id="R-1", transfer_id="T-1"),
        transfer("REJECTED", ns=2 * SECOND, client_request_id="R-1", transfer_id=None),
    )
    assert said(alerts) == [("FIRING", "T-1", "TRANSFER.REJECTED.0")]
    assert alerts[0]["movement"] == {
        "movement_id": f"{ACCOUNT}/TRANSFER/T-1",
        "client_request_id": None,
        "system_ids": {"transfer_id": "T-1"},
    }


def test_a_rule_applies_to_events_received_since_its_start() -> None:
    first = transfer("REJECTED", ns=0)
    rule = RULES["transfer-rejected"]._replace(since_us=first["event_time"] + 1_000_000)
    later = transfer("REJECTED", ns=SECOND, client_request_id="R-2")
    assert said(Projector(rule).read(first, later)) == [("FIRING", "R-2", f"TRANSFER.REJECTED.{SECOND}")]


def test_the_same_events_give_the_same_ids() -> None:
    one, other = (Projector(RULES["no-trade"]).read(no_trade(HK, ns=0), no_trade(ns=SECOND)) for _ in range(2))
    assert one == other
    assert len({alert["alert_id"] for alert in one}) == 2


def test_an_expression_without_a_value_names_its_rule_and_no_value() -> None:
    broken = RULES["transfer-rejected"].by_type["TRANSFER"]._replace(decide=lambda values: values["event"]["fee"] > 1)
    rule = RULES["transfer-rejected"]._replace(by_type={"TRANSFER": broken})
    with pytest.raises(EvaluationError) as problem:
        Projector(rule).read(transfer("REJECTED", ns=0))
    assert problem.value.__notes__ == ["the rule transfer-rejected has no value for this event: TypeError"]
