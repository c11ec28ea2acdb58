"""Runs the console as a process: web server, follower, audit trail, metrics."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn

from broker_events.console.access import Access
from broker_events.console.app import Console, build
from broker_events.console.follower import store_identity
from broker_events.console.store import Store
from broker_events.runtime.process.addresses import host_port, listening_socket
from broker_events.runtime.process.errors import OperatorActionRequired, RestartRequired
from broker_events.runtime.process.health import Health, HealthServer
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import PREFIX, Settings
from broker_events.schemas.catalog import load_catalog

log = logging.getLogger(__name__)

_BACKLOG: Final = 256
_MOST_CONNECTIONS: Final = 500
_HEAD_BYTES: Final = 32_768
_MEASURE_S: Final = 1.0


def run_console(settings: Settings, stop: threading.Event) -> None:
    """Serve until `stop` is set.

    Raises OperatorActionRequired for an unusable address, folder or tokens file or a missing topic, RestartRequired if
    a topic was created again: the next start builds the tables again.
    """
    access, catalog = Access(settings), load_catalog()
    metrics, health = Metrics(), Health(settings.start_timeout_s)
    metrics.identify("console", settings.instance_id)
    server = HealthServer(settings.http_host, settings.http_port, metrics, health)
    server.start()
    try:
        with _folder(settings) as folder:
            store = Store(folder, _identity(settings, folder))
            log.info("tables in %s%s", store.path, f", filled again: {store.refusal}" if store.refusal else "")
            console = build(settings, catalog, store, folder, access, metrics, stop)
            try:
                _serve(settings, console, store, metrics, health, stop)
            finally:
                stop.set()
                console.follower.join()
                console.workers.join()
                console.audit.close()
                console.reader.close()
                store.close()
            if console.follower.recreated:
                raise RestartRequired("a topic was deleted and created again: the tables belong to the old one")
    finally:
        server.stop()


def _identity(settings: Settings, folder: Path) -> str | None:
    """Return what Kafka says; None if it does not answer and there are tables from before."""
    has_tables = (folder / "console.db").exists()
    patience_s = 3.0 if has_tables else settings.start_timeout_s
    try:
        return store_identity(settings.model_copy(update={"start_timeout_s": patience_s}), load_catalog())
    except RestartRequired as error:
        if not has_tables:
            raise
        log.warning("%s; serving the tables as they are", error)
        return None


def _serve(
    settings: Settings, console: Console, store: Store, metrics: Metrics, health: Health, stop: threading.Event
) -> None:
    host, port = settings.console_host, settings.console_port
    try:
        listener = listening_socket(host, port, _BACKLOG)
    except OSError as error:
        raise OperatorActionRequired(
            f"{PREFIX}CONSOLE_HOST, {PREFIX}CONSOLE_PORT: can't listen on {host_port(host, port)}: "
            f"{error.strerror or error}"
        ) from None
    config = uvicorn.Config(
        console.app,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        h11_max_incomplete_event_size=_HEAD_BYTES,
        timeout_graceful_shutdown=3,
        proxy_headers=False,
        lifespan="off",
    )
    web = uvicorn.Server(config)
    console.follower.start()
    console.audit.start()
    console.workers.start()

    async def work() -> None:
        served = asyncio.create_task(web.serve([listener]))
        log.info("console on http://%s", host_port(host, listener.getsockname()[1]))
        while not stop.is_set() and not served.done():
            await asyncio.sleep(0.1)
            health.beat()
            _measure(console, store, metrics, health)
        web.should_exit = True
        await served

    with _without_signals(web):
        asyncio.run(work())


def _measure(console: Console, store: Store, metrics: Metrics, health: Health) -> None:
    fresh = console.follower.freshness()
    if fresh.problem is None and console.follower.started.is_set():
        health.ready()
    elif not console.follower.positions:
        health.not_ready("the tables are empty: Kafka has not answered yet")
    metrics.console_behind.set(-1 if fresh.behind_s is None else fresh.behind_s)
    metrics.console_unread.set(fresh.left)
    metrics.console_store_bytes.set(store.size())
    metrics.console_audit_waiting.set(console.audit.waiting)


@contextmanager
def _folder(settings: Settings) -> Iterator[Path]:
    if settings.console_folder is not None:
        yield settings.console_folder
        return
    with tempfile.TemporaryDirectory(prefix="broker-events-console-") as folder:
        yield Path(folder)


@contextmanager
def _without_signals(web: uvicorn.Server) -> Iterator[None]:
    """Leave the signals to `run_process`: uvicorn would take them over while it serves."""

    @contextmanager
    def none() -> Iterator[None]:
        yield

    web.capture_signals = none  # type: ignore[method-assign]
    yield
