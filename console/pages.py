"""The web pages: server-rendered, usable without JavaScript."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from broker_events.console.access import SESSION_S, Access, User
from broker_events.console.api import alert_filter, limit, place, quarantine_filter
from broker_events.console.audit_trail import AuditTrail
from broker_events.console.contracts import ContractService
from broker_events.console.filters import FILTERS
from broker_events.console.quarantine import NotReplayable, QuarantineService
from broker_events.console.rows import QUARANTINE
from broker_events.console.service import Service, quoted
from broker_events.console.timeline import timeline
from broker_events.console.web import MOST_BODY, SESSION, user_of
from broker_events.console.workers import Workers
from broker_events.runtime.process.addresses import is_loopback
from broker_events.runtime.process.errors import PipelineError
from broker_events.schemas.invalid_event import Reason

FOLDER: Final = Path(__file__).parent
MOST_LIVE: Final = 200
_LIVE_S: Final = 2.0
_NAV: Final = (
    ("/", "Overview"),
    ("/alerts", "Alerts"),
    ("/quarantine", "Quarantine"),
    ("/contracts", "Contracts"),
)


class Pages:
    """The routes of the pages."""

    def __init__(
        self,
        service: Service,
        quarantine: QuarantineService,
        contracts: ContractService,
        audit: AuditTrail,
        access: Access,
        workers: Workers,
    ) -> None:
        self._service, self._quarantine, self._contracts = service, quarantine, contracts
        self._audit, self._access, self._workers = audit, access, workers
        self._live = 0
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(FILTERS)

    def routes(self) -> list[Route]:
        get, post = ["GET"], ["POST"]
        return [
            Route("/", self.overview, methods=get),
            Route("/live", self.live, methods=get),
            Route("/search", self.search, methods=get),
            Route("/accounts/{key:path}", self.account, methods=get),
            Route("/movements/{id:path}", self.movement, methods=get),
            Route("/events/{event_id:path}", self.event, methods=get),
            Route("/alerts", self.alerts, methods=get),
            Route("/alerts/{alert_id}", self.alert, methods=get),
            Route("/quarantine", self.quarantine, methods=get),
            Route("/quarantine/{partition:int}:{offset:int}", self.quarantined, methods=get),
            Route("/quarantine/{partition:int}:{offset:int}/value", self.value, methods=get),
            Route("/quarantine/{partition:int}:{offset:int}/replay", self.replay, methods=post),
            Route("/contracts", self.contracts, methods=get),
            Route("/contracts/{topic}", self.contract, methods=get),
            Route("/contracts/{topic}/schema.avsc", self.schema, methods=get),
            Route("/login", self.login, methods=get),
            Route("/login", self.log_in, methods=post),
            Route("/logout", self.log_out, methods=post),
        ]

    def overview(self, request: Request) -> Response:
        return self._page(request, "overview.html", **self._overview(request))

    async def live(self, request: Request) -> Response:
        """Send the live part of the overview as server-sent events, every 2 s while it changes."""
        if self._live >= MOST_LIVE:
            return HTMLResponse("too many live viewers", HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "30"})

        async def stream() -> AsyncIterator[str]:
            self._live += 1
            try:
                yield "retry: 3000\n\n"
                last = ""
                while not await request.is_disconnected():
                    html = await run_in_threadpool(self._live_part, request)
                    data = "".join(f"data: {line}\n" for line in html.splitlines())
                    yield f"{data}\n" if html != last else ": same\n\n"
                    last = html
                    await asyncio.sleep(_LIVE_S)
            finally:
                self._live -= 1

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    def search(self, request: Request) -> Response:
        user, query = user_of(request), request.query_params.get("q", "").strip()
        if not query:
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        answer = self._service.search(query, user)
        self._audit.look(user, "/search", query)
        if len(answer.hits) == 1:
            return RedirectResponse(answer.hits[0].url, HTTPStatus.SEE_OTHER)
        return self._page(request, "search.html", title="Search", answer=answer)

    def account(self, request: Request) -> Response:
        user, name = user_of(request), request.path_params["key"]
        cursor = request.query_params.get("cursor")
        answer = self._service.account(name, user)
        self._audit.look(user, "/accounts", self._service.key(name))
        if cursor is not None:
            older = self._service.movements(name, user, limit(request), cursor)
            answer.movements, answer.next_movements = older.movements, older.next
        title = f"Account {answer.account.account_key}"
        line = timeline(answer)
        return self._page(
            request, "account.html", title=title, answer=answer, timeline=line, is_older=cursor is not None
        )

    def movement(self, request: Request) -> Response:
        user, name = user_of(request), request.path_params["id"]
        answer = self._service.movement(name, user)
        self._audit.look(user, "/movements", self._service.tables.resolve(name))
        return self._page(request, "movement.html", title="Movement", answer=answer)

    def event(self, request: Request) -> Response:
        user, event_id = user_of(request), request.path_params["event_id"]
        answer, trace = self._service.trace(event_id, user)
        self._audit.look(user, "/events", event_id)
        if "raw" in request.query_params and user.sees_personal and trace.raw:
            return _download(trace.raw[0].value() or b"", "event.json")
        return self._page(request, "event.html", title=f"Event {event_id}", answer=answer)

    def alerts(self, request: Request) -> Response:
        user, query = user_of(request), request.query_params
        chosen = alert_filter(request, self._service)
        is_active, cursor = query.get("show") == "active", query.get("cursor")
        if is_active:
            answer = self._service.active_alerts(chosen.account, chosen.rule, user, limit(request), cursor)
        else:
            answer = self._service.alerts(chosen, user, limit(request), cursor)
        self._audit.look(user, "/alerts", chosen.account)
        counts = self._service.reconciliation()
        return self._page(
            request,
            "alerts.html",
            title="Alerts",
            answer=answer,
            counts=counts,
            is_active=is_active,
            older=_older(request, answer.next),
        )

    def alert(self, request: Request) -> Response:
        user, alert_id = user_of(request), request.path_params["alert_id"]
        answer = self._service.alert(alert_id, user)
        self._audit.look(user, "/alerts", alert_id)
        return self._page(request, "alert.html", title="Alert", answer=answer)

    def quarantine(self, request: Request) -> Response:
        user = user_of(request)
        chosen = quarantine_filter(request, self._service)
        answer = self._quarantine.records(chosen, user, limit(request), request.query_params.get("cursor"))
        self._audit.look(user, "/quarantine", chosen.account)
        reasons = [reason.value for reason in Reason]
        return self._page(
            request,
            "quarantine.html",
            title="Quarantine",
            answer=answer,
            all_reasons=reasons,
            older=_older(request, answer.next),
        )

    def quarantined(self, request: Request) -> Response:
        user, at = user_of(request), place(request)
        answer = self._quarantine.record(*at, user)
        self._audit.look(user, "/quarantine", "{}:{}".format(*at))
        may_replay = self._service.settings.console_actions and user.role == "operator"
        return self._page(request, "quarantined.html", title="Quarantined record", answer=answer, may_replay=may_replay)

    def value(self, request: Request) -> Response:
        user, at = user_of(request), place(request)
        if not user.sees_personal:
            return self._problem(request, HTTPStatus.FORBIDDEN, "your role, viewer, may not see whole records")
        content = self._quarantine.value(*at)
        self._audit.look(user, "/quarantine/value", "{}:{}".format(*at))
        return _download(content, "record.bin")

    async def replay(self, request: Request) -> Response:
        user, form, at = user_of(request), await _form(request), place(request)
        refusal = self._replay_refusal(user, form)
        if refusal is not None:
            return self._problem(request, *refusal)
        name, note = "{}:{}".format(*at), form.get("note", "").strip()[:500]
        try:
            recovery = await run_in_threadpool(
                self._quarantine.replay, *at, f"console, {user.name}: {note}".rstrip(": ")
            )
        except NotReplayable as error:
            return self._problem(request, HTTPStatus.CONFLICT, f"not replayed: {error}")
        except PipelineError as error:
            return self._problem(request, HTTPStatus.SERVICE_UNAVAILABLE, f"not replayed: {error}")
        self._audit.action(user, f"/quarantine/{name}/replay", name, f"{recovery} {note}".rstrip())
        return RedirectResponse(f"/quarantine/{name}?replayed={recovery}", HTTPStatus.SEE_OTHER)

    def _replay_refusal(self, user: User, form: dict[str, str]) -> tuple[HTTPStatus, str] | None:
        """Return why this form may not replay a record."""
        if not self._access.is_own_form(user, form.get("csrf", "")):
            return HTTPStatus.FORBIDDEN, "the form is too old: go back, load the page again, send it again"
        if not self._service.settings.console_actions:
            return HTTPStatus.FORBIDDEN, "actions are off: PIPELINE_CONSOLE_ACTIONS is not set"
        if user.role != "operator":
            return HTTPStatus.FORBIDDEN, f"your role, {user.role}, may not replay: ask an operator"
        if form.get("confirm") != "yes":
            return HTTPStatus.BAD_REQUEST, "tick the box that confirms the replay"
        return None

    def contracts(self, request: Request) -> Response:
        return self._page(request, "contracts.html", title="Contracts", answer=self._contracts.topics())

    def contract(self, request: Request) -> Response:
        topic = request.path_params["topic"]
        answer = self._contracts.contract(topic)
        return self._page(request, "contract.html", title=topic, answer=answer, prefix=self._service.settings.topic(""))

    def schema(self, request: Request) -> Response:
        content = self._contracts.schema(request.path_params["topic"])
        return _download(content.encode(), "schema.avsc")

    def login(self, request: Request) -> Response:
        if request.state.user is not None:
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        return self._page(request, "login.html", title="Log in", failed="failed" in request.query_params)

    async def log_in(self, request: Request) -> Response:
        session = self._access.log_in((await _form(request)).get("token", ""))
        if session is None:
            return RedirectResponse("/login?failed", HTTPStatus.SEE_OTHER)
        response = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        secure = request.url.scheme == "https" or not is_loopback(request.headers.get("host", ""))
        response.set_cookie(SESSION, session, max_age=SESSION_S, secure=secure, httponly=True, samesite="strict")
        return response

    async def log_out(self, request: Request) -> Response:
        if self._access.is_own_form(user_of(request), (await _form(request)).get("csrf", "")):
            self._access.log_out(request.cookies.get(SESSION, ""))
        response = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
        response.delete_cookie(SESSION)
        return response

    def failed(self, request: Request, status: int, detail: str) -> Response:
        """Return the page of an error."""
        return self._problem(request, status, detail)

    def _overview(self, request: Request) -> dict[str, Any]:
        user = user_of(request)
        counts = self._service.reconciliation()
        latest = self._service.alerts(alert_filter(request, self._service), user, 8, None)
        prefix = self._service.settings.topic("")
        rates = {topic.removeprefix(prefix): rate for topic, rate in self._service.follower.rates.items()}
        typed_per_s = sum(rate for topic, rate in rates.items() if topic.startswith("event."))
        return {
            "title": "Overview",
            "answer": counts,
            "latest": latest.alerts,
            "rates": rates | {"typed": typed_per_s},
            "left": self._service.follower.freshness().left,
            "quarantined": sum(counts.quarantined.values()) + sum(counts.quarantined_by_projector.values()),
            "waiting": self._audit.waiting,
            "workers": self._workers.groups,
        }

    def _live_part(self, request: Request) -> str:
        return self._templates.get_template("overview_live.html").render(
            self._shared(request) | self._overview(request)
        )

    def _shared(self, request: Request) -> dict[str, Any]:
        user = request.state.user
        return {
            "nav": _NAV,
            "path": request.url.path,
            "query": request.query_params,
            "user": user,
            "csrf": "" if user is None else self._access.csrf(user),
            "is_open": self._access.is_open,
            "prefix": self._service.settings.topic_prefix,
            "quoted": quoted,
            "quarantine_topic": self._service.settings.topic(QUARANTINE),
        }

    def _page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:  # noqa: ANN401
        shared = self._shared(request) | {"answer": None}
        return HTMLResponse(self._templates.get_template(template).render(shared | values), status)

    def _problem(self, request: Request, status: int, detail: str) -> Response:
        title = HTTPStatus(status).phrase
        return self._page(request, "problem.html", status, title=title, detail=detail)


def _older(request: Request, cursor: str | None) -> str | None:
    """Return the query of the next page."""
    if cursor is None:
        return None
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor" and value]
    return urlencode([*kept, ("cursor", cursor)])


def _download(content: bytes, name: str) -> Response:
    """Return bytes that no browser shows or runs."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="application/octet-stream", headers=headers)


async def _form(request: Request) -> dict[str, str]:
    """Return the members of a sent form; none if it is larger than any form of the console."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY:
            return {}
    fields = parse_qs(body.decode(errors="replace"), max_num_fields=20)
    return {name: values[0] for name, values in fields.items()}
