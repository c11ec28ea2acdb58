"""A bridge as a process of its own, and what it has written."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from kafka_cluster import KafkaCluster
from push_server import APP_KEY, APP_SECRET

from broker_events.runtime.consume.record import KafkaRecord, TopicPartition
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.kafka.topic_reader import read_to_end
from broker_events.runtime.kafka.topics import apply_topics, plan_topics
from broker_events.runtime.process.errors import RestartRequired
from broker_events.runtime.process.retry import keep_trying
from broker_events.runtime.settings import PREFIX, Settings
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.oversized import ERROR

PARTITIONS = 3
PATIENCE_S = 100.0


def with_topics(cluster: KafkaCluster, topic_prefix: str) -> Settings:
    """Settings of a pipeline of its own, whose topics are there."""
    settings: Settings = cluster.settings(topic_prefix=topic_prefix, partitions=PARTITIONS)
    apply_topics(admin_client(settings), plan_topics(load_catalog(), settings))
    keep_trying("a new topic", lambda: raw_records(settings), PATIENCE_S, (RestartRequired,))
    return settings


class BridgeProcess:
    """`broker-events ingest ARGUMENTS`; `output` is its stderr so far. Killed, if it still runs, at the end."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        *arguments: str,
        port: int | None = None,
        stdin: int | None = None,
        **more: object,
    ) -> None:
        self._log = folder / f"bridge-{time.monotonic_ns()}.log"
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "TOPIC_PREFIX": settings.topic_prefix,
            "PARTITIONS": settings.partitions,
            "APP_KEY": APP_KEY,
            "APP_SECRET": APP_SECRET,
            "GRPC_TLS": False,
        }
        if port is not None:
            variables["GRPC_TARGET"] = f"127.0.0.1:{port}"
        variables |= {name.upper(): value for name, value in more.items()}
        environment = os.environ | {PREFIX + name: str(value) for name, value in variables.items()}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "broker_events.cli", "ingest", *arguments],
                env=environment,
                stderr=log,
                stdin=stdin,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def port(self) -> int:
        """Port of /metrics, /live and /ready."""
        found = re.search(r"http://[^/]+:(\d+)/metrics", self.output)
        assert found, self.output
        return int(found[1])

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            body: bytes = answer.read()
        return body.decode()

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Return the exit code."""
        return self._process.wait(timeout_s)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def feed(self, content: bytes, *, end: bool = True) -> None:
        """Write to its standard input (stdin=subprocess.PIPE), and end it."""
        pipe = self._process.stdin
        assert pipe is not None
        pipe.write(content)
        pipe.flush()
        if end:
            pipe.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait_for(self, text: str) -> None:
        """Wait until the log says `text`."""
        eventually(lambda: text in self.output, lambda: f"{text!r} in:\n{self.output}")


def eventually(holds: Callable[[], bool], what: Callable[[], str] = lambda: "it") -> None:
    """Wait until something holds; fail, saying `what` was awaited, when it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s for {what()}"
        time.sleep(0.05)


def raw_records(settings: Settings) -> list[KafkaRecord]:
    """Every committed record of the raw topic, in order within a partition."""
    starts = {TopicPartition(settings.topic("raw"), partition): 0 for partition in range(settings.partitions)}
    return [record for batch in read_to_end(settings, starts) for record in batch]


def headers_of(record: KafkaRecord) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in record.headers() or ()}


def wait_for_raw(settings: Settings, count: int) -> list[KafkaRecord]:
    """Wait until the raw topic holds `count` committed records; return all that are there then."""
    records: list[KafkaRecord] = []

    def enough() -> bool:
        records[:] = raw_records(settings)
        return len(records) >= count

    eventually(enough, lambda: f"{count} raw records, got {len(records)}")
    return records


def errors_in(records: list[KafkaRecord]) -> list[str]:
    return [headers_of(record)[ERROR] for record in records if ERROR in headers_of(record)]
