"""Puts together what the topics, the processes and the source say."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from broker_events.devstack.balance import Numbers
from broker_events.devstack.pipeline import Part, State
from broker_events.devstack.probe import Probe
from broker_events.devstack.run_snapshot import PartView, Rates, RunSnapshot, WorkerHealth
from broker_events.devstack.sources import Source
from broker_events.devstack.stack import Stack
from broker_events.devstack.watcher import Watcher

_RAW: Final = "/raw"  # no biz_type


class Observer:
    """Looks at a run in all its parts; `stack` is None on a configured cluster."""

    def __init__(
        self, source: Source, workers: Sequence[Part], watcher: Watcher, stack: Stack | None, topics: Mapping[str, str]
    ) -> None:
        """`topics`: biz_type -> typed topic, without the prefix."""
        self._source = source
        self._parts = (*source.parts, *workers)
        self._watcher = watcher
        self._stack = stack
        self._topics = topics
        self._rates = Rates()
        self._probe = Probe(self._parts)

    def picture(self, *, elapsed_s: float, phase: str, folder: Path, exports: tuple[str, ...]) -> RunSnapshot:
        """Return how it is now."""
        seen, simulated = self._watcher.seen(), self._source.simulated()
        received, exact = self._source.received(self._probe.received(self._source.bridge))
        typed, quarantined = sum(seen.typed.values()), sum(seen.quarantined.values())
        numbers = Numbers(
            received=received,
            received_exact=exact,
            replayed=seen.replayed,
            raw=seen.raw,
            distinct=seen.distinct,
            duplicates=seen.duplicates,
            typed=seen.typed,
            quarantined=quarantined,
            alerts=seen.alerts,
            active=seen.active,
            simulated=simulated,
        )
        behind = {"router": max(seen.raw - typed - quarantined - seen.duplicates, 0)}
        if simulated is not None:
            behind = {"bridge": max(simulated.events - seen.distinct, 0), **behind}
        rates = self._rates.add(time.monotonic(), {_RAW: seen.raw, **seen.typed})
        return RunSnapshot(
            elapsed_s=elapsed_s,
            phase=phase,
            folder=folder,
            exports=exports,
            parts=tuple(map(self._view, self._parts)),
            seen=seen,
            numbers=numbers,
            topics=self._topics,
            raw_per_s=rates.pop(_RAW),
            typed_per_s=rates,
            behind=behind,
            projector_lag_s=self._probe.reading(self._parts[-1]).lag_s,
            shows_latency=self._source.shows_latency,
        )

    def is_ready(self, part: Part) -> bool:
        """Whether a process with an HTTP port runs and says that it does its work."""
        return part.state is State.RUNNING and self._probe.reading(part).problem is None

    def problem(self) -> str | None:
        """Say why it can't go on: the watcher has failed, or Kafka or the registry has ended; None when it can."""
        if self._watcher.failure is not None:
            return str(self._watcher.failure)
        if self._stack is None:
            return None
        ended = (log for pid, log in zip(self._stack.pids, self._stack.logs, strict=True) if pid is None)
        return next((f"Kafka or the registry has ended by itself: see {log}" for log in ended), None)

    def first_typed_at(self) -> float | None:
        """Monotonic time at which the watcher saw the first typed event."""
        return self._watcher.first_typed_at

    def stop(self) -> None:
        self._probe.stop()
        self._watcher.stop()

    def _view(self, part: Part) -> PartView:
        match part.state:
            case State.RUNNING if part.http_port is None or self._probe.reading(part).problem is None:
                return PartView(part.name, "running", WorkerHealth.WELL, part.restarts)
            case State.RUNNING:
                return PartView(part.name, self._probe.reading(part).problem or "", WorkerHealth.BUSY, part.restarts)
            case State.RESTARTING:
                return PartView(part.name, part.state.value, WorkerHealth.BAD, part.restarts)
            case _:
                return PartView(part.name, part.state.value, WorkerHealth.BUSY, part.restarts)
