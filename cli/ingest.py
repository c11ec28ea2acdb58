"""`broker-events ingest`."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from broker_events.cli.output import plural
from broker_events.cli.simulated_events import check_consent, consent_option
from broker_events.runtime.process.console import EscapingConsole
from broker_events.runtime.process.lifecycle import run_process
from broker_events.runtime.settings import load_settings

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from broker_events.ingest.sources.ndjson import NdjsonFiles

log = logging.getLogger(__name__)

_REPORT_EVERY_S = 5.0


@click.command("ingest")
@click.option("--source", type=click.Choice(["grpc", "file"]), help="Source of the events.  [default: grpc or file]")
@click.option(
    "--file",
    "files",
    type=click.Path(path_type=Path, allow_dash=True),
    multiple=True,
    help="NDJSON file (plain, gzip or bzip2), one envelope per line; - is standard input. Repeatable.",
)
@click.option("--from-start", is_flag=True, help="Import files from their first line, also after an earlier import.")
@click.option(
    "--name",
    help="Name of the source, for a second app key or parallel imports.",
    metavar="NAME",
)
@click.option("--http-port", type=int, help="Port of /metrics and /ready; 0: a free one.  [env: PIPELINE_HTTP_PORT]")
@consent_option
def command(
    *,
    source: str | None,
    files: tuple[Path, ...],
    from_start: bool,
    name: str | None,
    http_port: int | None,
    simulated_to: str | None,
) -> None:
    """Write the brokerage's events to the raw topic, exactly once.

    Reads a source and writes each event unchanged to the raw topic. Events and the source's position commit in one
    transaction: after a crash the bridge continues after the last committed event. Run one bridge per source. A
    second one takes over, and the first exits with 4.

    \b
    grpc   The brokerage's event push, from PIPELINE_GRPC_TARGET, PIPELINE_APP_KEY and PIPELINE_APP_SECRET. The bridge
           reconnects by itself. It exits when the key or signature is rejected, or when a message exceeds
           PIPELINE_GRPC_MAX_MESSAGE_BYTES. It refuses `broker-events simulate` without
           --yes-write-simulated-events-to, and where the topics hold records that no simulator wrote.
    file   NDJSON files. A repeated import continues after the last committed line, also in a file that has grown. A
           file is identified by its content, so a copy is not imported twice. Pipes and standard input are always read
           to the end. Invalid lines are kept. An event above PIPELINE_MAX_MESSAGE_BYTES is replaced by a marker.
           Archives, UTF-16, JSON arrays, JSON over several lines, CSV, XML and binary files are rejected before the
           import.

    Exit codes: 0 stopped or imported; 2 a setting, a file or a permission must be changed; 4 superseded by another
    bridge, do not restart; 70 restart required.

    \b
    Examples:
      PIPELINE_GRPC_TARGET=push.example.com:443 PIPELINE_APP_KEY=... PIPELINE_APP_SECRET=... broker-events ingest
      PIPELINE_GRPC_TARGET=127.0.0.1:PORT PIPELINE_GRPC_TLS=false PIPELINE_APP_KEY=demo-key \\
        PIPELINE_APP_SECRET=demo-secret broker-events ingest --yes-write-simulated-events-to broker
      broker-events ingest --file events-1.ndjson --file events-2.ndjson.gz
      unzip -p archive.zip | broker-events ingest --file -
      jq -c '.[]' array.json | broker-events ingest --file -
    """
    from broker_events.ingest.bridge import largest_event
    from broker_events.ingest.sources.ndjson import NdjsonFiles
    from broker_events.ingest.unsimulated import refuse_real_records
    from broker_events.ingest.worker import run_files, run_push

    source = source or ("file" if files else "grpc")
    if (source == "file") != bool(files):
        raise click.UsageError("--source file needs --file PATH, and --source grpc takes none")
    settings = load_settings(http_port=http_port)
    name = name or source
    if simulated_to is not None:
        check_consent(settings, simulated_to)
    if source == "grpc":

        def subscribe(stop: threading.Event) -> None:
            if simulated_to is not None:
                refuse_real_records(settings, name)
            run_push(settings, stop, name, accept_simulated=simulated_to is not None)

        sys.exit(run_process(settings, "ingest", subscribe))

    def import_files(stop: threading.Event) -> None:
        reader = NdjsonFiles(files, limit=largest_event(settings), from_start=from_start, name=name)
        with _progress(reader) as watch:
            events, markers = run_files(settings, stop, reader, watch)
        resumed = reader.resumed_lines
        large = f", {markers} too large: {plural('marker', markers)} in raw" if markers else ""
        before = f"; the first {resumed} {plural('line', resumed)} had been imported before" if resumed else ""
        log.info("%d %s imported%s%s", events, plural("event", events), large, before)

    sys.exit(run_process(settings, "ingest", import_files))


@contextmanager
def _progress(reader: NdjsonFiles) -> Iterator[Callable[[int], None]]:
    """Show how far an import is: a bar on a terminal, otherwise a line every few seconds."""
    if sys.stderr.isatty():
        bar = Progress(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[events]} events"),
            console=EscapingConsole(stderr=True),
        )
        with bar:
            task = bar.add_task("import", total=reader.total_bytes or None, events=0)
            yield lambda committed: bar.update(task, completed=reader.done_bytes, events=committed)
        return
    due = time.monotonic() + _REPORT_EVERY_S

    def report(committed: int) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + _REPORT_EVERY_S
            events = f"{committed} {plural('event', committed)}"
            log.info("%s imported, %d of %d bytes read", events, reader.done_bytes, reader.total_bytes)

    yield report
