"""The alert rules: valid, each with a test of its own, and reading only metrics and labels that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from metric_names import missing
from prometheus_tools import promtool

from broker_events.runtime.process.metrics import Metrics

OURS = "broker_events_"
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RULES = ROOT / "helm" / "rules" / "broker-events.yaml"
UNIT_TESTS = HERE / "rules_test.yaml"


# Metrics that no alert rule reads, and why none has to. One that counts or shows harm doesn't belong here.
WITHOUT_A_RULE = {
    "duplicate_keys": "the broker's own documents repeat a member; one that would change the event is quarantine",
    "received_bytes": "a volume",
    "consumed_bytes": "a volume",
    "batch_records": "a size",
    "alerts": "what it is all for; alerts go to their own consumers",
    "active_alerts": "as alerts",
    "without_account_id": "legitimate: the account may not exist yet; what is not is NoAccount",
    "connected": "the broker pings an open stream: BridgeSilent",
    "reconnects": "each resumes where the last one ended; one that does not is BridgeSilent",
    "push_to_raw_seconds": "what waits is lag_seconds; latency is seen too late, after the event",
    "raw_to_typed_seconds": "as push_to_raw_seconds",
    "typed_to_alert_seconds": "as push_to_raw_seconds",
    "push_to_alert_seconds": "as push_to_raw_seconds",
    "transaction_seconds": "slow ones are lag, failed ones TransactionsFailing",
    "commit_seconds": "as transaction_seconds",
    "lag_records": "lag_seconds says what it means",
    "merged_movements": "an event that comes late with another id; what it harms is alerted_twice and id_conflicts",
    "rebalances": "a group that does not become stable is lag, or NothingAssigned",
    "restored_records": "a volume",
    "restore_seconds": "one that lasts is lag, or NothingAssigned",
}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def all_expressions() -> list[str]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def test_the_rules_are_valid() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stderr


def test_the_rules_raise_and_end_alerts_as_they_should() -> None:
    done = promtool("test", "rules", UNIT_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_is_complete(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert {"summary", "description", "runbook"} <= rule["annotations"].keys()
    tested = [
        bool(sample["exp_samples"])
        for test in yaml.safe_load(UNIT_TESTS.read_text(encoding="utf-8"))["tests"]
        for sample in test["promql_expr_test"]
        if rule["alert"] in sample["expr"]
    ]
    assert {True, False} <= {*tested}, "needs a case that raises it, and one that does not"


@pytest.mark.parametrize("expression", all_expressions())
def test_a_rule_reads_what_exists(expression: str) -> None:
    assert not missing(expression)


def test_every_metric_has_a_rule_or_a_reason_to_have_none() -> None:
    metrics = {
        family.name.removeprefix("broker_events_") for family in Metrics().registry.collect() if OURS in family.name
    }
    read = " ".join(all_expressions())
    suffix = "(_total|_bucket|_sum|_count|_info)?"
    without = {name for name in metrics if not re.search(rf"\b{OURS}{name}{suffix}\b", read)}
    assert without == WITHOUT_A_RULE.keys()
