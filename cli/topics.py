"""`broker-events topics`."""

from __future__ import annotations

import shlex
import sys

import click

from broker_events.cli.guessing_group import GuessingGroup
from broker_events.cli.output import plural
from broker_events.runtime.kafka.acls import ROLES, Grant, grants, user
from broker_events.runtime.kafka.clients import admin_client, answering
from broker_events.runtime.kafka.topics import apply_topics, diff_topics, plan_topics
from broker_events.runtime.settings import load_settings
from broker_events.schemas.catalog import load_catalog


@click.group("topics", cls=GuessingGroup)
def command() -> None:
    """Create and compare topics, and print their ACLs.

    \b
    Examples:
      broker-events topics diff
      broker-events topics apply
    """


@command.command("apply")
def apply() -> None:
    """Create missing topics and alter settings that differ.

    Reads the contracts and the cluster. If a topic has another partition count or cleanup policy, it changes nothing:
    accounts would move to other partitions, or records would be deleted.

    Exit codes: 0 all topics are as declared, 2 a topic cannot be altered or a permission is missing.

    \b
    Examples:
      broker-events topics apply
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
    click.echo(f"{len(plans)} topics as planned, {len(done)} {plural('change', len(done))}")


@command.command("diff")
def diff() -> None:
    """Show how the cluster's topics differ from the contracts.

    Reads the cluster and writes nothing.

    Exit codes: 0 equal, 1 different.

    \b
    Examples:
      broker-events topics diff
      broker-events topics diff || broker-events topics apply
    """
    settings = answering(load_settings())
    plans = plan_topics(load_catalog(), settings)
    differences = diff_topics(admin_client(settings), plans)
    for difference in differences:
        click.echo(str(difference))
    click.echo(f"{len(plans)} topics planned, {len(differences)} {plural('difference', len(differences))}")
    sys.exit(1 if differences else 0)


def _principals(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    given = {}
    for text in texts:
        role, _, principal = text.partition("=")
        if role not in ROLES or ":" not in principal:
            raise click.BadParameter(f"{text!r} is not ROLE=TYPE:NAME with a role of {', '.join(ROLES)}")
        given[role] = principal
    return given


@command.command("acls")
@click.argument("roles", nargs=-1, type=click.Choice(ROLES), metavar="[ROLE]...")
@click.option(
    "--principal",
    "principals",
    multiple=True,
    metavar="ROLE=PRINCIPAL",
    callback=_principals,
    help="Principal of a role. Repeatable.  [default: User:<topic prefix>-<role>]",
)
@click.option("--group", help="Prefix of the subscriber's group ids.  [default: <topic prefix>-subscriber]")
def acls(*, roles: tuple[str, ...], principals: dict[str, str], group: str | None) -> None:
    """Print kafka-acls commands with least privileges per role.

    ROLE is bridge, router, projector, deliverer (for deliver), lake, console, topics (for `topics apply`), operator
    (for tail, ledger and other reads), replayer (for quarantine replay), repairer (for rebuild --apply and offsets
    accept), copier (for copy) or subscriber; all of them by default. This command does not connect to Kafka. The
    printed commands read an admin's credentials from admin.properties. docs/how-to/security.md has the same grants
    as a table.

    Exit codes: 0 success, 2 usage.

    \b
    Examples:
      broker-events topics acls > grant-all.sh
      broker-events topics acls router --principal 'router=User:CN=router.example.com'
      broker-events topics acls subscriber --principal subscriber=User:risk --group risk-
    """
    settings = load_settings()
    for role in roles or ROLES:
        click.echo(f"# {role}")
        principal = principals.get(role, f"User:{user(settings, role)}")
        for grant in grants(settings, role, group):
            click.echo(_kafka_acls(grant, principal, settings.kafka_bootstrap_servers))


def _kafka_acls(grant: Grant, principal: str, bootstrap_servers: str) -> str:
    words = ["kafka-acls", "--bootstrap-server", bootstrap_servers, "--command-config", "admin.properties", "--add"]
    words += ["--allow-principal", principal, f"--{grant.resource}", grant.name]
    words += ["--resource-pattern-type", "prefixed"] if grant.prefixed else []
    words += [word for operation in grant.operations for word in ("--operation", operation)]
    return shlex.join(words)
