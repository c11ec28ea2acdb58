"""A receiver of alerts on 127.0.0.1: verifies each request, counts, and measures the time since the push."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from broker_events.devstack.counters import percentile

NAME: Final = "demo"
_START_LIMIT_S: Final = 10.0


class Delivered(NamedTuple):
    """Distinct alerts received, and p50, p99 and maximum of the time from event time to receipt in ms."""

    alerts: int
    latency_ms: tuple[int, int, int] | None


class AlertReceiver:
    """Serves in a thread of its own from `start` to `stop`. Its secret and receivers file are in `folder`.

    `log` takes every request that it accepts, one JSON object per line, as `deliver verify --receiver-log` reads it.
    """

    def __init__(self, folder: Path, log: Path | None = None) -> None:
        self._log = None if log is None else log.open("a", encoding="utf-8")
        self.secret = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        self._webhook = Webhook(self.secret)
        self._folder = folder
        self._ids: set[str] = set()
        self._latencies: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._port = 0
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alert-receiver", daemon=True)

    def start(self) -> Path:
        """Start, and return the receivers file that names it."""
        self._thread.start()
        if not self._started.wait(_START_LIMIT_S):
            raise OSError("the receiver of alerts did not start")
        secret, file = self._folder / "receiver-secret", self._folder / "receivers.toml"
        secret.touch(mode=0o600)
        secret.write_text(self.secret, encoding="utf-8")
        lines = {
            "name": NAME,
            "kind": "webhook",
            "url": f"http://127.0.0.1:{self._port}/alerts",
            "secret_files": [str(secret)],
        }
        table = "\n".join(f"{key} = {json.dumps(value)}" for key, value in lines.items())
        file.write_text(f"[[receiver]]\n{table}\n", encoding="utf-8")
        return file

    def delivered(self) -> Delivered:
        """Return the counts of now."""
        with self._lock:
            found = self._latencies
            numbers = (percentile(found, 0.5), percentile(found, 0.99), max(found)) if found else None
            return Delivered(len(self._ids), numbers)

    def forget(self) -> None:
        """Reset the counts."""
        with self._lock:
            self._ids.clear()
            self._latencies.clear()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        if self._log is not None:
            self._log.close()

    def _run(self) -> None:
        runner = self._loop.run_until_complete(self._serve())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _serve(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/alerts", self._receive)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._port = runner.addresses[0][1]
        return runner

    async def _receive(self, request: web.Request) -> web.Response:
        body, now_s = await request.read(), time.time()
        try:
            alert = self._webhook.verify(body, dict(request.headers))
        except WebhookVerificationError:
            return web.Response(status=401)
        if self._log is not None:
            sent = {name.lower(): value for name, value in request.headers.items()}
            self._log.write(json.dumps(sent | {"body": body.decode()}) + "\n")
        late_s = now_s - datetime.fromisoformat(alert["event_time"]).timestamp()
        with self._lock:
            if alert["alert_id"] not in self._ids:
                self._ids.add(alert["alert_id"])
                self._latencies[max(round(late_s * 1000), 0)] += 1
        return web.Response(status=204)
