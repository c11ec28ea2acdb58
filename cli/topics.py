"""`broker-events topics`."""

from __future__ import annotations

import sys

import click

from runtime.kafka import admin_client
from runtime.settings import load_settings
from runtime.topics import apply_topics, diff_topics, plan_topics
from schemas.catalog import load_catalog


@click.group("topics")
def command() -> None:
    """The pipeline's topics, as the contracts declare them: create, alter, compare.

    \b
    Example:
      broker-events topics diff && broker-events topics apply
    """


@command.command("apply")
def apply() -> None:
    """Create missing topics and alter settings that differ.

    Refuses, before it changes anything, a topic with another partition count or cleanup policy: an account would
    change its partition, or records would vanish.

    \b
    Example:
      PIPELINE_PARTITIONS=48 PIPELINE_REPLICATION_FACTOR=3 broker-events topics apply
    """
    settings = load_settings()
    plans = plan_topics(load_catalog(), settings)
    done = apply_topics(admin_client(settings), plans)
    for difference in done:
        verb = (
            "created" if difference.found is None else f"{difference.what}: {difference.found} -> {difference.wanted}"
        )
        click.echo(f"{difference.topic}: {verb}")
    click.echo(f"{len(plans)} topics as planned, {len(done)} changes")


@command.command("diff")
def diff() -> None:
    """Show how the cluster differs from the contracts; exit code 1 if it does.

    \b
    Example:
      broker-events topics diff
    """
    settings = load_settings()
    plans = plan_topics(load_catalog(), settings)
    differences = diff_topics(admin_client(settings), plans)
    for difference in differences:
        click.echo(str(difference))
    click.echo(f"{len(plans)} topics planned, {len(differences)} differences")
    sys.exit(1 if differences else 0)
