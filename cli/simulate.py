"""`broker-events simulate`."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker_events.runtime.process.addresses import host_port

if TYPE_CHECKING:
    from broker_events.devstack.simulator.event_log import PayloadForm
    from broker_events.devstack.simulator.faults import Fault

FILE = click.Path(dir_okay=False, path_type=Path)
SECONDS = click.FloatRange(min=0, min_open=True)


def parse_faults(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[Fault, ...]:
    from broker_events.devstack.simulator.faults import InvalidFault, parse_fault
    from broker_events.devstack.simulator.malformed import MALFORMED_REASONS

    try:
        return tuple(parse_fault(text, MALFORMED_REASONS) for text in texts)
    except InvalidFault as error:
        raise click.BadParameter(str(error)) from error


@click.command("simulate")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on: 0.0.0.0 or :: in a container."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="a free one", help="Port to listen on.")
@click.option("--rate", type=click.FloatRange(1, 50_000), default=1000.0, show_default=True, help="Events per second.")
@click.option("--count", type=click.IntRange(min=1), help="End the log after N events.  [default: never]")
@click.option(
    "--end",
    type=click.Choice(["pings", "close"]),
    default="pings",
    show_default=True,
    help="After the last of --count events: send only pings, or end the stream.",
)
@click.option(
    "--accounts", type=click.IntRange(min=3), default=1000, show_default=True, help="Number of open accounts."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same events.")
@click.option(
    "--live-times/--fixed-times",
    default=True,
    show_default=True,
    help="Time of events: now, or 1 ms apart from a fixed date, which makes payloads reproducible.",
)
@click.option(
    "--start",
    type=click.Choice(["oldest", "newest"]),
    default="oldest",
    show_default=True,
    help="Start of a subscription without a position. The brokerage does not document it.",
)
@click.option(
    "--payload-form",
    type=click.Choice(["inner", "envelope", "mixed"]),
    default="inner",
    show_default=True,
    help="Payload of a message: the inner object or the envelope. The brokerage does not document it.",
)
@click.option(
    "--without-position",
    is_flag=True,
    help="Send no position where the documented envelope has none (exchanges, HK instant fundings).",
)
@click.option("--ping-every", type=SECONDS, default=30.0, show_default=True, help="Seconds between pings.")
@click.option("--lifetime", type=SECONDS, default=math.inf, help="Seconds until SubscribeExpired.  [default: never]")
@click.option(
    "--max-connections", type=click.IntRange(min=0), default=5, show_default=True, help="Maximum number of subscribers."
)
@click.option(
    "--clock-window",
    type=SECONDS,
    default=300.0,
    show_default=True,
    help="Maximum clock difference, in seconds.",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Seconds to wait at the end for a disconnected subscriber that lacks events.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND[:ARG]=WHEN",
    callback=parse_faults,
    help="Fault, see below. Repeatable.",
)
@click.option("--report", type=FILE, help="Write counts and expected alerts to this JSON file every 0.1 s.")
@click.option("--journal", type=FILE, help="Write every distinct event to this NDJSON file.")
@click.option(
    "--app-key",
    envvar="PIPELINE_APP_KEY",
    default="demo-key",
    show_default=True,
    help="App key that a subscriber must send.  [env: PIPELINE_APP_KEY]",
)
@click.option(
    "--app-secret",
    envvar="PIPELINE_APP_SECRET",
    default="demo-secret",
    help="Secret of the signature.  [env: PIPELINE_APP_SECRET; default: demo-secret]",
)
@click.option("--tls-cert", type=FILE, help="Certificate chain (PEM). Needs --tls-key.")
@click.option("--tls-key", type=FILE, help="Private key of the certificate (PEM).")
def command(
    host: str,
    port: int,
    rate: float,
    count: int | None,
    end: str,
    accounts: int,
    seed: int,
    live_times: bool,  # noqa: FBT001  click passes flags by name
    start: str,
    payload_form: PayloadForm,
    without_position: bool,  # noqa: FBT001  click passes flags by name
    ping_every: float,
    lifetime: float,
    max_connections: int,
    clock_window: float,
    patience: float,
    faults: tuple[Fault, ...],
    report: Path | None,
    journal: Path | None,
    app_key: str,
    app_secret: str,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Simulate the brokerage's event push.

    Serves the brokerage's gRPC protocol: shapes, fields, status values, signature and replay follow its public
    documents. What they leave open (frequencies, limits, periods) is assumed, with an option where it matters.

    Prints "listening on HOST:PORT". The log of events grows at --rate from the first subscription on, also without a
    subscriber. A subscriber gets every event after its position. Positions stay valid in a later run with the same
    --seed, --accounts and malformed faults. Ctrl-C or SIGTERM pushes the rest of the log for at most 5 s. A second
    one stops at once.

    Exit codes: 0 stopped, 2 usage.

    \b
    Faults. WHEN is a probability per event (0.001), @N after N events, @Ns N seconds after the first subscription, /N
    every N events, or /Ns every N seconds. The same seed gives the same faults.
      disconnect       end with UNAVAILABLE           end                   end the stream with status OK
      expired          send SubscribeExpired and end  exhausted             end with RESOURCE_EXHAUSTED
      silence[:10s]    send nothing for this time     duplicate[:1]         repeat the last event N times
      replay[:100]     repeat the last N events       malformed[:REASON]    send an event that can't be processed
    Reasons: not_json, no_payload, unknown_biz_type, no_account, missing_field, wrong_type, bad_amount, bad_time,
    too_deep. Without a reason, malformed takes each of them in order. Its WHEN counts events only.

    \b
    Examples:
      broker-events simulate --port 7010 --rate 5000
      broker-events simulate --fault disconnect=0.0001 --fault malformed=0.01 --fault silence:200s=@60s
      broker-events simulate --count 100000 --rate 50000 --fault replay:500=/10000 --journal events.ndjson
    """
    from broker_events.devstack.simulator.service import StreamRules
    from broker_events.devstack.simulator.simulator import SimulatorSettings, serve

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key need each other: give both or neither")
    settings = SimulatorSettings(
        host=host,
        port=port,
        app_key=app_key,
        app_secret=app_secret,
        seed=seed,
        rate=rate,
        count=count,
        accounts=accounts,
        payload_form=payload_form,
        live_times=live_times,
        without_position=without_position,
        rules=StreamRules(
            from_newest=start == "newest",
            ping_every_s=ping_every,
            lifetime_s=lifetime,
            max_connections=max_connections,
            end_when_complete=end == "close",
        ),
        clock_window_s=clock_window,
        patience_s=patience,
        faults=faults,
        report=report,
        journal=journal,
        tls=None if tls_cert is None or tls_key is None else (str(tls_cert), str(tls_key)),
    )
    try:
        asyncio.run(serve(settings, lambda bound: click.echo(f"listening on {host_port(host, bound)}")))
    except OSError as error:
        raise click.ClickException(str(error)) from error
