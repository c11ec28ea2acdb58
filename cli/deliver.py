"""`broker-events deliver`."""

from __future__ import annotations

import click

from broker_events.cli.deliver_records import check, list_, retry, verify
from broker_events.cli.worker import run_worker_command, worker_options


@click.group("deliver", invoke_without_command=True)
@worker_options
@click.option(
    "--receiver", "receivers", multiple=True, metavar="NAME", help="Deliver to this receiver only. Repeatable."
)
@click.pass_context
def command(
    context: click.Context, *, instance_id: str | None, http_port: int | None, receivers: tuple[str, ...]
) -> None:
    """Deliver alerts to webhooks and Alertmanagers.

    Without a subcommand, runs a worker. Reads alerts and alerts.active, and the receivers in the TOML file that
    PIPELINE_DELIVERY_RECEIVERS names. Writes the outcome of each alert at each receiver to alerts.deliveries, in one
    transaction with the offset of the alert. A webhook gets each alert at least once, with the same webhook-id, in
    order per account. An Alertmanager gets all active alerts at each interval.

    Exit codes: 0 stopped, 2 settings, receivers or permissions, 4 superseded by another worker of this instance id, do
    not restart, 70 restart required.

    \b
    Examples:
      PIPELINE_DELIVERY_RECEIVERS=receivers.toml broker-events deliver --instance-id deliver-0 --http-port 9466
      broker-events deliver --receiver risk-desk
    """
    if context.invoked_subcommand is None:
        from broker_events.sinks.deliver import worker

        run_worker_command(
            worker.NAME,
            lambda settings, stop: worker.run(settings, stop, receivers),
            instance_id=instance_id,
            http_port=http_port,
        )


for _subcommand in (check, list_, retry, verify):
    command.add_command(_subcommand)
