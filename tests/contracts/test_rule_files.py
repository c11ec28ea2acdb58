"""The rules as data: each passes its samples, and a wrong one is refused with file, line and column."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from broker_events.processors.alert_rules.check import check_rule
from broker_events.processors.alert_rules.load import SHIPPED, load_rules
from broker_events.processors.alert_rules.rule import compile_rule
from broker_events.processors.alert_rules.rule_file import RuleError
from broker_events.processors.alert_rules.samples import run_samples
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import load_settings
from broker_events.schemas.catalog import load_catalog

CATALOG = load_catalog()
RULES = sorted(folder.name for folder in SHIPPED.iterdir())
ASKED_FOR = {
    "account-closed",
    "account-restricted",
    "credit-failed",
    "exchange-or-instant-funding-failed",
    "fee-failed",
    "info-update-rejected",
    "large-transfer",
    "no-trade",
    "trading-permission-denied",
    "transfer-rejected",
}


def test_every_alert_of_the_documents_has_a_rule() -> None:
    assert set(RULES) == ASKED_FOR


@pytest.mark.parametrize("name", RULES)
def test_a_rule_passes_its_samples(name: str) -> None:
    rule = check_rule(CATALOG, SHIPPED / name)
    assert [result.problem for result in run_samples(CATALOG, rule)].count("") >= 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED / "fee-failed", tmp_path / "rules" / "big-fee"))


def changed(folder: Path, old: str, new: str) -> Path:
    path = folder / "rule.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


WHEN = """when = 'event.status.spells("FAILED") || event.status.spells("REJECTED")'"""

NULL = """when = '(event.status.spells("FAILED") || event.status.spells("REJECTED")) && event.update_time > now'"""


@pytest.mark.parametrize(
    ("old", "new", "place", "problem"),
    [
        (
            WHEN,
            "when = 'event.amount > 1.5'",
            "8:22",
            "when: found no matching overload for '_>_' applied to '(decimal, double)'",
        ),
        (WHEN, "when = 'event.amount == 1.5'", "8:22", "applied to '(decimal, double)'"),
        (WHEN, "when = '1.5 == 1.5'", "8:9", 'when: a float: write decimal("1.5")'),
        (WHEN, "when = 'event.nope == 1'", "8:14", "when: undefined field 'nope' not found"),
        (WHEN, "when = '''\nevent.status == \"A\" &&\n  event.nope == 1'''", "10:8", "undefined field 'nope'"),
        (WHEN, "when = 'event.status =='", "8:24", "Syntax error"),
        (WHEN, "when = 'event.amount'", "8:9", "when: must be a bool, not decimal"),
        (WHEN, "when = 'state.rules.size() > 0'", "8:14", "undefined field 'rules'"),
        (WHEN, 'when = "true"', "8:1", "when: write expressions in single quotes"),
        (WHEN, "", "1:1", "kind occurrence needs when"),
        (WHEN, WHEN + "\nholds = 'true'", "1:1", "kind occurrence needs when and has no holds"),
        (WHEN, WHEN + "\nseverty = 1", "9:1", "severty: Extra inputs are not permitted"),
        (WHEN, WHEN + "\n= 1", "9:1", "is not TOML"),
        ('severity = "warning"', 'severity = "loud"', "4:1", "severity: Input should be 'critical' or 'warning'"),
        ('on = ["FEE_DEDUCTION"]', 'on = ["FEES"]', "6:1", "on: no projection of the event type FEES"),
        ('kind = "occurrence"', 'kind = "condition"', "1:1", "kind condition needs holds"),
        (WHEN, NULL, "1:1", "FEE_DEDUCTION documented-failed, with null in every field that may be null: TypeError"),
        (WHEN, "when = 'false'", "1:1", "expected 2"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_place(folder: Path, old: str, new: str, place: str, problem: str) -> None:
    path = changed(folder, old, new)
    with pytest.raises(RuleError) as refusal:
        check_rule(CATALOG, folder)
    assert problem in str(refusal.value)
    if place != "1:1":
        assert str(refusal.value).startswith(f"{path}:{place}: ")


def without_samples(folder: Path) -> None:
    shutil.rmtree(folder / "samples")


def without_alerts(folder: Path) -> None:
    for path in (folder / "samples").iterdir():
        path.write_text(json.dumps({"events": [], "alerts": []}), encoding="utf-8")


def another_summary(folder: Path) -> None:
    for path in (folder / "samples").iterdir():
        path.write_text(path.read_text(encoding="utf-8").replace("not collected", "lost"), encoding="utf-8")


@pytest.mark.parametrize(
    ("break_it", "problem"),
    [
        (without_samples, "rule.toml:1:1: has no sample"),
        (without_alerts, "rule.toml:1:1: no sample expects an alert"),
        (another_summary, "failed-once-per-fee.json:1:1: alert 1: summary is"),
    ],
)
def test_a_rule_without_a_right_sample_is_refused(folder: Path, break_it: Callable[[Path], None], problem: str) -> None:
    break_it(folder)
    with pytest.raises(RuleError, match=problem):
        check_rule(CATALOG, folder)


def test_rules_of_a_folder_are_loaded_by_the_settings(folder: Path) -> None:
    settings = load_settings(rules="big-fee@2026-01-31T00:00:00Z,no-trade", rules_folder=folder.parent)
    big_fee, no_trade = load_rules(settings, CATALOG)
    assert (big_fee.rule.name, big_fee.since_us, no_trade.since_us) == ("BIG_FEE", 1_769_817_600_000_000, 0)
    assert load_rules(load_settings(), CATALOG) == ()


def test_a_name_of_the_package_is_refused_in_a_folder(folder: Path) -> None:
    folder.rename(folder.parent / "no-trade")
    with pytest.raises(OperatorActionRequired, match="the name is already used by"):
        load_rules(load_settings(rules_folder=folder.parent), CATALOG)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"rules_folder": "/no/such/folder"}, "PIPELINE_RULES_FOLDER: no such folder"),
        ({"rules": "no-trades"}, "PIPELINE_RULES: no rule 'no-trades'; there are account-closed, "),
        ({"rule_thresholds": {"x": {}}}, "PIPELINE_RULE_THRESHOLDS: no rule 'x'"),
        (
            {"rules": "large-transfer", "rule_thresholds": {"large-transfer": {"amount": "1"}}},
            "PIPELINE_RULE_THRESHOLDS: large-transfer: no threshold 'amount'; there are amounts, other",
        ),
        (
            {"rules": "large-transfer", "rule_thresholds": {"large-transfer": {"other": 1.5}}},
            'PIPELINE_RULE_THRESHOLDS: large-transfer: other must be a decimal as text, such as "10000.50", not 1.5',
        ),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(OperatorActionRequired) as refusal:
        load_rules(load_settings(**settings), CATALOG)
    assert str(refusal.value).startswith(problem)


def test_a_setting_replaces_a_threshold() -> None:
    rule = compile_rule(CATALOG, SHIPPED / "large-transfer", {"other": "0.000000000000000001"})
    assert rule.thresholds["other"] == 1
