"""How fast a process works off a topic: by its group's committed offsets over time, not by what it says."""

from __future__ import annotations

import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self

from bench.cluster import Pipeline
from broker_events.devstack.child_process import GuardedProcess

WARM_UP_SHARE: Final = 0.2
_SAMPLE_S: Final = 0.05
_STALL_S: Final = 60.0
_GRACE_S: Final = 12.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Sample(NamedTuple):
    """Committed records and the CPU seconds used so far, at a monotonic time."""

    at: float
    committed: int
    cpu_s: float


@dataclass(frozen=True)
class Run:
    """Committed records a second and CPU microseconds a record, after the warm-up."""

    records_per_second: float
    cpu_us_per_record: float
    committed: int
    seconds: float


class ProcessFailed(RuntimeError):
    """A process ended or stood still; the text has the end of its log."""


class Work:
    """A process that works off topics; a context manager that ends it."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}-{time.monotonic_ns()}.log"
        self._process = GuardedProcess(command, environment, self.log, grace_s=_GRACE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    @property
    def is_running(self) -> bool:
        return self._process.is_running

    @property
    def pid(self) -> int:
        pid = self._process.pid
        if pid is None:
            raise self.failed("ended")
        return pid

    def cpu_s(self) -> float:
        """CPU seconds, user and system, of all its threads."""
        return cpu_s(self.pid)

    def memory_bytes(self) -> int:
        """Resident memory."""
        pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def failed(self, what: str) -> ProcessFailed:
        tail = "\n".join(self.text().splitlines()[-15:])
        return ProcessFailed(f"{self.name} {what}; {self.log} ends:\n{tail}")

    def metric(self, name: str) -> float:
        """Value of a series without labels on /metrics of one of our workers; 0 while it isn't there."""
        found = re.search(r"(http://[0-9.:]+)/metrics", self.text())
        if found is None:
            return 0.0
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(found[0], timeout=5) as answer:  # noqa: S310
            series = re.search(rf"^broker_events_{name} (\S+)$", answer.read().decode(), re.MULTILINE)
            return float(series[1]) if series else 0.0
        return 0.0

    def wait_assigned(self, partitions: int, patience_s: float = 120.0) -> float:
        """Wait until a worker of ours has so many partitions, their state restored; return the monotonic time."""
        deadline = time.monotonic() + patience_s
        while self.metric("assigned_partitions") != partitions or "assigned" not in self.text():
            if self.pid and time.monotonic() > deadline:
                raise self.failed(f"was not assigned {partitions} partitions within {patience_s:g} s")
            time.sleep(_SAMPLE_S)
        return time.monotonic()

    def wait_for(self, text: str, patience_s: float = 120.0) -> float:
        """Wait until its log says `text`; return the monotonic time."""
        deadline = time.monotonic() + patience_s
        while text not in self.text():
            if self.pid and time.monotonic() > deadline:
                raise self.failed(f"did not say {text!r} within {patience_s:g} s")
            time.sleep(_SAMPLE_S)
        return time.monotonic()


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, that a process has used in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def measure(
    pipeline: Pipeline,
    group: str,
    total: int,
    workers: Sequence[Work],
    limit_s: float = 300.0,
    base: int = 0,
    warm_up_share: float = WARM_UP_SHARE,
) -> Run:
    """Sample until the group has committed all of `total` records, or `limit_s` has passed; then work out the rate.

    `base`: what the group's offsets add up to at the beginning; `warm_up_share`: so much of `total` doesn't count.
    """
    samples: list[Sample] = []
    started = last_change = time.monotonic()
    while True:
        committed = pipeline.committed(group) - base
        ended = next((work for work in workers if not work.is_running), None)
        if ended:
            raise ended.failed("ended")
        now = time.monotonic()
        if not samples or committed != samples[-1].committed:
            samples.append(Sample(now, committed, sum(work.cpu_s() for work in workers)))
            last_change = now
        if committed >= total or (now - started > limit_s and committed > total / 2):
            return _rate(samples, total * warm_up_share)
        if now - last_change > _STALL_S:
            raise workers[0].failed(f"stood still at {committed} of {total} records")
        time.sleep(_SAMPLE_S)


def _rate(samples: list[Sample], warm_up: float) -> Run:
    """From where `warm_up` was reached, between two samples where a commit went beyond it: the same records for all."""
    last = samples[-1]
    place = next(number for number, sample in enumerate(samples) if sample.committed >= warm_up)
    before, after = samples[max(place - 1, 0)], samples[place]
    done = after.committed - before.committed
    share = (warm_up - before.committed) / done if done else 1.0
    seconds = last.at - (before.at + (after.at - before.at) * share)
    cpu_s = last.cpu_s - (before.cpu_s + (after.cpu_s - before.cpu_s) * share)
    records = last.committed - (warm_up if done else after.committed)
    if records <= 0 or seconds <= 0:
        raise ProcessFailed(f"{last.committed} records are too few to measure")
    return Run(records / seconds, cpu_s / records * 1e6, last.committed, seconds)
