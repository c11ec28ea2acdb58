"""The equations of a run: each holds for a correct run, and each violation breaks its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker_events.devstack.balance import Numbers, Simulated, alert_counts, balance, broken

FIRING, RESOLVED = ("LIQUIDATE_ONLY", "FIRING"), ("LIQUIDATE_ONLY", "RESOLVED")
RETURNED = ("TRANSFER_RETURNED", "FIRING")

SIMULATED = Simulated(
    events=100,
    typed={"CREDIT": 40, "TRANSFER": 57},
    alerts={FIRING: 5, RESOLVED: 2, RETURNED: 4},
    active={"LIQUIDATE_ONLY": 3},
)
CORRECT = Numbers(
    received=104,
    raw=104,
    distinct=100,
    duplicates=4,
    typed={"CREDIT": 40, "TRANSFER": 57},
    quarantined={"bad_time": 2, "not_json": 1},
    alerts={FIRING: 5, RESOLVED: 2, RETURNED: 4},
    active={"LIQUIDATE_ONLY": 3},
    simulated=SIMULATED,
)

RECEIVED, ROUTED = "received + replayed = raw", "raw = typed + quarantined + duplicates"
NOTHING, LOST = "the simulator pushed something", "simulated = raw without repetitions"
TYPES, ALERTS = "typed as simulated, type by type", "alerts as simulated"


def test_a_correct_run_is_balanced() -> None:
    assert [check.text for check in balance(CORRECT)] == [RECEIVED, ROUTED, NOTHING, LOST, TYPES, ALERTS]
    assert broken(CORRECT) == []


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        ({"received": 103}, {RECEIVED}),
        ({"received": 105}, {RECEIVED}),
        ({"raw": 103, "distinct": 99}, {RECEIVED, ROUTED, LOST}),
        ({"distinct": 99, "duplicates": 5, "quarantined": {"bad_time": 2}}, {LOST}),
        ({"duplicates": 3}, {ROUTED}),
        ({"quarantined": {"bad_time": 4}}, {ROUTED}),
        ({"quarantined": {"bad_time": 2}}, {ROUTED}),
        ({"typed": {"CREDIT": 40, "TRANSFER": 56}}, {ROUTED, TYPES}),
        ({"typed": {"CREDIT": 41, "TRANSFER": 57}}, {ROUTED, TYPES}),
        ({"typed": {"CREDIT": 41, "TRANSFER": 56}}, {TYPES}),
        ({"typed": {"CREDIT": 40, "EXCHANGE": 57}}, {TYPES}),
        ({"alerts": {FIRING: 4, RESOLVED: 2, RETURNED: 4}}, {ALERTS}),
        ({"alerts": {FIRING: 5, RESOLVED: 3, RETURNED: 4}}, {ALERTS}),
        ({"alerts": {FIRING: 5, RESOLVED: 2}}, {ALERTS}),
        ({"alerts": {FIRING: 5, RESOLVED: 2, RETURNED: 4, ("NEW_RULE", "FIRING"): 1}}, {ALERTS}),
        ({"active": {"LIQUIDATE_ONLY": 2}}, {ALERTS}),
        ({"active": {}}, {ALERTS}),
        ({"active": {"LIQUIDATE_ONLY": 3, "TRANSFER_RETURNED": 1}}, {ALERTS}),
    ],
)
def test_each_violation_breaks_its_equation(change: dict[str, Any], texts: set[str]) -> None:
    assert {check.text for check in broken(replace(CORRECT, **change))} == texts


def test_alerts_of_rules_that_are_on_are_not_counted_by_the_simulator() -> None:
    alerts = {FIRING: 5, RESOLVED: 2, RETURNED: 4, ("NO_TRADE", "FIRING"): 1}
    numbers = replace(CORRECT, alerts=alerts, active={**CORRECT.active, "NO_TRADE": 1})
    assert [check.text for check in broken(numbers)] == [ALERTS]
    assert broken(replace(numbers, uncounted=frozenset({"NO_TRADE"}))) == []


def test_a_run_without_events_is_not_balanced() -> None:
    nothing = Simulated(events=0, typed={}, alerts={}, active={})
    assert [check.text for check in broken(Numbers(simulated=nothing))] == [NOTHING]


@pytest.mark.parametrize(("received", "holds"), [(104, True), (90, True), (105, False)])
def test_the_count_of_a_killed_bridge_is_a_lower_bound(received: int, holds: bool) -> None:  # noqa: FBT001  a table
    numbers = replace(CORRECT, received=received, received_exact=False)
    assert [check.text for check in broken(numbers)] == ([] if holds else ["received + replayed <= raw"])


@pytest.mark.parametrize("exact", [True, False])
def test_no_bridge_has_received_a_replayed_record(exact: bool) -> None:  # noqa: FBT001  a table
    replayed = replace(CORRECT, received_exact=exact, raw=105, quarantined={"bad_time": 4})
    assert broken(replace(replayed, replayed=1)) == []
    assert len(broken(replace(replayed, replayed=2))) == 1


def test_without_a_simulator_only_the_counts_of_topics_are_compared() -> None:
    numbers = replace(CORRECT, simulated=None)
    assert [check.text for check in balance(numbers)] == [RECEIVED, ROUTED]
    assert [(alert.expected, alert.holds) for alert in alert_counts(numbers)] == [(None, True)] * 4


def test_a_difference_is_named_with_its_numbers() -> None:
    numbers = replace(CORRECT, typed={"CREDIT": 39, "TRANSFER": 57, "EXCHANGE": 1}, active={"LIQUIDATE_ONLY": 7})
    found = {check.text: check.numbers for check in broken(numbers)}
    assert found == {TYPES: "CREDIT 39 of 40, EXCHANGE 1 of 0", ALERTS: "LIQUIDATE_ONLY active 7 of 3"}


def test_the_simulators_report_is_read() -> None:
    report = {
        "log": {"events": 9, "by_biz_type": {"CREDIT": 8}},
        "expected_alerts": {
            "LIQUIDATE_ONLY": {"FIRING": 3, "RESOLVED": 1, "active": 2},
            "TRANSFER_RETURNED": {"FIRING": 4},
        },
    }
    assert Simulated.from_report(report) == Simulated(
        events=9, typed={"CREDIT": 8}, alerts={FIRING: 3, RESOLVED: 1, RETURNED: 4}, active={"LIQUIDATE_ONLY": 2}
    )
