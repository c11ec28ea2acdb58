"""Command lines that a manifest gives to the program."""

from __future__ import annotations

from typing import Any

from broker_events.cli.main import cli


def parse(words: list[str]) -> None:
    """Parse a command line of the program without running it; raises click's UsageError where it's wrong."""
    command: Any = cli
    while words and hasattr(command, "get_command"):  # a group may be a command by itself
        context = command.make_context(words[0], [*words])
        command = command.get_command(context, words[0])
        assert command is not None, f"no such command: {words}"
        words = words[1:]
    command.make_context("broker-events", [*words])
