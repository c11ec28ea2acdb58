"""Puts the console together: tables, follower, services, pages and API as one ASGI application."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from broker_events.console.access import Access
from broker_events.console.api import Api, Invalid
from broker_events.console.audit_trail import AuditTrail
from broker_events.console.contracts import ContractService
from broker_events.console.follower import Follower
from broker_events.console.pages import FOLDER, Pages
from broker_events.console.places import PlaceReader
from broker_events.console.quarantine import QuarantineService
from broker_events.console.service import PATIENCE_S, NotFound, NotReached, Service, Undecodable
from broker_events.console.store import Store
from broker_events.console.tables import InvalidCursor, Tables
from broker_events.console.trace import Tracer
from broker_events.console.web import API, Guard, problem
from broker_events.console.workers import Workers
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.schema_ids import open_decoder
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import Catalog

_RETRY_S: Final = "1"


class Console(NamedTuple):
    """The parts of a console. Start follower, audit and workers; stop by `stop`, then join and close them."""

    app: ASGIApp
    follower: Follower
    audit: AuditTrail
    reader: PlaceReader
    workers: Workers


def build(
    settings: Settings,
    catalog: Catalog,
    store: Store,
    folder: Path,
    access: Access,
    metrics: Metrics,
    stop: threading.Event,
) -> Console:
    """Return the console over an open store; nothing runs yet."""
    decoder = open_decoder(settings)
    patient = settings.model_copy(update={"start_timeout_s": PATIENCE_S})
    tables = Tables(store)
    follower = Follower(settings, catalog, store, decoder, stop)
    reader = PlaceReader(settings)
    tracer = Tracer(patient, catalog, tables, follower, reader, decoder)
    service = Service(patient, catalog, tables, follower, tracer)
    quarantine, contracts = QuarantineService(service, reader), ContractService(service)
    audit = AuditTrail(settings, catalog, folder, stop)
    workers = Workers(patient, catalog, stop)
    pages = Pages(service, quarantine, contracts, audit, access, workers)
    api = Api(service, quarantine, contracts, audit)
    routes = [*api.routes(), Mount("/static", StaticFiles(directory=FOLDER / "static")), *pages.routes()]
    app = Starlette(routes=routes, exception_handlers=_handlers(pages))

    def observe(kind: str, status: int, seconds: float) -> None:
        metrics.console_requests.labels(kind, f"{status // 100}xx").inc()
        if kind != "live":
            metrics.console_seconds.observe(seconds)

    return Console(Guard(app, settings, access, observe), follower, audit, reader, workers)


def _handlers(pages: Pages) -> dict[type[Exception], Callable[[Request, Exception], Response]]:
    def handler(status: int, headers: dict[str, str] | None = None) -> Callable[[Request, Exception], Response]:
        def respond(request: Request, error: Exception) -> Response:
            code, detail = status, str(error)
            if isinstance(error, HTTPException):
                code, detail = error.status_code, error.detail
            if request.url.path.startswith(API):
                return problem(code, detail, headers)
            return pages.failed(request, code, detail)

        return respond

    retry = {"Retry-After": _RETRY_S}
    return {
        HTTPException: handler(HTTPStatus.NOT_FOUND),
        NotFound: handler(HTTPStatus.NOT_FOUND),
        Invalid: handler(HTTPStatus.BAD_REQUEST),
        InvalidCursor: handler(HTTPStatus.BAD_REQUEST),
        NotReached: handler(HTTPStatus.SERVICE_UNAVAILABLE, retry),
        Undecodable: handler(HTTPStatus.SERVICE_UNAVAILABLE, retry),
    }
