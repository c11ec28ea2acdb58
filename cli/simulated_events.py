"""Consent to simulated events in a cluster that the settings name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from broker_events.runtime.settings import Settings

OPTION: Final = "--yes-write-simulated-events-to"

consent_option: Final = click.option(
    OPTION,
    "simulated_to",
    metavar="PREFIX",
    help="Write simulated events to the topics of this prefix without asking for confirmation.",
)


def check_consent(settings: Settings, simulated_to: str) -> None:
    """Raise UsageError unless the prefix that the option names is that of the settings."""
    if simulated_to != settings.topic_prefix:
        raise click.UsageError(f"{OPTION} {simulated_to}: PIPELINE_TOPIC_PREFIX is {settings.topic_prefix}")


def ask_consent(settings: Settings) -> None:
    """Ask on the terminal for the prefix. Raises UsageError without a terminal, Abort for any other answer."""
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"this writes simulated events to Kafka at {settings.kafka_bootstrap_servers}, topics "
            f"{settings.topic('*')}, and there is no terminal to ask on; add {OPTION} {settings.topic_prefix}"
        )
    click.echo(
        f"This writes simulated events, alerts and state to Kafka at {settings.kafka_bootstrap_servers}, "
        f"topics {settings.topic('*')}. They can't be taken back.",
        err=True,
    )
    answer = click.prompt("Type the topic prefix to go on", default="", show_default=False, err=True)
    if answer != settings.topic_prefix:
        click.echo("Not the prefix: nothing was written.", err=True)
        raise click.Abort
