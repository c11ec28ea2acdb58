"""A console as a process, and who asks it: a client with a token."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from pipeline_processes import COMMAND, PATIENCE_S, Pipeline, Worker, environment, eventually

from broker_events.console.access import Role, new_token


class Answered(NamedTuple):
    """A response; `body` as bytes on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Client:
    """Asks a console, with a token or without; follows no redirect."""

    def __init__(self, address: str, token: str | None = None) -> None:
        self.address = address
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._opener = urllib.request.build_opener(_Stay)

    def get(self, path: str, **headers: str) -> Answered:
        return self._ask(urllib.request.Request(self.address + path, headers=self._headers | headers))  # noqa: S310

    def post(self, path: str, form: dict[str, str], **headers: str) -> Answered:
        data = urllib.parse.urlencode(form).encode()
        return self._ask(urllib.request.Request(self.address + path, data, self._headers | headers))  # noqa: S310

    def api(self, path: str) -> Any:
        answered = self.get(f"/api/v1{path}")
        assert answered.status == 200, answered
        return answered.json

    def _ask(self, request: urllib.request.Request) -> Answered:
        try:
            with self._opener.open(request, timeout=30) as answer:
                return Answered(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Answered(error.code, dict(error.headers), error.read())


def tokens(folder: Path) -> tuple[Path, dict[Role, str]]:
    """Write a tokens file with a token of each role; return the file, and the tokens."""
    roles: tuple[Role, ...] = ("viewer", "investigator", "operator")
    made = {role: new_token(role, role) for role in roles}
    file = folder / "tokens"
    file.write_text("# a comment\n" + "".join(f"{line}\n" for _, line in made.values()), encoding="utf-8")
    return file, {role: token for role, (token, _) in made.items()}


class ConsoleProcess(Worker):
    """`broker-events console` of a pipeline, on a free port."""

    def __init__(self, pipeline: Pipeline, folder: Path, **settings: object) -> None:
        own = {"console_port": 0, "http_port": 0, "console_folder": folder / "tables", "console_requests_per_s": 5000}
        log = folder / f"console-{time.monotonic_ns()}.log"
        super().__init__([*COMMAND, "console"], environment(pipeline.settings, **(own | settings)), log)

    @property
    def address(self) -> str:
        found = re.search(r"console on (http://\S+)", self.log)
        assert found, self.log
        return found[1]

    def wait_current(self, client: Client | None = None) -> ConsoleProcess:
        """Wait until its tables hold everything that the topics hold now."""
        eventually(lambda: not self.is_running or "console on http" in self.log, lambda: self.log)
        asking = client or Client(self.address)

        def is_current() -> bool:
            answer = asking.api("/reconciliation")
            return answer["as_of"] is not None and answer["behind_s"] == 0 and answer["problem"] is None

        since = time.time()
        eventually(is_current, lambda: f"the end of the topics in:\n{self.log}", PATIENCE_S)
        eventually(lambda: _seconds(asking.api("/reconciliation")["as_of"]) > since, lambda: self.log)
        eventually(is_current, lambda: self.log)
        return self


def _seconds(text: str) -> float:
    from datetime import datetime  # noqa: PLC0415

    return datetime.fromisoformat(text).timestamp()
