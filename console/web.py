"""What every response of the console has: who asks, security headers, the rate limit, problems as JSON or page."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker_events.console.access import Access, User, is_allowed_host
from broker_events.runtime.settings import Settings

log = logging.getLogger(__name__)

API: Final = "/api/v1"
SESSION: Final = "console_session"
OPEN_PATHS: Final = ("/login", "/static/")
MOST_BODY: Final = 65_536
_CSP: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_CLIENTS: Final = 10_000


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error as application/problem+json (RFC 9457)."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JSONResponse(body, status, headers, "application/problem+json")


def user_of(request: Request) -> User:
    """Return the user that `Guard` found."""
    user: User = request.state.user
    return user


class RateLimit:
    """A token bucket per client: `per_s` requests, and as many at once as come in two seconds."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._clock = per_s, clock
        self._most = max(2 * per_s, 1)
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Take one request of a client: return 0, or the seconds until the next one is allowed."""
        now = self._clock()
        left, at = self._held.pop(client, (self._most, now))
        left = min(self._most, left + (now - at) * self._per_s)
        allowed = left >= 1
        self._held[client] = (left - 1 if allowed else left, now)
        if len(self._held) > _CLIENTS:
            self._held.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._per_s


class Guard:
    """ASGI middleware in front of everything: host, user, rate and origin are checked, headers are added."""

    def __init__(
        self, app: ASGIApp, settings: Settings, access: Access, observe: Callable[[str, int, float], None]
    ) -> None:
        """`observe` takes the kind of request (`page`, `api`, `static`, `live`), status and seconds of a response."""
        self._app, self._settings, self._access, self._observe = app, settings, access, observe
        self._limit = RateLimit(settings.console_requests_per_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, started = Request(scope, receive), time.monotonic()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            refusal = self._refusal(request)
            await (self._app if refusal is None else refusal)(scope, receive, send_with_headers)
        finally:
            self._observe(_kind(request.url.path), status, time.monotonic() - started)

    def _refusal(self, request: Request) -> Response | None:  # noqa: PLR0911 (a return per reason)
        """Return the response to a request that may not go on, and set the user of any other."""
        path, address = request.url.path, request.client.host if request.client else ""
        host = request.headers.get("host", "")
        if not is_allowed_host(self._settings, host, is_open=self._access.is_open):
            detail = f"the Host header {host[:100]!r} is no name of this console. Set PIPELINE_CONSOLE_NAMES"
            return problem(HTTPStatus.MISDIRECTED_REQUEST, detail)
        if request.method not in {"GET", "HEAD", "POST"}:
            return problem(HTTPStatus.METHOD_NOT_ALLOWED, "GET, HEAD or POST", {"Allow": "GET, HEAD, POST"})
        if request.method == "POST" and _is_foreign(request):
            return problem(HTTPStatus.FORBIDDEN, "a form of another site can't be sent here")
        user = self._access.user(address, request.headers, request.cookies.get(SESSION))
        request.scope.setdefault("state", {})["user"] = user
        is_static = path.startswith("/static/")
        wait_s = 0.0 if is_static else self._limit.wait_s(address if user is None else f"{user.name} {address}")
        if wait_s > 0:
            detail = f"more than {self._settings.console_requests_per_s:g} requests per second. Wait {wait_s:.1f} s"
            return problem(HTTPStatus.TOO_MANY_REQUESTS, detail, {"Retry-After": str(int(wait_s) + 1)})
        if user is not None or path.startswith(OPEN_PATHS):
            return None
        if path.startswith("/api/") or request.method == "POST":
            return problem(
                HTTPStatus.UNAUTHORIZED,
                "send a valid token: Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        return RedirectResponse("/login", HTTPStatus.SEE_OTHER)


def _is_foreign(request: Request) -> bool:
    """Say whether a browser sent this for another site. A program sends neither header."""
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site not in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")


def _kind(path: str) -> str:
    if path.startswith("/api/"):
        return "api"
    if path.startswith("/static/"):
        return "static"
    return "live" if path == "/live" else "page"
