"""`broker-events lake`."""

from __future__ import annotations

from functools import partial

import click

from broker_events.cli.worker import run_worker_command, worker_options
from broker_events.runtime.settings import load_settings


@click.group("lake", invoke_without_command=True)
@worker_options
@click.option("--until-end", is_flag=True, help="Commit everything up to the topics' present ends, then exit.")
@click.pass_context
def command(context: click.Context, instance_id: str | None, http_port: int | None, *, until_end: bool) -> None:
    """Copy topics to Iceberg tables, each record once.

    Without a subcommand it runs the worker: it reads the topics of PIPELINE_LAKE_TABLES (default: all) and appends
    their records to the tables, until SIGTERM or Ctrl-C. The tables keep the offsets, so a restart neither loses nor
    doubles a row. A second worker of a table takes it over, and the first one ends with exit code 4.

    Exit codes: 0 stopped, 2 settings, permissions, or a table that does not belong to its topic, 3 a table stopped at
    a record that it can't take, 4 another worker owns a table now, do not restart, 70 restart required.

    \b
    Examples:
      broker-events lake apply && broker-events lake
      PIPELINE_LAKE_TABLES=raw,alerts broker-events lake --instance-id lake-0 --http-port 9466
    """
    if context.invoked_subcommand is not None:
        return
    from broker_events.sinks.lake import worker

    run = partial(worker.run, until_end=until_end)
    run_worker_command(worker.NAME, run, instance_id=instance_id, http_port=http_port)


@command.command("apply")
def apply() -> None:
    """Create the namespace and tables, and add columns.

    Reads the contracts. Writes tables, column comments and table properties to the catalog of PIPELINE_LAKE_CATALOG.
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
