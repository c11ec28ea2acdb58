"""The README says what is so: settings, topics, commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker_events.cli.main import COMMANDS
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import load_catalog

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_every_setting_is_in_the_table_with_its_description() -> None:
    rows = re.findall(r"^\| ([A-Z_]+) \| (.*?) \| (.*) \|$", README, re.MULTILINE)
    documented = {name: text for name, _, text in rows}
    assert documented == {name.upper(): field.description for name, field in Settings.model_fields.items()}


def test_every_default_is_as_documented() -> None:
    rows = dict(re.findall(r"^\| ([A-Z_]+) \| `(.*?)` \| .* \|$", README, re.MULTILINE))
    for name, text in rows.items():
        default = Settings.model_fields[name.lower()].get_default(call_default_factory=True)
        shown = ",".join(default) if isinstance(default, tuple) else str(default)
        assert shown.lower() == text.lower(), name


@pytest.mark.parametrize("topic", load_catalog().topics)
def test_every_topic_is_in_the_table(topic: str) -> None:
    assert f"`broker.{topic}`" in README or f"`…{topic.removeprefix('event.')}`" in README


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([a-z][^)#]*)\)", README))))
def test_every_link_leads_somewhere(path: str) -> None:
    assert (Path(__file__).parents[2] / path).exists()


def test_every_command_that_is_named_exists() -> None:
    assert set(re.findall(r"(?<!\.)\bbroker-events ([a-z]+)", README)) <= {*COMMANDS}
