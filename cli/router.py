"""`broker-events router`."""

from __future__ import annotations

import click

from broker_events.cli.worker import run_worker_command, worker_options


@click.command("router")
@worker_options
def command(instance_id: str | None, http_port: int | None) -> None:
    """Route raw events to the typed topics, exactly once.

    Reads the raw topic. Writes each record to its typed topic or to quarantine, and drops duplicates. Routers share
    the partitions of the raw topic. Each needs its own instance id and must keep it over restarts, such as a pod name
    of a StatefulSet.

    Exit codes: 0 stopped, 2 settings or permissions, 3 quarantine limit, 4 superseded by another router of this
    instance id, do not restart, 70 restart required.

    \b
    Examples, two routers on one host:
      broker-events router --instance-id router-0 &
      broker-events router --instance-id router-1 &
    """
    from broker_events.processors import router

    run_worker_command(router.NAME, router.run, instance_id=instance_id, http_port=http_port)
