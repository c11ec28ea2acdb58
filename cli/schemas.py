"""`broker-events schemas`."""

from __future__ import annotations

import sys

import click

from broker_events.cli.output import plural
from broker_events.runtime.schema_ids import open_registry, registry_problem
from broker_events.runtime.settings import load_settings
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.registry import RegistryError, desired_subjects


@click.group("schemas")
def command() -> None:
    """The contracts' Avro schemas and the registry: register, check.

    \b
    Example, in a deployment pipeline:
      broker-events schemas check || broker-events schemas register
    """


@command.command("register")
def register() -> None:
    """Register every contract's schema under <topic>-value; safe to repeat.

    First sets compatibility FULL_TRANSITIVE and tests every schema against all registered versions; if one fails,
    nothing is registered (exit code 2). A type, precision or scale that differs fails, also where Avro could convert
    it; so does a field that is gone. Workers never register: they stop where a schema is missing.

    \b
    Example:
      PIPELINE_SCHEMA_REGISTRY_URL=http://registry:8081 broker-events schemas register
    """
    settings = load_settings()
    try:
        done = open_registry(settings).register(desired_subjects(load_catalog(), settings.topic_prefix))
    except RegistryError as error:
        raise registry_problem(error) from None
    for registration in done:
        click.echo(f"{registration.subject}: {registration.outcome}, id {registration.schema_id}")
    changes = sum(registration.outcome != "unchanged" for registration in done)
    click.echo(f"{len(done)} subjects, {changes} {plural('change', changes)}")


@command.command("check")
def check() -> None:
    """Compare the contracts' schemas with the registry.

    Reads every registered version of every subject; changes nothing. A finding is one of: `missing` (nothing is
    registered), `new version` (compatible, not registered yet), `wrong level` (compatibility is not FULL_TRANSITIVE),
    `incompatible` (readers of a registered version would fail or read other values).

    \b
    Exit codes: 0 everything is registered, 1 `schemas register` is needed, 2 a schema is incompatible: change it.

    \b
    Examples:
      broker-events schemas check
      broker-events schemas check || broker-events schemas register
    """
    settings = load_settings()
    subjects = desired_subjects(load_catalog(), settings.topic_prefix)
    try:
        findings = open_registry(settings).check(subjects)
    except RegistryError as error:
        raise registry_problem(error) from None
    for finding in findings:
        click.echo(f"{finding.subject}: {finding.problem}: {finding.detail}")
    click.echo(f"{len(subjects)} subjects, {len(findings)} findings")
    incompatible = any(finding.problem == "incompatible" for finding in findings)
    if findings and not incompatible:
        click.echo("run `broker-events schemas register`")
    sys.exit(2 if incompatible else 1 if findings else 0)
