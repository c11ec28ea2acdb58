"""The runbook says what is so: alerts, commands, settings, reasons, links, and the numbers of the last bench run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from broker_events.cli.main import cli
from broker_events.runtime.settings import Settings
from broker_events.schemas.invalid_event import Reason

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "how-to" / "runbook.md").read_text(encoding="utf-8")
RULES = yaml.safe_load((ROOT / "helm" / "rules" / "broker-events.yaml").read_text(encoding="utf-8"))
ALERTING = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
ALERTS = [rule["alert"] for rule in ALERTING]
CAPACITY = "import json; from bench.report import capacity; print(end=capacity(json.load(open('bench/results.json'))))"


def anchors() -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", RUNBOOK, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_each_alert_has_its_section_and_each_section_its_alert() -> None:
    assert re.findall(r"^### (BrokerEvents\w+)$", RUNBOOK, re.MULTILINE) == ALERTS


def test_the_alerts_lead_to_their_sections() -> None:
    for rule in ALERTING:
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page.startswith("https://")
        assert page.endswith("/docs/how-to/runbook.md")
        assert anchor == rule["alert"].lower()


def test_severities_are_as_in_the_rules() -> None:
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in ALERTING}
    assert dict(re.findall(r"^### (BrokerEvents\w+)\n\n\*(\w+)\.\*", RUNBOOK, re.MULTILINE)) == severities


@pytest.mark.parametrize("target", sorted({*re.findall(r"\]\(([^)]+)\)", RUNBOOK)}))
def test_every_link_leads_somewhere(target: str) -> None:
    path, _, anchor = target.partition("#")
    if path:
        assert (ROOT / "docs" / "how-to" / path).exists()
    else:
        assert anchor in anchors()


@pytest.mark.parametrize("line", sorted({*re.findall(r"\bbroker-events ([a-z]+[^`\n|#]*)", RUNBOOK)}))
def test_every_command_that_is_shown_exists(line: str) -> None:
    words = line.split()
    group: click.Command | None = cli
    while isinstance(group, click.Group):
        group = group.get_command(click.Context(group), words.pop(0))
    assert group is not None
    known = {option for parameter in group.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_every_setting_that_is_named_exists() -> None:
    prefixes = "|".join(sorted({name.partition("_")[0].upper() for name in Settings.model_fields}))
    named = {*re.findall(rf"`(?:PIPELINE_)?((?:{prefixes})_[A-Z_]+)`", RUNBOOK)}
    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_every_reason_is_in_the_table() -> None:
    table = RUNBOOK.partition("| reason |")[2].partition("\n\n")[0]
    assert {*re.findall(r"`([a-z_0-9]+)`", table)} == {reason.value for reason in Reason}


def test_the_capacity_table_is_of_the_results_in_the_repository() -> None:
    shown = re.search(r"<!-- capacity -->\n(.*?)<!-- /capacity -->", RUNBOOK, re.DOTALL)
    assert shown
    done = subprocess.run([sys.executable, "-c", CAPACITY], cwd=ROOT, check=True, capture_output=True, text=True)
    assert shown[1] == done.stdout


def test_every_text_of_exit_code_2_is_in_the_code() -> None:
    section = RUNBOOK.partition("## A process ends with exit code 2")[2].partition("\n## ")[0]
    texts = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert texts
    code = " ".join(
        path.read_text(encoding="utf-8")
        for folder in ("audit", "cli", "console", "ingest", "processors", "runtime", "schemas", "sinks")
        for path in (ROOT / folder).rglob("*.py")
    )
    assert [text for text in texts if text not in code] == []
