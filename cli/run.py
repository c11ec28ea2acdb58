"""`broker-events run`."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from broker_events.cli.folder_argument import made
from broker_events.cli.simulated_events import ask_consent, check_consent, consent_option
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import load_settings

if TYPE_CHECKING:
    from broker_events.devstack.full_run import RunResult
    from broker_events.devstack.line_view import LineView
    from broker_events.runtime.settings import Settings

_STARTED: Final = time.monotonic()
_DEFAULT_FAULTS: Final = ("duplicate=0.002", "malformed=0.005")
_DEFAULT_SEED: Final = 1
_DEFAULT_SECONDS: Final = 20.0
_INTERRUPTED: Final = 130
_ADDRESSES: Final = ("kafka_bootstrap_servers", "schema_registry_url")


def _checked_faults(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Reject an invalid fault before anything starts."""
    from broker_events.cli.simulate import parse_faults

    parse_faults(context, parameter, texts)
    return texts


@click.command("run")
@click.option("--rate", type=click.FloatRange(1, 50_000), default=200.0, show_default=True, help="Events per second.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    envvar="DEMO_SECONDS",
    show_envvar=True,
    help="Stop this many seconds after the first event.  [default: until Ctrl-C; 20 for simulated events without a"
    " terminal]",
)
@click.option("--seed", type=int, help="Seed of the simulator.  [default: 1; a new one with --cluster]")
@click.option("--accounts", type=click.IntRange(min=3), default=200, show_default=True, help="Simulated accounts.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND[:ARG]=WHEN",
    callback=_checked_faults,
    help="Fault of the simulator, see `broker-events simulate --help`. Repeatable."
    f"  [default: {', '.join(_DEFAULT_FAULTS)}]",
)
@click.option(
    "--file",
    "files",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Import this NDJSON file instead of simulated events. Repeatable.",
)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Keep all logs in this folder.")
@click.option(
    "--lake",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also fill Iceberg tables in this folder; needs the extra lake.",
)
@click.option("--plain", is_flag=True, help="Print lines instead of the live view.")
@click.option(
    "--cluster", is_flag=True, help="Use the cluster that the PIPELINE_ settings name instead of an embedded one."
)
@click.option("--console/--no-console", "has_console", default=True, help="Serve the console.  [default: yes]")
@consent_option
def command(
    *,
    rate: float,
    seconds: float | None,
    seed: int | None,
    accounts: int,
    faults: tuple[str, ...],
    files: tuple[Path, ...],
    folder: Path | None,
    lake: Path | None,
    plain: bool,
    cluster: bool,
    has_console: bool,
    simulated_to: str | None,
) -> None:
    """Run the whole pipeline, by default with simulated events.

    Starts Kafka and a schema registry on 127.0.0.1 (downloaded once, about 200 MB), creates topics, registers
    schemas, and runs a bridge, a router and a projector. Events come from the simulator, from the files of --file, or
    from the event push that PIPELINE_GRPC_TARGET names. Without --cluster it also runs deliver, and a receiver on
    127.0.0.1 that counts the alerts and measures the time since the push. Serves the console on 127.0.0.1 and prints
    its address.

    With --cluster it uses the cluster that PIPELINE_KAFKA_BOOTSTRAP_SERVERS and PIPELINE_SCHEMA_REGISTRY_URL name;
    otherwise it ignores these settings. It asks for the topic prefix before it writes simulated events to that
    cluster, and refuses if the topics hold records that are not simulated.

    Ctrl-C stops all processes cleanly and prints a summary. A second Ctrl-C stops at once. The summary compares
    received, raw, typed, quarantined and duplicate records, and the alerts with those that the simulator caused. With
    --lake it then prints commands that read the tables in DuckDB, polars and Spark.

    Exit codes: 0 balanced, 1 not balanced, 130 interrupted before the summary; otherwise that of the failed process.

    \b
    Examples:
      broker-events run
      broker-events run --rate 3000 --seconds 60 --fault disconnect=@50000 --fault replay:500=/20000
      broker-events run --file events.ndjson.gz --folder logs
      broker-events run --seconds 20 --lake lake
      broker-events run --cluster --yes-write-simulated-events-to staging
    """
    from broker_events.devstack.full_run import FullRun, RunPlan
    from broker_events.devstack.sources import Traffic, new_seed
    from broker_events.ingest.unsimulated import refuse_real_records

    settings = _settings(cluster=cluster)
    terminal = sys.stdout.isatty() and not plain
    simulated = not files and settings.grpc_target is None
    if seconds is None and simulated and not sys.stdout.isatty():
        seconds = _DEFAULT_SECONDS
    if seed is None:
        seed = new_seed() if cluster else _DEFAULT_SEED
    if simulated_to is not None:
        check_consent(settings, simulated_to)
    if cluster and (simulated or simulated_to is not None):
        refuse_real_records(settings)
        if simulated_to is None:
            ask_consent(settings)
    logs = _log_folder(folder)
    plan = RunPlan(
        settings=settings,
        embedded=not cluster,
        may_simulate=not cluster or simulated or simulated_to is not None,
        folder=logs,
        traffic=Traffic(rate=rate, accounts=accounts, seed=seed, faults=faults or _DEFAULT_FAULTS),
        files=files,
        seconds=seconds,
        started=_STARTED,
        lake=lake,
        has_console=has_console,
    )
    _log_to(logs / "run.log", settings.log_level)
    code = _report(FullRun(plan, _display(terminal=terminal)).run())
    if lake is not None and code == 0:
        from broker_events.devstack.lake_fill import reading

        click.echo("\n".join(reading(lake, settings.topic_prefix)))
    if folder is None and code in (0, _INTERRUPTED):
        shutil.rmtree(logs, ignore_errors=True)
    else:
        click.echo(f"logs are in {logs}")
    sys.exit(code)


