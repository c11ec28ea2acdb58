"""A real schema registry (Apicurio, H2 storage) on 127.0.0.1, with the Confluent API."""

from __future__ import annotations

import json
import tempfile
import time
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Self

from broker_events.devstack.artifacts import REGISTRY
from broker_events.devstack.java import JavaProgram, free_ports, prepare
from broker_events.devstack.local_http import open_local

if TYPE_CHECKING:
    from broker_events.devstack.artifacts import Progress

READY_TIMEOUT_S = 60.0
HEAP_MB = 256
REMEMBERED = "ports.json"


class EmbeddedRegistry:
    """One registry; parameters and errors are those of EmbeddedKafka.

    The global compatibility level is NONE (Confluent's own registry says BACKWARD): set a level for each subject.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        progress: Progress = lambda _line: None,
        training: Path | None = None,
    ) -> None:
        self._progress = progress
        self._training = training
        self._folder = (folder or Path(tempfile.mkdtemp(prefix="broker-events-"))) / "registry"
        self._program = JavaProgram(
            REGISTRY,
            "io.quarkus.runner.GeneratedMain",
            self._folder,
            heap_mb=HEAP_MB,
            removed=folder is None,
            training=training,
        )
        self._ports: list[int] = []

    @property
    def url(self) -> str:
        """The base address of the Confluent API; known after start()."""
        return f"http://127.0.0.1:{self._ports[0]}/apis/ccompat/v7"

    @property
    def pid(self) -> int | None:
        return self._program.pid

    @property
    def log(self) -> Path:
        return self._program.log

    def start(self) -> Self:
        """Fetch what is missing, start and return when the registry says that it is ready."""
        try:
            if self._training is None:
                prepare(REGISTRY, _train, self._progress)
            started = time.monotonic()
            self._remember()
            self._start()
        except BaseException:
            self.stop()
            raise
        self._progress(f"{REGISTRY.title} on {self.url} ({time.monotonic() - started:.1f} s)")
        return self

    def stop(self) -> None:
        """Shut the registry down; a temporary folder is removed."""
        self._program.stop()

    def kill(self) -> None:
        """Kill the Java process (SIGKILL), as a crash would; its data stays for restart()."""
        self._program.kill()

    def restart(self) -> None:
        """Start again on the same ports and data, shut down in order before if it still runs."""
        self._program.stop(keep=True)
        self._start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _remember(self) -> None:
        file = self._folder / REMEMBERED
        self._ports = free_ports(2, json.loads(file.read_text(encoding="utf-8")) if file.exists() else ())
        self._folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(self._ports), encoding="utf-8")

    def _start(self) -> None:
        http, management = self._ports
        self._program.environment.update(
            QUARKUS_HTTP_HOST="127.0.0.1",
            QUARKUS_HTTP_PORT=str(http),
            QUARKUS_MANAGEMENT_HOST="127.0.0.1",  # health and metrics; by default on every interface
            QUARKUS_MANAGEMENT_PORT=str(management),
            # Without WRITE_DELAY=0 a killed registry loses what it said yes to in its last half second.
            APICURIO_DATASOURCE_URL=f"jdbc:h2:file:{self._program.folder}/h2/registry;WRITE_DELAY=0",
            APICURIO_DATASOURCE_JDBC_INITIAL_SIZE="1",
            APICURIO_DATASOURCE_JDBC_MIN_SIZE="1",
            APICURIO_DATASOURCE_JDBC_MAX_SIZE="10",
        )
        self._program.start()
        self._program.wait_until(self._is_ready, READY_TIMEOUT_S)

    def _is_ready(self) -> bool:
        try:
            with open_local(f"http://127.0.0.1:{self._ports[1]}/health/ready", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False


def _train(cache: Path) -> None:
    with EmbeddedRegistry(training=cache):
        pass
