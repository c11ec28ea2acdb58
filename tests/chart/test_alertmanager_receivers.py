"""The templates for Slack, PagerDuty and Opsgenie, by the Alertmanager's own tool."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from prometheus_tools import tool

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
CONFIG = DEPLOY / "alertmanager-receivers.yml"


def amtool(*arguments: str | Path) -> str:
    done = subprocess.run([tool("amtool"), *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_is_valid() -> None:
    assert "Found" in amtool("check-config", CONFIG)


@pytest.mark.parametrize(
    ("severity", "receivers"), [("critical", "on-call,slack"), ("warning", "slack"), ("info", "slack")]
)
def test_who_hears_of_what(severity: str, receivers: str) -> None:
    found = amtool("config", "routes", "test", f"--config.file={CONFIG}", f"severity={severity}", "alertname=X")
    assert found.strip() == receivers


def test_a_notification_says_what_it_is_about(tmp_path: Path) -> None:
    alert = {
        "status": "firing",
        "labels": {"alertname": "LIQUIDATE_ONLY", "severity": "critical", "market": "HK", "account": "…HA4E"},
        "annotations": {"summary": "account …HA4E became liquidate-only in HK", "alert_id": "id-1"},
        "startsAt": "2026-01-31T09:30:00Z",
    }
    data = {"status": "firing", "alerts": [alert], "commonLabels": alert["labels"]}
    file = tmp_path / "data.json"
    file.write_text(json.dumps(data))
    template = (f"--template.glob={DEPLOY}/*.tmpl", f"--template.data={file}")
    title = amtool("template", "render", *template, '--template.text={{ template "broker.title" . }}')
    assert title.strip() == "FIRING: LIQUIDATE_ONLY HK account …HA4E"
    text = amtool("template", "render", *template, '--template.text={{ template "broker.text" . }}')
    assert text.strip() == "account …HA4E became liquidate-only in HK (alert id-1, since 2026-01-31T09:30:00Z)"
