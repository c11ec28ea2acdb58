"""Runs the simulator: traffic by the clock, the server and the report."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import grpc
import orjson

from broker_events.devstack.simulator.access import Access
from broker_events.devstack.simulator.event_log import EventLog, PayloadForm
from broker_events.devstack.simulator.faults import Fault, FaultPlan
from broker_events.devstack.simulator.service import GROW_AT_ONCE, EventService, StreamRules
from broker_events.devstack.simulator.traffic import Traffic
from broker_events.runtime.process.addresses import host_port

MIN_TICK_S = 0.002
REPORT_EVERY_S = 0.1
DRAIN_S = 5.0
FLUSH_S = 1.0
_OPTIONS = (("grpc.so_reuseport", 0), ("grpc.http2.min_ping_interval_without_data_ms", 10_000))
BASE_TIME_NS = 1_767_225_600 * 10**9  # 2026-01-01T00:00:00Z: where times start that don't follow the clock
STEP_NS = 1_000_037  # between them; about 1 ms, so that all nine digits move


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """The options of `broker-events simulate`."""

    host: str = "127.0.0.1"
    port: int = 0
    app_key: str
    app_secret: str
    seed: int = 1
    rate: float = 1000.0  # events/s
    count: int | None = None
    accounts: int = 1000
    payload_form: PayloadForm = "inner"
    live_times: bool = True
    without_position: bool = False
    rules: StreamRules
    clock_window_s: float = 300.0
    patience_s: float = 0.0
    faults: tuple[Fault, ...] = ()
    report: Path | None = None
    journal: Path | None = None
    tls: tuple[str, str] | None = None


class Simulator:
    """One run. The log starts with the first accepted subscription, so that no subscriber misses its beginning."""

    def __init__(self, settings: SimulatorSettings, journal: BinaryIO | None) -> None:
        self._settings = settings
        self._traffic = Traffic(settings.seed, settings.accounts, settings.faults)
        self._last_time_ns = 0
        self._log = EventLog(
            self._traffic,
            seed=settings.seed,
            clock=self._live_time if settings.live_times else lambda sequence: BASE_TIME_NS + sequence * STEP_NS,
            count=settings.count,
            payload_form=settings.payload_form,
            without_position=settings.without_position,
            journal=journal,
        )
        self._plan = FaultPlan(settings.faults, settings.seed)
        self._service = EventService(
            self._log,
            Access(settings.app_key, settings.app_secret, settings.clock_window_s),
            settings.rules,
            self._plan,
        )
        self._behind = False
        self._reached_rate = 0.0

    def _live_time(self, _: int) -> int:
        """Give the time now; later than any before, as the order of one account's events hangs on it."""
        self._last_time_ns = max(time.time_ns(), self._last_time_ns + 1)
        return self._last_time_ns

    async def run(self, listening: Callable[[int], None], stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Serve until `stop` is set; `listening` is called with the port.

        Then the log grows no more, and what it holds is pushed to the subscribers before their streams end: for at most
        5 s or the settings' patience, whichever is longer, or until `hurry` is set.
        """
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((self._service.handler,))
        port = _listen(server, self._settings)
        await server.start()
        listening(port)
        tasks = [asyncio.ensure_future(work) for work in (self._grow(), self._report(), stop.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._drain(hurry)
        finally:
            for task in tasks:
                task.cancel()
            await server.stop(FLUSH_S)
            self._write_report(running=False)
            self._log.close()

    async def _grow(self) -> None:
        await self._service.first_subscription.wait()
        rate, start = self._settings.rate, self._service.started_at
        while not self._log.complete:
            elapsed = time.monotonic() - start
            missing = int(elapsed * rate) + 1 + self._service.caught_up - len(self._log)
            self._watch_rate(missing, elapsed)
            if missing > 0:
                self._log.grow(min(missing, GROW_AT_ONCE))
            await asyncio.sleep(0 if missing > GROW_AT_ONCE else max(1 / rate, MIN_TICK_S))
        await asyncio.Event().wait()  # complete: only pings from now on

    async def _drain(self, hurry: asyncio.Event) -> None:
        self._log.end()
        drain = self._service.drain(DRAIN_S, self._settings.patience_s)
        work = [asyncio.ensure_future(drain), asyncio.ensure_future(hurry.wait())]
        await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        for task in work:
            task.cancel()

    def _watch_rate(self, missing: int, elapsed: float) -> None:
        self._reached_rate = (len(self._log) - self._service.caught_up) / elapsed if elapsed else 0.0
        if missing > self._settings.rate and elapsed > 1 and not self._behind:
            self._behind = True
            sys.stderr.write(
                f"simulate: asked for {self._settings.rate:g} events/s, this machine gives {self._reached_rate:.0f}\n"
            )

    async def _report(self) -> None:
        while True:
            self._write_report(running=True)
            await asyncio.sleep(REPORT_EVERY_S)

    def _write_report(self, *, running: bool) -> None:
        path = self._settings.report
        if path is None:
            return
        traffic, log = self._traffic, self._log
        content = {
            "running": running,
            "seed": self._settings.seed,
            "rate": {"asked": self._settings.rate, "reached": round(self._reached_rate, 1)},
            "log": {
                "events": len(log),
                "complete": log.complete,
                "by_event_type": log.by_event_type,
                "by_biz_type": dict(traffic.by_biz_type),
                "malformed": dict(traffic.malformed),
            },
            "expected_alerts": traffic.expected_alerts(),
            "pushed": asdict(self._service.counters),
            "faults": self._plan.struck,
        }
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        temporary.replace(path)


def _listen(server: grpc.aio.Server, settings: SimulatorSettings) -> int:
    """Listen and return the port. Raises OSError."""
    address = host_port(settings.host, settings.port)
    try:
        if settings.tls is None:
            return server.add_insecure_port(address)
        chain, key = (Path(file).read_bytes() for file in settings.tls)
        return server.add_secure_port(address, grpc.ssl_server_credentials([(key, chain)]))
    except RuntimeError:
        raise OSError(f"cannot listen on {address}: choose another --port or --host") from None


async def serve(settings: SimulatorSettings, listening: Callable[[int], None]) -> None:
    """Run a simulator until SIGINT or SIGTERM; a second one ends it at once."""
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, on_signal)
    if settings.journal is None:
        await Simulator(settings, None).run(listening, stop, hurry)
        return
    with settings.journal.open("wb") as journal:
        await Simulator(settings, journal).run(listening, stop, hurry)
