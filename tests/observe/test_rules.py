"""The alert rules: valid, each with a test of its own, and reading only metrics and labels that exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from metric_names import missing
from prometheus_tools import promtool

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RULES = ROOT / "helm" / "rules" / "broker-events.yaml"
UNIT_TESTS = HERE / "rules_test.yaml"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


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


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_reads_what_exists(rule: dict[str, Any]) -> None:
    assert not missing(rule["expr"])
