"""`broker-events projector`."""

from __future__ import annotations

import click

from cli.worker import run_worker_command, worker_options


@click.command("projector")
@worker_options
def command(instance_id: str | None, http_port: int | None) -> None:
    """Fold typed events into state tables and raise alerts, exactly once.

    Writes alerts, alerts.active, state.accounts and state.movements in one transaction with the offsets it has read.
    Each projector needs an instance id of its own. Exit code 70: restart it. Exit code 4: another
    projector of its instance id has taken over; don't restart it.

    \b
    Example:
      PIPELINE_KAFKA_BOOTSTRAP_SERVERS=kafka:9092 PIPELINE_SCHEMA_REGISTRY_URL=http://registry:8081 \\
        broker-events projector --instance-id projector-0 --http-port 9464
    """
    from processors import projector

    run_worker_command(projector.NAME, projector.run, instance_id=instance_id, http_port=http_port)
