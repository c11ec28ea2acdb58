"""`broker-events schemas`."""

from __future__ import annotations

import sys

import click

from broker_events.cli.guessing_group import GuessingGroup
from broker_events.cli.output import plural
from broker_events.runtime.schema_ids import answering
from broker_events.runtime.settings import load_settings
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.registry import desired_subjects


@click.group("schemas", cls=GuessingGroup)
def command() -> None:
    """Register and check the Avro schemas of the contracts.

    \b
    Examples:
      broker-events schemas register
      broker-events schemas check || broker-events schemas register
    """


@command.command("register")
def register() -> None:
    """Register the schemas of all contracts.

    Sets compatibility FULL_TRANSITIVE on each subject <topic>-value, and checks each schema against all registered
    versions. If one check fails, nothing is registered. A changed type, precision or scale fails, even if Avro could
    convert it, and so does a removed field. Workers never register schemas. Repeating this command is safe.

    Exit codes: 0 registered, 2 a schema is incompatible or the registry rejected it.

    \b
    Examples:
      broker-events schemas register
      PIPELINE_SCHEMA_REGISTRY_URL=http://registry:8081 broker-events schemas register
    """
    settings = load_settings()
    subjects = desired_subjects(load_catalog(), settings.topic_prefix)
    done = answering(settings, lambda registry: registry.register(subjects))
    for registration in done:
        click.echo(f"{registration.subject}: {registration.outcome}, id {registration.schema_id}")
    changes = sum(registration.outcome != "unchanged" for registration in done)
    click.echo(f"{len(done)} subjects, {changes} {plural('change', changes)}")


@command.command("check")
def check() -> None:
    """Compare the schemas of the contracts with the registry.

    Reads every registered version of every subject and writes nothing. Findings: `missing` (nothing is registered),
    `new version` (compatible, not registered), `wrong level` (compatibility is not FULL_TRANSITIVE), `incompatible`
    (readers of a registered version would fail or read other values).

    \b
    Exit codes: 0 all schemas are registered, 1 run `schemas register`, 2 a schema is incompatible: change it.

    \b
    Examples:
      broker-events schemas check
      broker-events schemas check || broker-events schemas register
    """
    settings = load_settings()
    subjects = desired_subjects(load_catalog(), settings.topic_prefix)
    findings = answering(settings, lambda registry: registry.check(subjects))
    for finding in findings:
        click.echo(f"{finding.subject}: {finding.problem}: {finding.detail}")
    click.echo(f"{len(subjects)} subjects, {len(findings)} findings")
    incompatible = any(finding.problem == "incompatible" for finding in findings)
    if findings and not incompatible:
        click.echo("run `broker-events schemas register`")
    sys.exit(2 if incompatible else 1 if findings else 0)
