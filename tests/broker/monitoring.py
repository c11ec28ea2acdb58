"""A real Prometheus and Alertmanager for a test, and a receiver of what the Alertmanager sends."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from prometheus_tools import provide_templates, tool

from broker_events.devstack.java import free_ports

RULES = Path(__file__).parents[2] / "helm" / "rules" / "broker-events.yaml"
READY_S = 20.0
INTERVAL = "500ms"


def quick_rules() -> str:
    """Return the committed rules with every duration divided by 60, and silence judged after 3 s instead of 90."""
    text = RULES.read_text(encoding="utf-8")
    text = re.sub(r"(?<=for: )(\d+)m|(?<=\[)(\d+)m(?=\])", lambda found: f"{found[1] or found[2]}s", text)
    text = re.sub(r"for: 30s", "for: 1s", text)
    quick = text.replace("> 90", "> 3")
    assert quick != text
    return quick


class Monitoring:
    """Prometheus scrapes `targets` (host:port by job), evaluates the rules and tells the Alertmanager.

    `notified` are the alerts that came out of it, in order, each as Alertmanager's webhook has it.
    """

    def __init__(self, folder: Path, targets: Mapping[str, str]) -> None:
        self.notified: list[dict[str, Any]] = []
        self._folder = folder
        self._targets = targets
        self._resources = ExitStack()
        prometheus, self._alertmanager = free_ports(2)
        self._url = f"http://127.0.0.1:{prometheus}"

    def __enter__(self) -> Self:
        with self._resources:
            receiver = notified_alerts(self._resources, self.notified)
            self._write("rules.yaml", quick_rules())
            self._write("alertmanager.yaml", alertmanager_config(receiver, "page"))
            self._write("prometheus.yaml", _prometheus(self._targets, self._alertmanager))
            self._run("promtool", "check", "config", "prometheus.yaml")
            self._run("amtool", "check-config", "alertmanager.yaml")
            provide_templates(self._folder)
            self._start(
                "alertmanager",
                "--config.file=alertmanager.yaml",
                "--storage.path=alertmanager",
                f"--web.listen-address=127.0.0.1:{self._alertmanager}",
                "--cluster.listen-address=",
            )
            self._start(
                "prometheus",
                "--config.file=prometheus.yaml",
                "--storage.tsdb.path=prometheus",
                f"--web.listen-address={self._url.removeprefix('http://')}",
            )
            for url in (self._url, f"http://127.0.0.1:{self._alertmanager}"):
                wait_ready(f"{url}/-/ready")
            self._resources = self._resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression gives now."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self._url}/api/v1/query?{query}", timeout=10) as answer:  # noqa: S310
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result

    def statuses(self, alert: str, **labels: str) -> list[str]:
        """What was notified of an alert: `firing` and `resolved`, in order, repetitions left out."""
        wanted = {"alertname": alert, **labels}
        found: list[str] = []
        for notice in [*self.notified]:
            if wanted.items() <= notice["labels"].items() and found[-1:] != [notice["status"]]:
                found.append(notice["status"])
        return found

    def _write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text, encoding="utf-8")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [tool(program), *arguments], cwd=self._folder, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _start(self, program: str, *arguments: str) -> None:
        log = self._resources.enter_context((self._folder / f"{program}.log").open("wb"))
        process = subprocess.Popen([tool(program), *arguments], cwd=self._folder, stdout=log, stderr=log)
        self._resources.callback(process.wait)
        self._resources.callback(process.kill)


def notified_alerts(resources: ExitStack, notified: list[dict[str, Any]]) -> int:
    """Start a receiver of an Alertmanager's webhook, which adds to `notified`; return its port."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            notified.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    resources.callback(server.server_close)
    resources.callback(server.shutdown)
    return server.server_port


def _prometheus(targets: Mapping[str, str], alertmanager: int) -> str:
    return yaml.safe_dump(
        {
            "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
            ],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
        }
    )


def alertmanager_config(receiver: int, severity: str) -> str:
    """Return the configuration of an Alertmanager that notifies this port at once; `severity` is an expression."""
    return yaml.safe_dump(
        {
            "route": {"receiver": "nobody", "routes": [{"receiver": "pager", "matchers": [f'severity=~"{severity}"']}]}
            | {"group_by": ["..."], "group_wait": "0s", "group_interval": "1s"},
            "receivers": [
                {"name": "nobody"},
                {"name": "pager", "webhook_configs": [{"url": f"http://127.0.0.1:{receiver}/", "send_resolved": True}]},
            ],
        }
    )


def wait_ready(url: str) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - http by construction
                return
        except OSError:
            assert time.monotonic() < deadline, url
            time.sleep(0.1)
