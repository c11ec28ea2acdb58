"""The programs in examples/: how each is built and run, and a pipeline with something for them to read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer
from pipeline_processes import Pipeline, envelope

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
TOPICS: Final = (
    "event.transfer",
    "event.account-update",
    "alerts",
    "alerts.active",
    "state.accounts",
    "state.movements",
)
BUILD_S: Final = 900
RUN_S: Final = 120
AMOUNTS: Final = (
    "99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999", "0.000000000000000001",
    "-0.000000000000000001", "0", "-0", "127", "128", "-128", "-129", "100.50", "1234567.89",
)  # fmt: skip
TIMES: Final = ("2026-01-05T09:31:00.123456789Z", "1900-02-28T23:59:59.999999999Z", "0001-01-01T00:00:00.000001Z")

Place = tuple[str, int, int]
Records = dict[Place, tuple[Any, Any]]
"""Key and value by topic, partition and offset."""


@dataclass(frozen=True)
class Program:
    """A program: the tool that it needs, what builds it, and its command, both in its folder of examples/.

    `topics`: catalog names that it reads. `build` and `command` may name {out}, a folder to build in.
    """

    name: str
    tool: str
    build: tuple[tuple[str, ...], ...]
    command: tuple[str, ...]
    topics: tuple[str, ...] = TOPICS
    variables: Mapping[str, str] = field(default_factory=dict)


PROGRAMS: Final = (
    Program("python", "python3", (), (sys.executable, "read_topic.py")),
    Program("go", "go", (("go", "build", "-o", "{out}/read-topic", "."),), ("{out}/read-topic",)),
    Program("node", "npm", (("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"),), ("node", "read_topic.mjs")),
    Program(
        "rust",
        "cargo",
        (("cargo", "build", "--quiet", "--locked", "--target-dir", "{out}"),),
        ("{out}/debug/read-topic",),
    ),
    Program(
        "java",
        "mvn",
        (
            ("mvn", "-q", "-B", "compile"),
            ("mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory={out}/lib"),
        ),
        ("java", "-cp", "target/classes:{out}/lib/*", "example.ReadTopic"),
    ),
    Program("kcat", "kcat", (), ("./read_topic.sh",), ("raw",), {"REGISTRY": ""}),
)


def build(program: Program, out: Path) -> None:
    for command in program.build:
        arguments = [part.format(out=out) for part in command]
        subprocess.run(arguments, cwd=EXAMPLES / program.name, check=True, timeout=BUILD_S)


def run(program: Program, pipeline: Pipeline, out: Path) -> Records:
    """Run a program until its topics have no more records. Returns what it printed."""
    settings = pipeline.settings
    variables = os.environ | {
        "KAFKA": settings.kafka_bootstrap_servers,
        "REGISTRY": settings.schema_registry_url,
        "GROUP": f"{settings.topic_prefix}-subscriber-{program.name}",
        "HANDLED": str(out / "handled.txt"),
        "IDLE_S": "15",
    }
    command = [part.format(out=out) for part in program.command] + [settings.topic(name) for name in program.topics]
    done = subprocess.run(
        command,
        cwd=EXAMPLES / program.name,
        env=variables | dict(program.variables),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=RUN_S,
    )
    assert done.returncode == 0, f"{done.stdout[-500:]}\n{done.stderr[-2000:]}"
    return dict(map(_parsed, done.stdout.splitlines()))


def _parsed(line: str) -> tuple[Place, tuple[Any, Any]]:
    document, end = json.JSONDecoder().raw_decode(line)
    value = document["value"] if "value" in document else line[end + 1 :]  # kcat appends the value
    return (document["topic"], document["partition"], document["offset"]), (document["key"], value)


def tail(pipeline: Pipeline, topics: tuple[str, ...]) -> Records:
    """What `broker-events tail` prints of the topics."""

    def lines() -> Iterator[dict[str, Any]]:
        for topic in topics:
            done = pipeline.command("tail", topic)
            assert done.returncode == 0, done.stderr
            yield from map(json.loads, done.stdout.splitlines())

    return {(one["topic"], one["partition"], one["offset"]): (one["key"], one["value"]) for one in lines()}


def handled(out: Path) -> list[str]:
    return (out / "handled.txt").read_text(encoding="utf-8").split()


def fill(pipeline: Pipeline) -> int:
    """Push events with extreme amounts and times, and wait until their alerts and tombstones are there.

    Then abort a transaction that holds a record in every partition. Returns how often the pipeline was filled.
    """
    events = []
    round_ = len(pipeline.read("raw")) // (4 * len(AMOUNTS)) + 1
    for number, amount in enumerate(AMOUNTS):
        account = f"ACC-{round_}-{number}"
        at = TIMES[number % len(TIMES)]
        events += [(account, _transfer(account, amount, status, at)) for status in ("COMPLETED", "RETURNED")]
        updates: tuple[list[str], list[str]] = (["US_STOCK_LIQUIDATE_ONLY"], [])
        events += [(account, _update(account, minute, codes)) for minute, codes in enumerate(updates)]
    pipeline.produce_all("raw", events)
    pipeline.wait_for("alerts", 3 * len(AMOUNTS) * round_)
    _abort(pipeline)
    return round_


def _transfer(account: str, amount: str, status: str, at: str) -> bytes:
    payload = {
        "account_id": account,
        "biz_type": "TRANSFER",
        "client_request_id": f"{account}-1",
        "amount": amount,
        "currency": "USD",
        "status": status,
        "reason": "R01 \u00e9\U0001f600" if status == "RETURNED" else None,
        "memo": {"nested": [1, "2"]},
    }
    return envelope(f"{account}-{status}", "FUNDING", payload, at)


def _update(account: str, number: int, restrictions: list[str]) -> bytes:
    payload = {"account_id": account, "biz_type": "ACCOUNT_UPDATE", "restrictions": restrictions}
    return envelope(f"{account}-update-{number}", "ACCOUNT", payload, f"2026-01-05T09:3{number}:00.000000001Z")


def _abort(pipeline: Pipeline) -> None:
    """Leave an aborted record at the end of each partition; a program that reads it cannot decode it."""
    settings = pipeline.settings
    producer = Producer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "transactional.id": f"{settings.topic_prefix}.aborts"}
    )
    producer.init_transactions()
    producer.begin_transaction()
    for topic in (*TOPICS, "raw"):
        for partition in range(settings.partitions):
            producer.produce(settings.topic(topic), b"aborted", b"aborted", partition)
    producer.flush()
    producer.abort_transaction()


def is_here(program: Program) -> bool:
    return shutil.which(program.tool) is not None


def assert_equal(read: Records, tailed: Records) -> None:
    """Compare what was read with what `tail` printed later, which may lack replaced records of compacted topics."""
    assert {place: read.get(place) for place in tailed} == tailed
    gone = {topic.partition(".")[2] for topic, *_ in read.keys() - tailed.keys()}
    assert gone <= {"alerts.active", "state.accounts", "state.movements"}


def read_and_compare(program: Program, pipeline: Pipeline, out: Path) -> None:
    """Run a program, compare it with `tail` value by value, push more, and see that it continues there."""
    build(program, out)
    rounds = fill(pipeline)
    first = run(program, pipeline, out)
    assert_equal(first, tail(pipeline, program.topics))
    fill(pipeline)
    second = run(program, pipeline, out)
    assert second.keys().isdisjoint(first)
    assert_equal(first | second, tail(pipeline, program.topics))
    if "alerts" in program.topics:
        tombstones = [key for key, (_, value) in first.items() if value is None]
        assert len(tombstones) == len(AMOUNTS) * rounds
        alerts = {value["alert_id"] for _, value in tail(pipeline, ("alerts",)).values()}
        assert sorted(handled(out)) == sorted(alerts)
