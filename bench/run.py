"""A run: the sections one after another, and the document of what they found."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.contenders import COMMIT_INTERVAL_MS
from bench.peers.environment import Peers
from bench.sections import ACCOUNTS, PARTITIONS, SECTIONS, Bench, Plan
from bench.throughput import Progress
from broker_events.devstack.kafka import SERVER_HEAP_MB
from broker_events.devstack.stack import Stack


def run_sections(
    names: Iterable[str], plan: Plan, stack: Stack, peers: Peers, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Run the named sections in their order; return the document of results, and in `failed` those without any."""
    bench = Bench(plan, stack, peers, folder, progress)
    document: dict[str, Any] = {
        "machine": machine(),
        "plan": {
            "events": plan.events,
            "rounds": plan.rounds,
            "accounts": ACCOUNTS,
            "partitions": PARTITIONS,
            "commit_interval_ms": COMMIT_INTERVAL_MS,
            "left_out": peers.left_out,
        },
        "measured_at": {},
        "failed": [],
    }
    for name in names:
        progress(f"-- {name}")
        try:
            document[name] = SECTIONS[name](bench)
        except Exception as error:  # noqa: BLE001 (whatever it is: what the others say isn't lost)
            progress(f"{name} failed, the others go on: {error!r}")
            document["failed"].append(name)
        else:
            document["measured_at"][name] = _now()
        bench.clear()
    if "state" in document:
        many = document["state"]["many"]
        document["restore"] = {key: many[key] for key in ("restored", "restore_s", "restored_per_second")}
        document["memory_bytes_per_account"] = document["state"].pop("memory_bytes_per_account")
    return document


def machine() -> dict[str, Any]:
    """What the numbers are of, and how busy it is."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return {
        "at": _now(),
        "cores": os.cpu_count(),
        "cpu": models[0] if models else platform.processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "confluent_kafka": version("confluent-kafka"),
        "broker_heap_mb": SERVER_HEAP_MB,
        "load_before": round(os.getloadavg()[0], 2),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
