"""`broker-events lake`."""

from __future__ import annotations

import sys
from functools import partial

import click

from broker_events.cli.worker import run_worker_command, worker_options
from broker_events.runtime.settings import load_settings


@click.group("lake", invoke_without_command=True)
@worker_options
@click.option("--until-end", is_flag=True, help="Commit everything up to the current ends of the topics, then exit.")
@click.pass_context
def command(context: click.Context, instance_id: str | None, http_port: int | None, *, until_end: bool) -> None:
    """Copy topics to Iceberg tables, each record once.

    Without a subcommand, runs a worker until SIGTERM or Ctrl-C. Reads the topics of PIPELINE_LAKE_TABLES (default: raw,
    typed events, alerts, quarantine and states) and appends their records to the tables. The tables hold the offsets,
    so a restart neither loses nor doubles a row. A second worker of a table takes it over, and the first one exits
    with 4.

    Exit codes: 0 stopped, 2 settings, permissions, or a table that does not belong to its topic, 3 a table stopped at
    a record that does not fit, 4 another worker has taken a table over, do not restart, 70 restart required.

    \b
    Examples:
      broker-events lake apply && broker-events lake
      PIPELINE_LAKE_TABLES=raw,alerts broker-events lake --instance-id lake-0 --http-port 9467
    """
    if context.invoked_subcommand is not None:
        return
    from broker_events.sinks.lake import worker

    run = partial(worker.run, until_end=until_end)
    run_worker_command(worker.NAME, run, instance_id=instance_id, http_port=http_port)


@command.command("apply")
def apply() -> None:
    """Create the namespace and tables, and add columns.

    Reads the contracts. Writes tables, column docs and table properties to the catalog of PIPELINE_LAKE_CATALOG.
    Safe to repeat. It never removes or changes a column.

    Exit codes: 0 done, 2 settings, or a column that would need another type, 70 the catalog did not answer.

    \b
    Examples:
      broker-events lake apply
      PIPELINE_LAKE_WAREHOUSE=/data/lake broker-events lake apply
    """
    from broker_events.schemas.catalog import load_catalog
    from broker_events.sinks.lake.iceberg.store import Lake
    from broker_events.sinks.lake.tables import chosen_tables

    settings = load_settings()
    lake = Lake(settings)
    for table in chosen_tables(load_catalog(), settings.lake_tables):
        done = lake.apply(table, settings.topic(table.topic))
        click.echo(f"{lake.namespace}.{table.name}: {'; '.join(done) if done else 'unchanged'}")


@command.command("verify")
@click.option("--no-topics", is_flag=True, help="Check the tables alone, without Kafka.")
@click.option("--engine", type=click.Choice(["duckdb"]), help="Also count rows and offsets with this engine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per table, and one for raw's outcomes.")
def verify(*, no_topics: bool, engine: str | None, as_json: bool) -> None:
    """Verify that each table has each record of its topic once.

    Reads the tables of PIPELINE_LAKE_TABLES, and the topics while they still have the records. Compares every value.
    Checks rows whose records Kafka has deleted against the digests in their files. Then proves from the tables alone
    that each raw row is exactly one of: typed, quarantined, duplicate of a typed event. Writes nothing.

    "pending" counts raw rows without an output while a table of outputs is behind its topic.

    Exit codes: 0 verified, 1 a difference was found, 2 settings or permissions, 70 Kafka or the catalog did not answer.

    \b
    Examples:
      broker-events lake verify
      PIPELINE_LAKE_TABLES=event_transfer broker-events lake verify --engine duckdb --json
    """
    from broker_events.audit.lake_verify import LakeAudit
    from broker_events.audit.second_engine import DuckDb
    from broker_events.cli.lake_report import outcome_document, report, table_document
    from broker_events.cli.output import reader_may_leave, write_lines
    from broker_events.runtime.process.logs import configure_logging

    settings = load_settings()
    configure_logging(settings, "lake-verify")
    audit = LakeAudit(settings, with_topics=not no_topics)
    second = DuckDb() if engine is not None else None
    verdicts = []
    with reader_may_leave():
        for verdict in audit.tables():
            if second is not None:
                audit.count_with(second, verdict)
            verdicts.append(verdict)
            if as_json:
                write_lines([table_document(verdict)])
        outcomes = audit.outcomes() if all(verdict.holds for verdict in verdicts) else None
        write_lines([outcome_document(outcomes)] if as_json else report(verdicts, outcomes))
    sys.exit(0 if all(v.holds for v in verdicts) and (outcomes is None or outcomes.holds) else 1)


@command.command("status")
def status() -> None:
    """Show owner, rows, lag and size of each table.

    Reads the tables of PIPELINE_LAKE_TABLES and the ends of their topics. "behind" counts offsets, including
    transaction markers. Writes nothing.

    Exit codes: 0 shown, 2 settings or permissions, 70 Kafka or the catalog did not answer.

    \b
    Examples:
      broker-events lake status
      PIPELINE_LAKE_TABLES=raw,alerts broker-events lake status
    """
    from broker_events.cli.lake_report import status_lines
    from broker_events.cli.output import write_lines
    from broker_events.sinks.lake.status import table_rows

    write_lines(status_lines([*table_rows(load_settings())]))


@command.command("maintain")
@click.option("--dry-run", is_flag=True, help="Count the files to remove, without a change.")
def maintain(*, dry_run: bool) -> None:
    """Expire old snapshots and remove files of no snapshot.

    Reads the tables of PIPELINE_LAKE_TABLES. Keeps at most PIPELINE_LAKE_SNAPSHOTS snapshots of each table. Then
    removes files in the tables' folders that no snapshot has and that are older than PIPELINE_LAKE_ORPHAN_H hours. Does
    not merge small files. Safe while workers run.

    Exit codes: 0 done, 2 settings or permissions, 70 the catalog did not answer.

    \b
    Examples:
      broker-events lake maintain --dry-run
      PIPELINE_LAKE_ORPHAN_H=24 broker-events lake maintain
    """
    from broker_events.runtime.process.logs import configure_logging
    from broker_events.schemas.catalog import load_catalog
    from broker_events.sinks.lake.iceberg.store import Lake
    from broker_events.sinks.lake.iceberg.upkeep import expire, orphans, remove
    from broker_events.sinks.lake.tables import chosen_tables

    settings = load_settings()
    configure_logging(settings, "lake-maintain")
    lake = Lake(settings)
    for table in chosen_tables(load_catalog(), settings.lake_tables):
        handle = lake.table(table.name).handle
        expired = 0 if dry_run else expire(handle, settings.lake_snapshots)
        found = orphans(handle, settings.lake_orphan_h)
        if not dry_run:
            remove(handle, found)
        size = sum(file.bytes for file in found)
        verb = "would remove" if dry_run else "removed"
        click.echo(f"{table.name}: expired {expired} snapshots, {verb} {len(found)} files, {size:,} bytes")
