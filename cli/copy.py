"""`broker-events copy`."""

from __future__ import annotations

import logging
import threading
from typing import Final

import click

log = logging.getLogger(__name__)

_EVERY_S: Final = 1.0


@click.command("copy")
@click.option("--to-prefix", required=True, metavar="PREFIX", help="TOPIC_PREFIX of the copy.")
@click.option("--partitions", type=click.IntRange(min=1), help="Partition count of the copy.  [default: PARTITIONS]")
@click.option("--bootstrap", metavar="ADDRESSES", help="Kafka of the copy.  [default: KAFKA_BOOTSTRAP_SERVERS]")
@click.option("--follow", is_flag=True, help="Keep copying new raw records until Ctrl-C.")
@click.option("--finish", is_flag=True, help="Copy the rest and hand over to the workers of the copy.")
def command(*, to_prefix: str, partitions: int | None, bootstrap: str | None, follow: bool, finish: bool) -> None:
    """Copy a pipeline to another prefix, cluster or partition count.

    Reads raw and writes it to the copy with keys, headers and timestamps, each record exactly once, while the pipeline
    runs. An interrupted copy continues after its last commit. The topics of the copy must exist. Both clusters use the
    same security settings, and both pipelines the same schema registry.

    --finish completes the move. Before, stop the bridges, let routers and projectors read to the end, and stop them.
    --finish fences the bridges, copies the rest of raw, all alerts, states and cursors, and waits for the routers of
    the copy. It then sets the offsets of the copy's projectors to the end of the typed topics, because the copied
    states include those events. Afterwards start the projectors and bridges of the copy: no event is lost or
    duplicated, and no alert is raised twice. docs/how-to/runbook.md has the steps.

    Exit codes: 0 copied; 2 workers of the source run or have unprocessed records, the target is in use, or a topic or
    permission is missing; 70 not finished, run it again.

    \b
    Examples:
      broker-events copy --to-prefix wide --partitions 48 --follow
      broker-events copy --to-prefix wide --partitions 48 --finish
      broker-events copy --to-prefix broker --bootstrap kafka-b:9092
    """
    import sys

    from broker_events.ingest.pipeline_copy import PipelineCopy
    from broker_events.runtime.process.errors import RestartRequired, Stopped
    from broker_events.runtime.process.lifecycle import run_process
    from broker_events.runtime.settings import load_settings

    if follow and finish:
        raise click.UsageError("--follow and --finish exclude each other")
    source = load_settings()
    changes = {"topic_prefix": to_prefix, "partitions": partitions, "kafka_bootstrap_servers": bootstrap}
    target = type(source).model_validate(
        source.model_dump() | {name: value for name, value in changes.items() if value is not None}
    )
    if (target.topic_prefix, target.kafka_bootstrap_servers) == (source.topic_prefix, source.kafka_bootstrap_servers):
        raise click.UsageError("--to-prefix names the pipeline itself")

    def work(stop: threading.Event) -> None:
        copy = PipelineCopy(source, target, stop)
        try:
            if copy.is_finished:
                click.echo(f"{to_prefix} was finished before: nothing to do")
                return
            if finish:
                try:
                    copy.finish()
                except Stopped as error:
                    raise RestartRequired(f"not finished: {error}") from None
                click.echo(f"finished: start the projectors and bridges of {to_prefix}")
                return
            copied = copy.copy_raw()
            if follow:
                log.info("raw is copied to its current end; following, Ctrl-C ends it")
            while follow and not stop.wait(_EVERY_S):
                copied += copy.copy_raw()
            click.echo(f"{copied:,} raw records copied")
        finally:
            copy.close()

    sys.exit(run_process(source, "copy", work))
