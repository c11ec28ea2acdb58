"""How fast the ledger proves a million events, and what that costs it and the broker that it reads them from."""

from __future__ import annotations

import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.cluster import Pipeline
from bench.contenders import settings_environment
from bench.corpus import Corpus
from bench.measurement import ProcessFailed, Work, cpu_s, measure
from bench.throughput import Progress

# What its processes say of each partition when they are done with it.
_DONE: Final = re.compile(r"^(\S+Z) .*: read .* in ([0-9.]+) s$", re.MULTILINE)
_LIMIT_S: Final = 600.0


class Proof(NamedTuple):
    """Seconds from the beginning of the first partition to the end of the last, of the whole command, of CPU."""

    reading_s: float
    command_s: float
    cpu_s: float
    broker_cpu_s: float


def proofs(
    pipeline: Pipeline, corpus: Corpus, events: int, rounds: int, broker: int, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Route at least so many events, then prove them, plainly and deep in turns. `broker`: its process id."""
    variables = settings_environment(pipeline.settings)
    total = pipeline.load_raw_passes(corpus, events)
    with Work("router-ledger", [sys.executable, "-m", "broker_events.cli", "router"], variables, folder) as work:
        measure(pipeline, pipeline.settings.group("router"), total, [work])
    found: dict[str, list[Proof]] = {"ledger": [], "ledger --deep": []}
    for _ in range(rounds):
        for command, runs in found.items():
            proof = _prove(command.split(), variables, broker)
            runs.append(proof)
            progress(f"{command:16} {total / proof.reading_s:9,.0f} /s  {proof.cpu_s / total * 1e6:6.1f} us CPU")
    plain, deep = (_medians(runs, total) for runs in found.values())
    return {"events": total, **plain, "deep": deep}


def _prove(command: list[str], variables: Mapping[str, str], broker: int) -> Proof:
    began, used, broker_used = time.monotonic(), _childrens_cpu_s(), cpu_s(broker)
    done = subprocess.run(
        [sys.executable, "-m", "broker_events.cli", *command],
        check=False,
        env=variables,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
    )
    command_s = time.monotonic() - began
    if done.returncode:
        raise ProcessFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    ends = [(datetime.fromisoformat(at).timestamp(), float(seconds)) for at, seconds in _DONE.findall(done.stderr)]
    reading_s = max(end for end, _ in ends) - min(end - seconds for end, seconds in ends)
    return Proof(reading_s, command_s, _childrens_cpu_s() - used, cpu_s(broker) - broker_used)


def _childrens_cpu_s() -> float:
    """CPU seconds of all child processes that have ended, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _medians(runs: list[Proof], events: int) -> dict[str, Any]:
    reading_s, command_s, used_s, broker_s = (statistics.median(column) for column in zip(*runs, strict=True))
    return {
        "events_per_second": round(events / reading_s),
        "command_s": round(command_s, 2),
        "cpu_us_per_event": round(used_s / events * 1e6, 2),
        "broker_cpu_us_per_event": round(broker_s / events * 1e6, 2),
        "runs": [round(events / run.reading_s) for run in runs],
    }
