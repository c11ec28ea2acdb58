"""A receiver of webhooks for tests: real HTTP on this machine, answers as a test says, and a log of all requests."""

from __future__ import annotations

import asyncio
import base64
import secrets
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web
from standardwebhooks.webhooks import Webhook

SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class Request(NamedTuple):
    """One request; `answered` is the status that it got."""

    at_s: float
    headers: dict[str, str]
    body: bytes
    answered: int

    @property
    def alert_id(self) -> str:
        return self.headers["webhook-id"]


Behaviour = Callable[[web.Request, bytes, int], Awaitable[web.StreamResponse]]
"""Takes a request, its body and how many have come with this webhook-id before."""


async def accept(_request: web.Request, _body: bytes, _before: int) -> web.StreamResponse:
    return web.Response(status=204)


def answer(status: int, text: str = "", **headers: str) -> Behaviour:
    """Answer every request so."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def behave(_request: web.Request, _body: bytes, _before: int) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers=named)

    return behave


class AlertReceiver:
    """A server in a thread of its own. `behave` may be replaced while it runs."""

    def __init__(self, behave: Behaviour = accept, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.behave = behave
        self.requests: list[Request] = []
        self.port = port
        self._seen: defaultdict[str, int] = defaultdict(int)
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}/alerts"

    @property
    def accepted(self) -> list[Request]:
        return [request for request in self.requests if request.answered < 300]

    def verified(self, *used: str) -> list[Any]:
        """Every accepted body, its signature verified with each of the secrets by the library."""
        bodies = []
        for request in self.accepted:
            for secret in used or (SECRET,):
                body = Webhook(secret).verify(request.body, request.headers)
            bodies.append(body)
        return bodies

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/{any:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        alert_id = headers.get("webhook-id", "")
        before, self._seen[alert_id] = self._seen[alert_id], self._seen[alert_id] + 1
        status = 0
        try:
            response = await self.behave(request, body, before)
            status = response.status
        finally:
            self.requests.append(Request(time.time(), headers, body, status or 999))
        return response


def receivers_file(folder: Path, *tables: str, name: str = "receivers.toml") -> Path:
    """Write a file of these receivers; `{secret}` stands for the path of a file with SECRET."""
    secret = folder / "secret"
    secret.write_text(SECRET)
    path = folder / name
    path.write_text("\n".join(f"[[receiver]]\n{table.replace('{secret}', str(secret))}\n" for table in tables))
    return path


def webhook(url: str, name: str = "desk", **keys: str) -> str:
    """Return the table of a webhook; `keys` are TOML values."""
    more = "\n".join(f"{key} = {value}" for key, value in keys.items())
    return f'name = "{name}"\nkind = "webhook"\nurl = "{url}"\nsecret_files = ["{{secret}}"]\n{more}'
