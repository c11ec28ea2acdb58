"""Who is measured: how each one is started, and what its consumer group is."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from bench.cluster import Pipeline
from bench.measurement import Work
from bench.peers.environment import Peers
from broker_events.devstack.pipeline import environment
from broker_events.runtime.settings import Settings

# What every contender has in common.
COMMIT_INTERVAL_MS: Final = 100
PEERS: Final = Path(__file__).parent / "peers"

Command = Callable[[Peers, Path], list[str]]


@dataclass(frozen=True)
class Contender:
    """`command(peers, job file)` of one process; `same_output`: it has to write the very records that ours writes.

    `slow`: not in a quick run. `rounds`: it takes part in no more than these.
    """

    name: str
    title: str
    command: Command
    same_output: bool = True
    slow: bool = False
    rounds: int | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("ours")


def kafka_streams(app: str, threads: int) -> Contender:
    """Kafka Streams with exactly_once_v2; the throughput collector, as there are more threads than cores anyway."""

    def command(peers: Peers, job: Path) -> list[str]:
        classpath = f"{peers.streams}/classes:{peers.streams}/lib/*"
        return [
            "java",
            "-Xms1g",
            "-Xmx2g",
            "-XX:+UseParallelGC",
            "-cp",
            classpath,
            "bench.Main",
            app,
            str(job),
            str(threads),
        ]

    title = f"Kafka Streams 4.3 exactly_once_v2, {threads} thread{'s' * (threads > 1)}"
    return Contender(f"kafka_streams_{threads}", title, command)


def python_peer(
    name: str, title: str, script: str, *options: str, slow: bool = False, rounds: int | None = None
) -> Contender:
    def command(peers: Peers, job: Path) -> list[str]:
        return [str(peers.python), str(PEERS / script), str(job), *options]

    return Contender(name, title, command, slow=slow, rounds=rounds)


def own(app: str) -> Contender:
    return Contender(
        "ours", f"ours: {app}, one worker", lambda _peers, _job: [sys.executable, "-m", "broker_events.cli", app]
    )


LIMIT: Final = Contender(
    "limit",
    "limit: consume and produce unchanged in one transaction",
    lambda _peers, job: [sys.executable, "-m", "bench.limit", str(job)],
    same_output=False,
)
ROUTERS: Final = (
    LIMIT,
    own("router"),
    kafka_streams("router", 1),
    kafka_streams("router", 2),
    python_peer("plain_loop", "plain loop: confluent-kafka, fastavro, transactions", "plain_loop.py"),
    python_peer("quix", "Quix Streams exactly-once, its own serializers", "quix.py", "own", slow=True),
    python_peer("quix_plain", "Quix Streams exactly-once, the plain loop's encoder", "quix.py", slow=True),
    python_peer("faust", "stock Faust agent with send (at least once)", "stock_faust.py", slow=True, rounds=1),
)
RULES: Final = "transfer-rejected,large-transfer,no-trade"
WITH_RULES: Final = replace(
    own("projector"),
    name="ours_rules",
    title="ours: projector, one worker, three alert rules",
    same_output=False,  # their alerts are more
    environment={"PIPELINE_RULES": RULES},
)
PROJECTORS: Final = (own("projector"), WITH_RULES, kafka_streams("projector", 1), kafka_streams("projector", 2))


def settings_environment(settings: Settings, **more: object) -> dict[str, str]:
    """The environment of a process of ours with these settings."""
    shared: dict[str, object] = {
        "kafka_bootstrap_servers": settings.kafka_bootstrap_servers,
        "schema_registry_url": settings.schema_registry_url,
        "topic_prefix": settings.topic_prefix,
        "partitions": settings.partitions,
        "commit_interval_ms": COMMIT_INTERVAL_MS,
        "instance_id": "bench",
        "http_port": 0,
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    return clean | {name: value for name, value in environment(shared | more).items() if name.startswith("PIPELINE_")}


@contextmanager
def running(
    contender: Contender, app: str, pipeline: Pipeline, peers: Peers, folder: Path
) -> Iterator[tuple[str, Work]]:
    """Start a contender; give its consumer group and its process.

    At the end its internal topics are deleted, and our group, which has the same name every time.
    """
    settings = pipeline.settings
    ours = contender.is_ours
    group = settings.group(app) if ours else f"{contender.name}-{app}-{time.time_ns()}"
    job = folder / f"{group}.json"
    job.write_text(json.dumps(_job(pipeline, group, folder)), encoding="utf-8")
    with ExitStack() as stack:
        if ours:
            stack.callback(pipeline.rewind_group, group)
        else:
            stack.callback(lambda: pipeline.delete(pipeline.topics_of(group)))
        command = contender.command(peers, job)
        variables = settings_environment(settings) | contender.environment
        yield group, stack.enter_context(Work(f"{app}-{contender.name}", command, variables, folder))


def _job(pipeline: Pipeline, group: str, folder: Path) -> dict[str, Any]:
    settings, catalog, ids = pipeline.settings, pipeline.catalog, pipeline.schema_ids
    others = ("state.accounts", "state.movements", "alerts", "alerts.active")
    return {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "registry_url": settings.schema_registry_url,
        "group": group,
        "folder": str(folder / group),
        "commit_interval_ms": COMMIT_INTERVAL_MS,
        "source_uri": f"/{settings.topic_prefix}/projector",
        "raw": pipeline.raw,
        "routes": {
            biz_type: {
                "topic": pipeline.typed[biz_type],
                "schema_id": ids[contract.topics[0].name],
                "schema": contract.schema,
            }
            for biz_type, contract in catalog.events.items()
        },
        "records": {
            name: {
                "topic": settings.topic(name),
                "schema_id": ids[name],
                "schema": catalog.topics[name][0].schema,
            }
            for name in others
        },
    }
