"""`broker-events projector`."""

from __future__ import annotations

import click

from broker_events.cli.worker import run_worker_command, worker_options
from broker_events.runtime.settings import checked_place


def _places(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(map(checked_place, texts))
    except ValueError as error:
        raise click.BadParameter(f"{error}; got {', '.join(texts)!r}") from None


@click.command("projector")
@worker_options
@click.option(
    "--skip",
    "skipped",
    multiple=True,
    metavar="TOPIC:PARTITION:OFFSET:TOPIC_ID",
    callback=_places,
    help="Quarantine this record if it still fails. Repeatable.  [env: PIPELINE_PROJECTOR_SKIP]",
)
@click.option("--reason", help="Reason for --skip, kept with the record.  [env: PIPELINE_PROJECTOR_SKIP_REASON]")
def command(instance_id: str | None, http_port: int | None, skipped: tuple[str, ...], reason: str | None) -> None:
    """Update state tables and raise alerts, exactly once.

    Reads the typed topics. Writes alerts, alerts.active, state.accounts and state.movements in one transaction with
    its offsets. Each projector needs its own instance id.

    A record that this version cannot decode or apply stops the projector before its batch commits. With --skip the
    record goes to quarantine, with the OS user, the host and the reason. The last log line of the projector that
    stopped has the complete option. With the id of a former topic it has no effect.

    Exit codes: 0 stopped, 2 settings or permissions, 3 a record failed after three restarts: start a version that can
    process it, or skip it, 4 superseded by another projector of this instance id, do not restart, 70 restart
    required.

    \b
    Examples:
      PIPELINE_KAFKA_BOOTSTRAP_SERVERS=kafka:9092 PIPELINE_SCHEMA_REGISTRY_URL=http://registry:8081 \\
        broker-events projector --instance-id projector-0 --http-port 9464
      broker-events projector --skip broker.event.transfer:3:4711:Bq1wVJQ4Tn2F0z0Xk1B8cQ --reason "a test, confirmed"
    """
    from broker_events.processors import projector

    if skipped and not (reason or "").strip():
        raise click.UsageError("--skip needs --reason TEXT: it is kept with the record in quarantine")
    if reason is not None and not skipped:
        raise click.UsageError("--reason needs --skip TOPIC:PARTITION:OFFSET:TOPIC_ID")
    run_worker_command(
        projector.NAME,
        projector.run,
        instance_id=instance_id,
        http_port=http_port,
        projector_skip=skipped or None,
        projector_skip_reason=reason,
    )
