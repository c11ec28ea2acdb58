"""Rights in Kafka: the documented table, the printed commands, and what a role is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker_events.cli.main import cli
from broker_events.runtime.kafka.acls import ROLES, grants
from broker_events.runtime.settings import Settings

TABLE = (Path(__file__).parents[2] / "docs" / "how-to" / "security.md").read_text(encoding="utf-8")


def acls(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["topics", "acls", *arguments])


def test_the_table_in_the_documentation_says_what_the_code_says() -> None:
    rows = re.findall(r"^\| ([a-z]+) \| ([a-z-]+) `(.+?)` \| (.+?) \|$", TABLE, re.MULTILINE)
    assert rows == [
        (role, grant.resource, f"{grant.name}{'*' * grant.prefixed}", ", ".join(grant.operations))
        for role in ROLES
        for grant in grants(Settings(), role)
    ]


def test_commands_of_one_role() -> None:
    lines = acls("bridge").output.splitlines()
    assert lines[0] == "# bridge"
    assert len(lines) == 1 + len(grants(Settings(), "bridge"))
    assert shlex.split(lines[1]) == [
        *("kafka-acls", "--bootstrap-server", "127.0.0.1:9092", "--command-config", "admin.properties", "--add"),
        *("--allow-principal", "User:broker-bridge", "--topic", "broker.", "--resource-pattern-type", "prefixed"),
        *("--operation", "Describe", "--operation", "DescribeConfigs"),
    ]


def test_principals_and_groups_of_a_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_TOPIC_PREFIX", "eu")
    output = acls("router", "subscriber", "--principal", "subscriber=User:CN=risk team", "--group", "risk-").output
    assert "--allow-principal User:eu-router --topic eu.raw --operation Read\n" in output
    assert "--allow-principal 'User:CN=risk team' --group risk- --resource-pattern-type prefixed" in output


@pytest.mark.parametrize("arguments", [("nobody",), ("--principal", "nobody=User:a"), ("--principal", "router=a")])
def test_what_is_no_role_or_principal_is_refused(arguments: tuple[str, ...]) -> None:
    done = acls(*arguments)
    assert done.exit_code == 2
    assert "router" in done.output
