"""A pipeline of a test's own: its topics and schemas made by the commands, its workers as processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from confluent_kafka import Producer
from kafka_cluster import KafkaCluster

from broker_events.runtime.consume.offset_moves import topic_ids
from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.kafka.clients import Headers, admin_client, producer_config
from broker_events.runtime.kafka.topic_reader import read_to_end, topic_partitions
from broker_events.runtime.settings import PREFIX, Settings
from broker_events.schemas.codec import EventDecoder
from broker_events.schemas.models import Record as Model

PATIENCE_S = 100.0
COMMAND = (sys.executable, "-m", "broker_events.cli")
# What production settings would make a test wait for.
QUICK = {"TRANSACTION_TIMEOUT_MS": "5000", "SESSION_TIMEOUT_MS": "6000", "START_TIMEOUT_S": "30"}


def eventually(
    holds: Callable[[], bool], what: Callable[[], str] = lambda: "it", patience_s: float = PATIENCE_S
) -> None:
    """Wait until something holds; fail, saying `what` was awaited, when it takes too long."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what()}"
        time.sleep(0.05)


def environment(settings: Settings, **more: object) -> dict[str, str]:
    """The environment of a process of this pipeline; `more` are settings by name."""
    variables = QUICK | {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "SCHEMA_REGISTRY_URL": settings.schema_registry_url,
        "TOPIC_PREFIX": settings.topic_prefix,
        "PARTITIONS": str(settings.partitions),
    }
    variables |= {name.upper(): str(value) for name, value in more.items()}
    return os.environ | {PREFIX + name: value for name, value in variables.items()}


class Worker:
    """A process of `broker-events`; `log` is its stderr so far. Killed, if it still runs, at the end."""

    def __init__(self, arguments: list[str], variables: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._url: str | None = None
        with log.open("wb") as file:
            self._process = subprocess.Popen(arguments, env=variables, stderr=file, stdout=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def port(self) -> int:
        """Port of /metrics, /live and /ready."""
        return int(self._base().rpartition(":")[2])

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of /metrics, /live or /ready."""
        try:
            with urllib.request.urlopen(self._base() + path, timeout=5) as answer:  # noqa: S310 - http by construction
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the series that have these labels, 0 where there is none."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            series, _, value = line.rpartition(" ")
            full_name, _, inside = series.partition("{")
            if full_name == f"broker_events_{name}" and wanted <= {*inside.removesuffix("}").split(",")}:
                total += float(value)
        return total

    def is_ready(self) -> bool:
        return self.get("/ready")[0] == 200

    def wait_ready(self) -> Self:
        """Wait until it has partitions and their state is restored."""
        eventually(lambda: not self.is_running or ("http://" in self.log and self.is_ready()), self._what("/ready"))
        assert self.is_running, self.log
        return self

    def wait_for(self, text: str) -> None:
        """Wait until the log says `text`."""
        eventually(lambda: text in self.log, self._what(text))

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Return the exit code."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s:g} s:\n{self.log}") from None

    def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _base(self) -> str:
        if self._url is None:
            found = re.search(r"http://[^/]+", self.log)
            assert found, self.log
            self._url = found[0]
        return self._url

    def _what(self, what: str) -> Callable[[], str]:
        return lambda: f"{what} in:\n{self.log}"


class Pipeline:
    """Topics and schemas under a prefix of their own. `folder` takes the logs of its processes."""

    def __init__(self, cluster: KafkaCluster, topic_prefix: str, folder: Path, *, partitions: int = 2) -> None:
        self.settings: Settings = cluster.settings(topic_prefix=topic_prefix, partitions=partitions)
        self.folder = folder
        self._decoder = EventDecoder(self.settings.schema_registry_url)
        self._producer = Producer(producer_config(self.settings))

    def made(self) -> Self:
        """Create topics and register schemas."""
        for arguments in (("topics", "apply"), ("schemas", "register")):
            done = self.command(*arguments)
            assert done.returncode == 0, done.stderr
        return self

    def command(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        variables = environment(self.settings, **settings)
        return subprocess.run([*COMMAND, *arguments], env=variables, check=False, capture_output=True, text=True)

    def worker(self, app: str, instance_id: str = "a", **settings: object) -> Worker:
        """Start `broker-events router` or `projector`."""
        arguments = [*COMMAND, app, "--instance-id", f"{app}-{instance_id}", "--http-port", "0"]
        log = self.folder / f"{app}-{instance_id}-{time.monotonic_ns()}.log"
        return Worker(arguments, environment(self.settings, **settings), log)

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: str | bytes | None = None,
        partition: int = -1,
        headers: Headers | None = None,
        timestamp: int = 0,
    ) -> KafkaRecord:
        """Write one record and wait for it; return it with the offset that it got."""
        written: list[KafkaRecord] = []
        self._producer.produce(
            self.settings.topic(topic),
            value,
            key,
            partition,
            timestamp=timestamp,
            headers=headers or [],
            on_delivery=lambda error, message: written.append(cast(KafkaRecord, message)) if error is None else None,
        )
        self._producer.flush(PATIENCE_S)
        assert written, f"{topic}: not written"
        return written[0]

    def produce_all(
        self, topic: str, records: Iterable[tuple[str | bytes | None, bytes]], headers: Headers | None = None
    ) -> int:
        """Write keys and values as fast as it goes, and wait for the last one; return how many there were."""
        name, count = self.settings.topic(topic), 0
        for key, value in records:
            while True:
                try:
                    self._producer.produce(name, value, key, headers=headers or [])
                    break
                except BufferError:
                    self._producer.poll(0.1)
            count += 1
        assert self._producer.flush(PATIENCE_S) == 0
        return count

    def read(self, topic: str) -> list[KafkaRecord]:
        """Every committed record, in order within a partition."""
        starts = dict.fromkeys(topic_partitions(self.settings, self.settings.topic(topic)), 0)
        return [record for batch in read_to_end(self.settings, starts) for record in batch]

    def wait_for(self, topic: str, count: int) -> list[KafkaRecord]:
        """Wait until the topic holds `count` committed records; return all that are there then."""
        records: list[KafkaRecord] = []

        def enough() -> bool:
            records[:] = self.read(topic)
            return len(records) >= count

        eventually(enough, lambda: f"{count} records in {topic}, got {len(records)}")
        return records

    def place(self, topic: str, partition: int, offset: int) -> str:
        """The place of a record (topic without prefix), as the option --skip takes it."""
        admin, name = admin_client(self.settings), self.settings.topic(topic)
        return f"{name}:{partition}:{offset}:{topic_ids(admin, [name])[name]}"

    def decode(self, record: KafkaRecord) -> Model:
        value = record.value()
        assert value is not None
        return self._decoder.decode(value)

    def decoded(self, topic: str) -> list[Model]:
        return [self.decode(record) for record in self.read(topic)]


def headers_of(record: KafkaRecord) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in record.headers() or ()}


def credit(event_id: str, account: object = "ACC-1", **payload: object) -> bytes:
    """Return an event that the router accepts, a CREDIT of 1.50 USD; `payload` replaces members, None removes one."""
    members: dict[str, object] = {
        "account": account,
        "biz_type": "CREDIT",
        "status": "COMPLETED",
        "amount": "1.50",
        "currency": "USD",
        "client_request_id": event_id,
    }
    return envelope(event_id, "FUNDING", {name: x for name, x in (members | payload).items() if x is not None})


def envelope(event_id: str, event_type: str, payload: Mapping[str, object], at: str = "2026-01-31T09:30:00Z") -> bytes:
    return json.dumps({"id": event_id, "event_type": event_type, "timestamp": at, "payload": payload}).encode()
