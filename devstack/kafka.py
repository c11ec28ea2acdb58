"""A real Apache Kafka (KRaft, broker and controller in one process) on 127.0.0.1, without Docker or installed Java."""

from __future__ import annotations

import json
import os
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from broker_events.devstack.artifacts import KAFKA, StackError, ensure
from broker_events.devstack.java import JavaProgram, free_ports, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker_events.devstack.artifacts import Progress

READY_TIMEOUT_S = 60.0
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
HEAP_MB = 512
SERVER_HEAP_MB = 1024  # what kafka-server-start.sh gives it
REMEMBERED = "cluster.json"
CLIENT, CONTROLLER = "CLIENT", "CONTROLLER"


class EmbeddedKafka:
    """A cluster of one node, or of three with replication factor 3 and at least 2 in sync.

    `folder`: where the data is and stays (a restart on it keeps topics, cluster id and, if they are still free, ports);
    without it a temporary folder, removed at the end. `progress` takes one line of text at a time. `advertised` takes
    the port of a node's plain listener and returns the advertised one, such as that of a proxy.
    `listeners`: the security protocols of more than the plain one, by name; `settings`: the brokers', over ours.
    `as_server`: compiled as a server is, and with its heap. start(), restart() and wait_until_ready() raise
    StackError, with the end of the broker's log.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        nodes: int = 1,
        advertised: Callable[[int], int] = lambda port: port,
        progress: Progress = lambda _line: None,
        training: Path | None = None,
        as_server: bool = False,
        listeners: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self._nodes = nodes
        self._advertised = advertised
        self._progress = progress
        self._training = training
        self._as_server = as_server
        self._folder = folder or Path(tempfile.mkdtemp(prefix="broker-events-"))
        self._programs = [
            JavaProgram(
                KAFKA,
                "kafka.Kafka",
                self._folder / f"kafka-{node}",
                heap_mb=SERVER_HEAP_MB if as_server else HEAP_MB,
                removed=folder is None,
                training=training,
                full_jit=as_server,
            )
            for node in range(1, nodes + 1)
        ]
        self._protocols = {CLIENT: "PLAINTEXT", CONTROLLER: "PLAINTEXT", **(listeners or {})}
        self._more_settings = settings or {}
        self._ports: dict[str, list[int]] = {}
        self._advertised_ports: dict[str, list[int]] = {}

    @property
    def bootstrap_servers(self) -> str:
        """Comma separated host:port of every node; known after start()."""
        return self.addresses(CLIENT)

    def addresses(self, listener: str) -> str:
        """Comma separated host:port of a listener on every node; known after start()."""
        return ",".join(f"127.0.0.1:{port}" for port in self._advertised_ports.get(listener, ()))

    @property
    def pids(self) -> list[int | None]:
        """The Java process ids, one per node; None where a node is down."""
        return [program.pid for program in self._programs]

    @property
    def logs(self) -> list[Path]:
        return [program.log for program in self._programs]

    def start(self) -> Self:
        """Fetch what is missing, start every node and return when the whole cluster answers."""
        try:
            if self._as_server:
                ensure(KAFKA, self._progress)
            elif self._training is None:
                prepare(KAFKA, _train, self._progress)
            started = time.monotonic()
            cluster_id = self._remember()
            with ThreadPoolExecutor(self._nodes) as pool:
                list(pool.map(partial(self._start_node, cluster_id), range(self._nodes)))
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        self._progress(f"{KAFKA.title} on {self.bootstrap_servers} ({time.monotonic() - started:.1f} s)")
        return self

    def stop(self) -> None:
        """Shut every node down in order; a temporary folder is removed."""
        with ThreadPoolExecutor(self._nodes) as pool:
            list(pool.map(JavaProgram.stop, self._programs))

    def kill(self, node: int = 0) -> None:
        """Kill one node's Java process (SIGKILL), as a crash would; its data stays for restart()."""
        self._programs[node].kill()

    def restart(self, node: int = 0) -> None:
        """Start one node again on its ports and data, after a shutdown if it runs; wait for the cluster."""
        self._programs[node].stop(keep=True)
        self._programs[node].start(str(self._properties(node)))
        self.wait_until_ready()

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when the metadata names every node that is meant to run."""
        running = [program for program in self._programs if program.is_running]
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers,
            "reconnect.backoff.max.ms": 100,
            "log_level": 0,
            "error_cb": lambda _error: None,  # failed connections are expected during the start
        }
        admin = AdminClient(config)

        def answers() -> bool:
            try:
                return len(admin.list_topics(timeout=1.0).brokers) >= len(running)
            except KafkaException:
                return False

        for program in running or self._programs[:1]:
            program.wait_until(answers, timeout_s)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _remember(self) -> str:
        """Choose ports and a cluster id, the last ones of this folder if there are any, and write them down."""
        file = self._programs[0].folder / REMEMBERED
        cluster_id, last_ports = _cluster_id(), []
        if file.exists():
            cluster_id, last_ports = json.loads(file.read_text(encoding="utf-8"))
            nodes = len(last_ports) // len(self._protocols)
            if nodes != self._nodes:
                raise StackError(f"{self._folder} holds a cluster of {nodes} nodes, not {self._nodes}")
        ports = free_ports(len(self._protocols) * self._nodes, last_ports)
        left = iter(ports)
        self._ports = {name: [*islice(left, self._nodes)] for name in self._protocols}
        self._advertised_ports = self._ports | {CLIENT: [*map(self._advertised, self._ports[CLIENT])]}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([cluster_id, ports]), encoding="utf-8")
        return cluster_id

    def _properties(self, node: int) -> Path:
        return self._programs[node].folder / "server.properties"

    def _start_node(self, cluster_id: str, node: int) -> None:
        program = self._programs[node]
        program.folder.mkdir(parents=True, exist_ok=True)
        settings = self._settings(node)
        file = self._properties(node)
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
        if not (program.folder / "data" / "meta.properties").exists():
            program.run_tool("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(file))
        program.start(str(file))

    def _settings(self, node: int) -> dict[str, object]:
        """Return the broker's settings (Kafka's documentation, Broker Configs) where they are not the defaults."""
        copies, cores = min(self._nodes, 3), os.cpu_count() or 1
        listeners = {name: f"{name}://127.0.0.1:{ports[node]}" for name, ports in self._ports.items()}
        advertised = {name: f"{name}://127.0.0.1:{ports[node]}" for name, ports in self._advertised_ports.items()}
        voters = enumerate(self._ports[CONTROLLER], start=1)
        return {
            "process.roles": "broker,controller",
            "node.id": node + 1,
            "controller.quorum.voters": ",".join(f"{voter}@127.0.0.1:{port}" for voter, port in voters),
            "listeners": ",".join(listeners.values()),
            "advertised.listeners": ",".join(url for name, url in advertised.items() if name != CONTROLLER),
            "listener.security.protocol.map": ",".join(map(":".join, self._protocols.items())),
            "controller.listener.names": CONTROLLER,
            "inter.broker.listener.name": CLIENT,
            "log.dirs": self._programs[node].folder / "data",
            # A killed broker may register again only when its last life's session is over (9 s by default).
            "broker.heartbeat.interval.ms": 500,
            "broker.session.timeout.ms": 3000,
            "auto.create.topics.enable": "false",
            "default.replication.factor": copies,
            "min.insync.replicas": max(1, copies - 1),
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 8,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": max(1, copies - 1),
            "transaction.state.log.num.partitions": 8,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": max(1, copies - 1),
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
            "group.initial.rebalance.delay.ms": 0,
            # The defaults are a large machine's; on two cores threads that wake each other cost a quarter of the time
            # from push to alert.
            "num.network.threads": min(3, max(1, cores // 2)),
            "num.io.threads": min(8, cores),
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
            "replica.fetch.response.max.bytes": 2 * MAX_MESSAGE_BYTES,
            "log.cleaner.dedupe.buffer.size": 32 * 1024 * 1024,  # of the heap; the default is a quarter of ours
            **self._more_settings,
        }


def _cluster_id() -> str:
    """Return a random Kafka UUID: 16 bytes as base64url without padding; a leading '-' would read as an option."""
    text = "-"
    while text.startswith("-"):
        text = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return text


def _train(cache: Path) -> None:
    with EmbeddedKafka(training=cache):
        pass
