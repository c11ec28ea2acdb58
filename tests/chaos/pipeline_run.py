"""One pipeline of real processes on the simulated broker: started, struck by a schedule, drained, judged."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from evidence import Decoder, read_partition
from expected_events import TYPED_TOPICS
from journal import Journal
from kafka_cluster import KafkaCluster
from kill_schedule import Blow
from oracle import Oracle
from violations import Report
from workers import Group, Worker, cli

from runtime.kafka import admin_client
from runtime.schema_ids import open_registry
from runtime.settings import PREFIX, Settings
from runtime.topics import apply_topics, plan_topics
from schemas.catalog import load_catalog
from schemas.registry import desired_subjects

log = logging.getLogger(__name__)

DRAIN_LIMIT_S = 120.0
PUSH_LIMIT_S = 30.0
POLL_S = 0.05
APP_KEY, APP_SECRET = "chaos-key", "chaos-secret"
GROUPS = {"router": ("raw",), "projector": tuple(TYPED_TOPICS)}


@dataclass(frozen=True)
class Load:
    """What the simulated broker pushes. `faults` in the words of `broker-events simulate`."""

    events: int
    rate: int
    seed: int
    accounts: int = 300
    faults: Sequence[str] = ()


@dataclass
class Pipeline:
    """Where everything of one run is. `environment` is that of every worker."""

    settings: Settings
    clients: dict[str, Any]
    folder: Path
    load: Load
    environment: dict[str, str] = field(default_factory=dict)
    simulator: subprocess.Popen[bytes] | None = None

    @property
    def journal(self) -> Path:
        return self.folder / "journal.ndjson"

    @property
    def report(self) -> dict[str, Any]:
        """The simulator's own account of what it did."""
        content: dict[str, Any] = json.loads((self.folder / "simulator.json").read_bytes())
        return content

    def worker(self, name: str, *command: str, **settings: object) -> Worker:
        """A worker of this pipeline, not started; `settings` as in runtime.settings."""
        more = {PREFIX + setting.upper(): str(value) for setting, value in settings.items()}
        return Worker(name, command, self.environment | more, self.folder)

    def bridge(self) -> Worker:
        return self.worker("bridge", *cli("ingest"))

    def router(self, instance: str, **settings: object) -> Worker:
        return self.worker(instance, *cli("router", "--instance-id", instance), **settings)

    def projector(self, instance: str, **settings: object) -> Worker:
        return self.worker(instance, *cli("projector", "--instance-id", instance), **settings)

    def end_load(self) -> None:
        """Let the simulator push what it has and end, however much was asked of it."""
        assert self.simulator is not None
        self.simulator.terminate()
        self.simulator.wait(PUSH_LIMIT_S)

    def judge(self) -> Report:
        """Compare everything that was written with everything that was pushed."""
        journal = Journal(self.journal)
        prefix = self.settings.topic_prefix
        oracle = Oracle(journal, prefix, self.report["pushed"]["duplicates"])
        decoder = Decoder()
        for partition in range(self.settings.partitions):
            oracle.check(read_partition(self.clients, prefix, partition, decoder))
        report = oracle.finish()
        journal.close()
        if not report.is_clean:
            (self.folder / "violations.txt").write_text(str(report), encoding="utf-8")
        return report


