"""A real Alertmanager for a test, which may be killed and started again, and what it notifies."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from monitoring import alertmanager_config, notified_alerts, wait_ready
from prometheus_tools import provide_templates, tool

from broker_events.devstack.java import free_ports


class AlertmanagerProcess:
    """One Alertmanager; `notified` are its notifications, in order."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        (self._port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self._port}"
        self.notified: list[dict[str, Any]] = []
        self._resources = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        receiver = notified_alerts(self._resources, self.notified)
        (self._folder / "alertmanager.yaml").write_text(alertmanager_config(receiver, "critical|warning"))
        provide_templates(self._folder)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._resources.close()

    def start(self) -> None:
        log = self._resources.enter_context((self._folder / "alertmanager.log").open("ab"))
        arguments = [
            "--config.file=alertmanager.yaml",
            "--storage.path=alertmanager",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--cluster.listen-address=",
        ]
        self._process = subprocess.Popen([tool("alertmanager"), *arguments], cwd=self._folder, stdout=log, stderr=log)
        wait_ready(f"{self.url}/-/ready")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that it holds as firing."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts?active=true", timeout=10) as answer:  # noqa: S310
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def statuses(self, alert_id: str) -> list[str]:
        """Return what it notified of the condition that this alert began, repetitions left out."""
        conditions = {
            each["labels"]["condition"] for each in self.notified if each["annotations"]["alert_id"] == alert_id
        }
        found: list[str] = []
        for each in self.notified:
            if each["labels"]["condition"] in conditions and found[-1:] != [each["status"]]:
                found.append(each["status"])
        return found
