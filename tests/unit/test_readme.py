"""README.md is short and names what exists: topics and commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker_events.cli.main import COMMANDS
from broker_events.schemas.catalog import load_catalog

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
MAX_LINES = 180


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= MAX_LINES


@pytest.mark.parametrize("topic", load_catalog().topics)
def test_every_topic_is_in_the_table(topic: str) -> None:
    assert f"`broker.{topic}`" in README or f"`…{topic.removeprefix('event.')}`" in README, (
        f"add `broker.{topic}` to the table of topics in README.md"
    )


def test_every_command_that_is_named_exists() -> None:
    assert set(re.findall(r"(?<!\.)\bbroker-events ([a-z]+)", README)) <= {*COMMANDS}
