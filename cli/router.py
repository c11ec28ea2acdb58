"""`broker-events router`."""

from __future__ import annotations

import click

from broker_events.cli.worker import run_worker_command, worker_options


@click.command("router")
@worker_options
def command(instance_id: str | None, http_port: int | None) -> None:
    """Route raw events into the typed topics, exactly once.

    Any number of routers share the partitions of the raw topic; each needs an instance id of its own, and a restarted
    one should keep it (a pod's name in a StatefulSet). Exit code 70: restart it. Exit code 4:
    another router of its instance id has taken over; don't restart it.

    \b
    Example, two routers on one host:
      broker-events router --instance-id router-0 &
      broker-events router --instance-id router-1 &
    """
    from broker_events.processors import router

    run_worker_command(router.NAME, router.run, instance_id=instance_id, http_port=http_port)