def _settings(*, cluster: bool) -> Settings:
    """Return the settings. Raises OperatorActionRequired if --cluster lacks an address."""
    from broker_events.devstack.preparation import EMBEDDED

    settings = load_settings() if cluster else load_settings(**EMBEDDED)
    given = [name for name in _ADDRESSES if name in settings.model_fields_set]
    if cluster and len(given) < len(_ADDRESSES):
        missing = ", ".join(f"PIPELINE_{name.upper()}" for name in _ADDRESSES if name not in given)
        raise OperatorActionRequired(f"{missing}: not set, and --cluster needs both addresses")
    if given and not cluster:
        names = " and ".join(f"PIPELINE_{name.upper()}" for name in given)
        click.echo(f"{names}: ignored, this run starts its own Kafka (--cluster uses the named one)", err=True)
    return settings


def _log_folder(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="broker-events-run-"))
    return made(folder).resolve()


def _log_to(file: Path, level: str) -> None:
    """Log to a file: standard error belongs to the view."""
    logging.basicConfig(filename=file, level=level, format="%(asctime)s %(levelname)-7s %(message)s", force=True)
    for chatty in ("httpx", "httpx2", "httpcore", "httpcore2", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _display(*, terminal: bool) -> LineView:
    if terminal:
        from broker_events.devstack.live_view import LiveView

        return LiveView(_STARTED)
    from broker_events.devstack.line_view import LineView

    return LineView(_STARTED)


def _report(result: RunResult) -> int:
    """Print the summary and return the exit code."""
    from broker_events.devstack.balance import broken
    from broker_events.devstack.summary import summary
    from broker_events.runtime.process.console import EscapingConsole
    from broker_events.runtime.process.errors import PipelineError

    console = EscapingConsole(soft_wrap=True)
    console.file.reconfigure(errors="replace")  # type: ignore[attr-defined]  # a terminal without ✓ gets ? instead
    if result.snapshot is not None and not result.interrupted:
        for line in summary(result.snapshot):
            console.print(line)
    if result.error is not None:
        click.echo(f"broker-events: {result.error}", err=True)
        return result.error.exit_code if isinstance(result.error, PipelineError) else 1
    if result.snapshot is None or result.interrupted:
        click.echo("interrupted", err=True)
        return _INTERRUPTED
    return 1 if broken(result.snapshot.numbers) else 0
