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
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 or :: in a container."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="a free one", help="Port to listen on.")
@click.option("--rate", type=click.FloatRange(1, 50_000), default=1000.0, show_default=True, help="Events a second.")
@click.option("--count", type=click.IntRange(min=1), help="End the log after so many events.  [default: never]")
@click.option(
    "--end",
    type=click.Choice(["pings", "close"]),
    default="pings",
    show_default=True,
    help="What a subscriber gets after the last of --count events: only pings, or a clean end of the stream.",
)
@click.option(
    "--accounts", type=click.IntRange(min=3), default=1000, show_default=True, help="How many accounts at a time."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same events.")
@click.option(
    "--live-times/--fixed-times",
    default=True,
    show_default=True,
    help="Events happen now, or from a fixed date on, 1 ms apart; the latter makes whole payloads reproducible.",
)
@click.option(
    "--start",
    type=click.Choice(["oldest", "newest"]),
    default="oldest",
    show_default=True,
    help="Where a subscription without a position starts. The broker's documents don't say.",
)
@click.option(
    "--payload-form",
    type=click.Choice(["inner", "envelope", "mixed"]),
    default="inner",
    show_default=True,
    help="Whether a message's payload is the inner object or the whole envelope. The broker's documents don't say.",
)
@click.option(
    "--without-position",
    is_flag=True,
    help="Send no position with the events whose documented envelope has none (exchanges, HK instant fundings).",
)
@click.option("--ping-every", type=SECONDS, default=30.0, show_default=True, help="Seconds between pings.")
@click.option("--lifetime", type=SECONDS, default=math.inf, help="Seconds to SubscribeExpired.  [default: never]")
@click.option(
    "--max-connections", type=click.IntRange(min=0), default=5, show_default=True, help="One more is turned away."
)
@click.option("--clock-window", type=SECONDS, default=300.0, show_default=True, help="Seconds a request may be off.")
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Seconds to wait at the end for a subscriber that is away and has not got everything.",
)
@click.option("--fault", "faults", multiple=True, metavar="KIND[:ARG]=WHEN", callback=parse_faults, help="See below.")
@click.option("--report", type=FILE, help="JSON of what was caused so far, rewritten every 0.1 s and at the end.")
@click.option("--journal", type=FILE, help="NDJSON of every distinct event of the log, in its order.")
@click.option(
    "--app-key", envvar="PIPELINE_APP_KEY", default="demo-key", show_default=True, help="[env: PIPELINE_APP_KEY]"
)
@click.option(
    "--app-secret",
    envvar="PIPELINE_APP_SECRET",
    default="demo-secret",
    help="[env: PIPELINE_APP_SECRET; default: demo-secret, which is public]",
)
@click.option("--tls-cert", type=FILE, help="Certificate chain (PEM); with --tls-key: TLS instead of plain text.")
@click.option("--tls-key", type=FILE, help="Its private key (PEM).")
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
    """Simulate the broker's event push, by the broker's public protocol.

    It is not the broker: shapes, fields, status values, signature and replay are as documented; what no public document
    says (how often what happens, limits, periods) is assumed, and an option where it matters.

    Prints "listening on HOST:PORT". The log begins to grow with the first subscription, at --rate, and keeps
    growing when nobody listens; each subscriber gets everything after its position. Positions of a run stay good in
    another run with the same --seed, --accounts and malformed faults. Ctrl-C or SIGTERM ends it, after what the log
    holds was pushed to whoever is subscribed (at most 5 s); a second one ends it at once.

    \b
    Faults. WHEN is a probability per event (0.001), @N after N events of the log, @Ns N seconds after the first
    subscription, /N and /Ns every so often. Each strikes once, the same events with the same seed.
      disconnect       the connection is dropped         end         the stream ends with status OK
      expired          SubscribeExpired, then an end     exhausted   it ends with RESOURCE_EXHAUSTED
      silence[:10s]    no message at all for a while     duplicate[:1]    the last event again, so many times
      replay[:100]     the last so many events again     malformed[:REASON]    an event that can't be processed
    Reasons: not_json, no_payload, unknown_biz_type, no_account, missing_field, wrong_type, bad_amount, bad_time,
    too_deep; none: all in turns. WHEN of malformed is in events only.

    \b
    Examples:
      broker-events simulate --port 7010 --rate 5000
      broker-events simulate --fault disconnect=0.0001 --fault malformed=0.01 --fault silence:200s=@60s
      broker-events simulate --count 100000 --rate 50000 --fault replay:500=/10000 --journal events.ndjson
    """
    from broker_events.devstack.simulator.service import StreamRules
    from broker_events.devstack.simulator.simulator import SimulatorSettings, serve

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
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
