"""One pipeline of real processes on the simulated broker: its parts, and what it wrote judged."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expected_rules import RULES
from judgement import judge
from kafka_cluster import KafkaCluster
from violations import Report
from workers import Worker, cli
from wrong_clock import wrong_clock

from broker_events.devstack.alert_receiver import NAME as RECEIVER
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.topics import apply_topics, plan_topics
from broker_events.runtime.schema_ids import open_registry
from broker_events.runtime.settings import PREFIX, Settings
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.registry import desired_subjects
from broker_events.sinks.deliver.group import app_of

log = logging.getLogger(__name__)

HOSTILE_SIMULATOR = Path(__file__).with_name("hostile_events.py")
PUSH_LIMIT_S = 30.0
APP_KEY, APP_SECRET = "chaos-key", "chaos-secret"


@dataclass(frozen=True)
class Load:
    """What the simulated broker pushes. `faults` in the words of `broker-events simulate`.

    `hostile`: share of the events that are hostile, 0 to 1.
    """

    events: int
    rate: int
    seed: int
    accounts: int = 300
    faults: Sequence[str] = ()
    hostile: float = 0.0


@dataclass
class Pipeline:
    """Where everything of one run is. `environment` is that of every worker."""

    settings: Settings
    clients: dict[str, Any]
    folder: Path
    load: Load
    environment: dict[str, str] = field(default_factory=dict)
    simulator: subprocess.Popen[bytes] | None = None
    delivering: tuple[str, ...] = ()
    """Apps of the receivers that get alerts."""

    @property
    def journal(self) -> Path:
        return self.folder / "journal.ndjson"

    @property
    def report_file(self) -> Path:
        return self.folder / "simulator.json"

    @property
    def report(self) -> dict[str, Any]:
        """The simulator's own account of what it did."""
        content: dict[str, Any] = json.loads(self.report_file.read_bytes())
        return content

    def worker(self, name: str, *command: str, **settings: object) -> Worker:
        """A worker of this pipeline, not started, its name its Kafka client id; `settings` as in runtime.settings."""
        settings = {"kafka_extra": json.dumps({"client.id": name})} | settings
        more = {PREFIX + setting.upper(): str(value) for setting, value in settings.items()}
        more |= wrong_clock(self.folder / f"{name}.clock")
        return Worker(name, command, self.environment | more, self.folder)

    def bridge(self) -> Worker:
        return self.worker("bridge", *cli("ingest", "--yes-write-simulated-events-to", self.settings.topic_prefix))

    def router(self, instance: str, **settings: object) -> Worker:
        return self.worker(instance, *cli("router", "--instance-id", instance), **settings)

    def projector(self, instance: str, **settings: object) -> Worker:
        """Its state is on disk, and most of it is not in memory."""
        on_disk = {"state_folder": self.folder / "state" / instance, "state_memory_mb": 1}
        return self.worker(instance, *cli("projector", "--instance-id", instance), **(on_disk | settings))

    def deliver(self, instance: str, receivers: Path) -> Worker:
        """A deliver worker; `receivers`: the file of AlertReceiver."""
        self.delivering = (app_of(RECEIVER),)
        return self.worker(instance, *cli("deliver", "--instance-id", instance), delivery_receivers=receivers)

    def end_load(self) -> None:
        """Let the simulator push what it has and end, however much was asked of it."""
        assert self.simulator is not None
        self.simulator.terminate()
        self.simulator.wait(PUSH_LIMIT_S)

    def judge(self, say: Callable[[str], None] = log.info, processes: int = 1) -> Report:
        """Compare everything that was written with everything that was pushed; `say` takes a line a partition."""
        return judge(self.clients, self.settings, self.journal, self.report["pushed"]["duplicates"], say, processes)


@contextmanager
def pipeline(
    cluster: KafkaCluster,
    prefix: str,
    folder: Path,
    load: Load,
    relay: Callable[[int], int] = lambda port: port,
    **overrides: object,
) -> Iterator[Pipeline]:
    """Topics, schemas and a simulator of a pipeline of its own; its workers are the caller's to start.

    `relay` takes the simulator's port and returns the one that the bridge is told. `overrides` are settings of every
    worker.
    """
    overrides = {"topic_prefix": prefix, "partitions": 6, "session_timeout_ms": 6000} | overrides
    settings = cluster.settings(**overrides)
    catalog = load_catalog()
    apply_topics(admin_client(settings), plan_topics(catalog, settings))
    open_registry(settings).register(desired_subjects(catalog, prefix))
    run = Pipeline(settings, cluster.clients(), folder, load)
    with _simulator(run) as port:
        variables = {
            "kafka_bootstrap_servers": settings.kafka_bootstrap_servers,
            "schema_registry_url": settings.schema_registry_url,
            "grpc_target": f"127.0.0.1:{relay(port)}",
            "grpc_tls": False,
            "app_key": APP_KEY,
            "app_secret": APP_SECRET,
            "rules": ",".join(RULES),
            **overrides,
        }
        run.environment = os.environ | {PREFIX + name.upper(): str(value) for name, value in variables.items()}
        yield run


@contextmanager
def _simulator(run: Pipeline) -> Iterator[int]:
    load = run.load
    faults = [part for fault in load.faults for part in ("--fault", fault)]
    options = {
        "--count": load.events,
        "--rate": load.rate,
        "--seed": load.seed,
        "--accounts": load.accounts,
        "--payload-form": "mixed",
        "--journal": run.journal,
        "--report": run.report_file,
        "--app-key": APP_KEY,
        "--app-secret": APP_SECRET,
    }
    arguments = [str(part) for option in options.items() for part in option]
    simulator = [sys.executable, str(HOSTILE_SIMULATOR), str(load.hostile)]
    command = [*simulator, "simulate", "--fixed-times", *arguments, *faults]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        run.simulator = process
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rsplit(b":", 1)[1])
            while not run.report_file.exists():
                time.sleep(0.01)
            yield port
        finally:
            process.terminate()
