"""The query API, /api/v1: every answer says up to which offsets it goes and how old it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker_events.console import answers
from broker_events.console.access import User
from broker_events.console.audit_trail import AuditTrail
from broker_events.console.contracts import ContractService
from broker_events.console.openapi import Operation, Parameter, document
from broker_events.console.quarantine import QuarantineService
from broker_events.console.rows import ACCOUNTS, ACTIVE, ALERTS, MOVEMENTS, QUARANTINE
from broker_events.console.service import Service, Wanted
from broker_events.console.tables import MOST, PAGE, AlertFilter, QuarantineFilter
from broker_events.console.web import API, user_of
from broker_events.schemas.catalog import RAW

_WANTED: Final = re.compile(r"(?:([a-z0-9.-]{1,100}):)?([0-9]{1,4}):([0-9]{1,18})")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")

_LIMIT: Final = Parameter("limit", "integer", f"Most records, 1 to {MOST}; default {PAGE}.", minimum=1, maximum=MOST)
_CURSOR: Final = Parameter("cursor", "string", "`next` of the previous answer.")
_SINCE: Final = Parameter("since_ms", "integer", "Only records of this time or later, ms since the epoch.", minimum=0)
_UNTIL: Final = Parameter("until_ms", "integer", "Only records before this time, ms since the epoch.", minimum=0)


class Invalid(ValueError):
    """A parameter is wrong: the text names it."""


class Endpoint(NamedTuple):
    """A route: its description, and what answers it. `topic`: that of a `min_position` without one."""

    operation: Operation
    answer: Callable[[Request, User], answers.Answer]
    topic: str


class Api:
    """The routes of the API."""

    def __init__(
        self, service: Service, quarantine: QuarantineService, contracts: ContractService, audit: AuditTrail
    ) -> None:
        self._service, self._quarantine, self._contracts, self._audit = service, quarantine, contracts, audit
        self._endpoints = self._all()
        self._document = document([endpoint.operation for endpoint in self._endpoints])

    def routes(self) -> list[Route]:
        listed = [Route(f"{API}{each.operation.path}", self._route(each), methods=["GET"]) for each in self._endpoints]
        return [*listed, Route(f"{API}/openapi.json", self._openapi, methods=["GET"])]

    def _openapi(self, _: Request) -> Response:
        return JSONResponse(self._document)

    def _route(self, endpoint: Endpoint) -> Callable[[Request], Response]:
        def respond(request: Request) -> Response:
            user = user_of(request)
            self._service.require(_wanted(request, endpoint.topic))
            answer = endpoint.answer(request, user)
            self._audit.look(user, request.url.path, self._subject(request))
            return _with_etag(request, answer)

        return respond

    def _subject(self, request: Request) -> str | None:
        """Return what the path names, with a reference resolved."""
        named = [str(value) for value in request.path_params.values()]
        if not named:
            return request.query_params.get("q") or request.query_params.get("account")
        return self._service.tables.resolve(named[0]) if len(named) == 1 else ":".join(named)

    def _all(self) -> list[Endpoint]:
        service, name = self._service, "Account key, or a reference of this console (`~` and 24 hex digits)."
        key = Parameter("key", "string", name, place="path")

        def endpoint(
            path: str,
            summary: str,
            model: type[answers.Answer],
            answer: Callable[[Request, User], answers.Answer],
            topic: str,
            *parameters: Parameter,
        ) -> Endpoint:
            return Endpoint(Operation(path, summary, model, parameters), answer, topic)

        def event_id(request: Request) -> str:
            return str(request.path_params["event_id"])

        event = Parameter("event_id", "string", "Event id as the brokerage pushed it.", place="path")
        account = Parameter("account", "string", "Only those of this account key or reference.")
        rule = Parameter("rule", "string", "Only alerts of this rule.")
        return [
            endpoint(
                "/accounts/{key:path}/movements",
                "Movements of an account, newest event first.",
                answers.MovementsAnswer,
                lambda r, u: service.movements(r.path_params["key"], u, limit(r), r.query_params.get("cursor")),
                MOVEMENTS,
                *(key, _LIMIT, _CURSOR),
            ),
            endpoint(
                "/accounts/{key:path}",
                "State of an account, its active alerts and newest movements.",
                answers.AccountAnswer,
                lambda r, u: service.account(r.path_params["key"], u),
                ACCOUNTS,
                key,
            ),
            endpoint(
                "/movements/{id:path}",
                "A movement of money, by movement id, client_request_id, the brokerage's id or a reference.",
                answers.MovementAnswer,
                lambda r, u: service.movement(r.path_params["id"], u),
                MOVEMENTS,
                Parameter("id", "string", "Any id of the movement.", place="path"),
            ),
            endpoint(
                "/alerts",
                "Alerts as written, newest first.",
                answers.AlertsAnswer,
                lambda r, u: service.alerts(alert_filter(r, service), u, limit(r), r.query_params.get("cursor")),
                ALERTS,
                *(rule, Parameter("status", "string", "FIRING or RESOLVED."), account, _SINCE, _UNTIL, _LIMIT, _CURSOR),
            ),
            endpoint(
                "/alerts/active",
                "Alerts whose condition holds now, newest event first.",
                answers.AlertsAnswer,
                lambda r, u: service.active_alerts(
                    account_filter(r, service), r.query_params.get("rule"), u, limit(r), r.query_params.get("cursor")
                ),
                ACTIVE,
                *(rule, account, _LIMIT, _CURSOR),
            ),
            endpoint(
                "/alerts/{alert_id}",
                "One alert with its deliveries.",
                answers.AlertAnswer,
                lambda r, u: service.alert(r.path_params["alert_id"], u),
                ALERTS,
                Parameter("alert_id", "string", "Id of the alert.", place="path"),
            ),
            endpoint(
                "/events/{event_id:path}",
                "Where an event is in the raw topic.",
                answers.EventAnswer,
                lambda r, u: service.event(event_id(r), u),
                RAW,
                event,
            ),
            endpoint(
                "/trace/{event_id:path}",
                "All that happened to an event, step by step.",
                answers.TraceAnswer,
                lambda r, u: service.trace(event_id(r), u)[0],
                RAW,
                event,
            ),
            endpoint(
                "/quarantine",
                "Quarantined records, newest first.",
                answers.QuarantineAnswer,
                lambda r, u: self._quarantine.records(
                    quarantine_filter(r, service), u, limit(r), r.query_params.get("cursor")
                ),
                QUARANTINE,
                *(Parameter(name, "string", f"Only records with this {name}.") for name in _QUARANTINE_TEXTS),
                *(account, _SINCE, _UNTIL, _LIMIT, _CURSOR),
            ),
            endpoint(
                "/quarantine/{partition:int}/{offset:int}",
                "One quarantined record, and what a replay would do now.",
                answers.QuarantinedAnswer,
                lambda r, u: self._quarantine.record(*place(r), u),
                QUARANTINE,
                Parameter("partition", "integer", "Partition of the record.", place="path", minimum=0),
                Parameter("offset", "integer", "Offset of the record.", place="path", minimum=0),
            ),
            endpoint(
                "/reconciliation",
                "Counts of all records: received, typed, quarantined, alerts.",
                answers.ReconciliationAnswer,
                lambda *_: service.reconciliation(),
                RAW,
            ),
            endpoint(
                "/contracts",
                "All topics with their contracts.",
                answers.ContractsAnswer,
                lambda *_: self._contracts.topics(),
                RAW,
            ),
            endpoint(
                "/contracts/{topic}",
                "Fields, samples and versions of a topic.",
                answers.ContractAnswer,
                lambda r, _: self._contracts.contract(r.path_params["topic"]),
                RAW,
                Parameter("topic", "string", "Name of the topic without prefix.", place="path"),
            ),
            endpoint(
                "/search",
                "What has exactly this id or number.",
                answers.SearchAnswer,
                lambda r, u: service.search(r.query_params.get("q", ""), u),
                RAW,
                Parameter("q", "string", "An account id or number, or the id of a movement, event or alert."),
            ),
        ]


_QUARANTINE_TEXTS: Final = ("reason", "biz_type", "event_id", "stage")


def limit(request: Request) -> int:
    """Return the parameter `limit`. Raises Invalid."""
    text = request.query_params.get("limit", str(PAGE))
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= MOST:
        raise Invalid(f"limit: must be 1 to {MOST}")
    return int(text)


def place(request: Request) -> tuple[int, int]:
    """Return partition and offset of the path. Raises Invalid."""
    found = int(request.path_params["partition"]), int(request.path_params["offset"])
    if max(found) >= 1 << 63:
        raise Invalid("partition, offset: must be below 2^63")
    return found


def alert_filter(request: Request, service: Service) -> AlertFilter:
    """Return the filters of a request for alerts. Raises Invalid, and NotFound for an unknown reference."""
    rule, status = (request.query_params.get(name) or None for name in ("rule", "status"))
    account = account_filter(request, service)
    return AlertFilter(rule, status, account, _time(request, "since_ms"), _time(request, "until_ms"))


def quarantine_filter(request: Request, service: Service) -> QuarantineFilter:
    """Return the filters of a request for quarantined records. Raises as `alert_filter`."""
    reason, biz_type, event_id, stage = (request.query_params.get(name) or None for name in _QUARANTINE_TEXTS)
    account, since_ms, until_ms = (
        account_filter(request, service),
        _time(request, "since_ms"),
        _time(request, "until_ms"),
    )
    return QuarantineFilter(reason, biz_type, account, event_id, since_ms, until_ms, stage)


def account_filter(request: Request, service: Service) -> str | None:
    """Return the account key of the parameter `account`, a key or a reference."""
    name = request.query_params.get("account", "").strip()
    return service.key(name) if name else None


def _time(request: Request, name: str) -> int | None:
    text = request.query_params.get(name) or None
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise Invalid(f"{name}: must be milliseconds since the epoch")
    return int(text)


def _wanted(request: Request, topic: str) -> list[Wanted]:
    """Return the records of `min_position`, which may be given several times. Raises Invalid."""
    listed = []
    for text in request.query_params.getlist("min_position"):
        match = _WANTED.fullmatch(text)
        if match is None:
            raise Invalid("min_position: must be [TOPIC:]PARTITION:OFFSET")
        listed.append(Wanted(match[1] or topic, int(match[2]), int(match[3])))
    return listed


def _with_etag(request: Request, answer: answers.Answer) -> Response:
    """Return the answer, or 304 if the caller has the same one. Its age alone is no difference."""
    content = answer.model_dump_json(exclude={"positions", "behind_s", "as_of", "took_ms"})
    etag = f'W/"{hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    body: Any = answer.model_dump(mode="json")
    return JSONResponse(body, headers=headers)