@contextmanager
def pipeline(cluster: KafkaCluster, prefix: str, folder: Path, load: Load, **overrides: object) -> Iterator[Pipeline]:
    """Topics, schemas and a simulator of a pipeline of its own; its workers are the caller's to start.

    `overrides` are settings of every worker.
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
            "grpc_target": f"127.0.0.1:{port}",
            "grpc_tls": False,
            "app_key": APP_KEY,
            "app_secret": APP_SECRET,
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
        "--report": run.folder / "simulator.json",
        "--app-key": APP_KEY,
        "--app-secret": APP_SECRET,
    }
    arguments = [str(part) for option in options.items() for part in option]
    command = cli("simulate", "--fixed-times", *arguments, *faults)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        run.simulator = process
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().rsplit(b":", 1)[1])
        finally:
            process.terminate()


def strike(group: Group, schedule: Sequence[Blow], watch: Callable[[], None] = lambda: None) -> None:
    """Keep the group alive while the schedule's blows fall. A blow on a worker that is down waits until it is up."""
    began = time.monotonic()
    waiting = list(schedule)
    while waiting:
        group.tend()
        watch()
        for blow in [each for each in waiting if time.monotonic() - began >= each.after_s]:
            worker = group.workers[blow.worker]
            if worker.is_running:
                waiting.remove(blow)
                log.info("%.1f s: %s for %s", time.monotonic() - began, blow.signal.name, blow.worker)
                worker.signal(blow.signal)
                worker.start_at = time.monotonic() + blow.down_s
        time.sleep(POLL_S)


def drain(run: Pipeline, group: Group, also_well: Sequence[int] = ()) -> float:
    """Keep the group alive until all is pushed and processed and every worker is up; how many seconds it took."""
    began = time.monotonic()
    with _Committed(run) as committed:
        steps: dict[str, Callable[[], bool]] = {"push": committed.has_everything, **committed.drained()}
        steps["start"] = lambda: group.is_ready
        for what, is_done in steps.items():
            while not is_done():
                group.tend(also_well)
                waited = time.monotonic() - began
                assert waited < DRAIN_LIMIT_S, f"{what} is not through after {waited:.0f} s\n" + group.tails()
                time.sleep(0.3)
    return time.monotonic() - began


class _Committed:
    """How far the bridge and the two consumer groups have committed."""

    def __init__(self, run: Pipeline) -> None:
        self._run = run
        prefix, partitions = run.settings.topic_prefix, range(run.settings.partitions)
        self._places = {
            group: [TopicPartition(f"{prefix}.{topic}", number) for topic in topics for number in partitions]
            for group, topics in GROUPS.items()
        }
        self._consumers = {group: self._consumer(f"{prefix}.{group}") for group in GROUPS}
        self._cursors = self._consumer(f"{prefix}.oracle")
        self._cursors.assign([TopicPartition(f"{prefix}.ingest.cursors", 0, 0)])
        self._positions: dict[str, str] = {}

    def _consumer(self, group: str) -> Consumer:
        more = {"group.id": group, "isolation.level": "read_committed", "enable.auto.commit": False}
        return Consumer(self._run.clients | more | {"enable.partition.eof": True, "auto.offset.reset": "earliest"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for consumer in (*self._consumers.values(), self._cursors):
            consumer.close()

    def drained(self) -> Mapping[str, Callable[[], bool]]:
        return {group: lambda group=group: self._is_drained(group) for group in GROUPS}  # type: ignore[misc]

    def has_everything(self) -> bool:
        """Whether the bridge has committed the last event of the simulator's log."""
        for message in self._cursors.consume(10_000, 0.2):
            if message.error() is None:
                self._positions[(message.key() or b"").decode()] = json.loads(message.value() or b"")["position"]
        told = self._run.report["log"]
        last = {f"grpc/{name}": of["last_position"] for name, of in told["by_event_type"].items() if of["events"]}
        return bool(told["complete"]) and last == self._positions

    def _is_drained(self, group: str) -> bool:
        """Whether no record is after the group's committed offsets; markers of transactions may be."""
        consumer, places = self._consumers[group], self._places[group]
        try:
            committed = consumer.committed(places, 5)
        except KafkaException:
            return False
        consumer.assign([TopicPartition(at.topic, at.partition, max(at.offset, 0)) for at in committed])
        left = len(places)
        deadline = time.monotonic() + 5
        while left and time.monotonic() < deadline:
            for message in consumer.consume(1000, 0.2):
                error = message.error()
                if error is None:
                    return False
                left -= error.code() == KafkaError._PARTITION_EOF
        return not left
