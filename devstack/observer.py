"""Combine what the topics, the processes and the source report."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Final

from broker_events.devstack.alert_receiver import AlertReceiver
from broker_events.devstack.balance import AlertSeen
from broker_events.devstack.pipeline import Part, State
from broker_events.devstack.probe import Probe
from broker_events.devstack.run_snapshot import Health, PartView, RunSnapshot
from broker_events.devstack.sources import Source
from broker_events.devstack.stack import Stack
from broker_events.devstack.watcher import Watcher

RATE_WINDOW_S: Final = 4.0
HISTORY_S: Final = 120


class Observer:
    """Looks at a run in all its parts; `stack` is None on a configured cluster."""

    def __init__(
        self,
        source: Source,
        workers: Sequence[Part],
        watcher: Watcher,
        stack: Stack | None,
        receiver: AlertReceiver | None,
        topics: Mapping[str, str],
        uncounted: frozenset[str],
    ) -> None:
        """`receiver`: the run's own receiver of alerts. `topics`: biz_type -> typed topic, without the prefix.

        `uncounted`: see `Numbers`.
        """
        self._uncounted = uncounted
        self._source = source
        self._parts = (*source.parts, *workers)
        self._projector = next(part for part in workers if part.name == "projector")
        self._receiver = receiver
        self._watcher = watcher
        self._stack = stack
        self._topics = topics
        self._rates = Rates()
        self._history = History()
        self._probe = Probe(self._parts)

    def snapshot(self, started: float, **known: Any) -> RunSnapshot:  # noqa: ANN401 (the snapshot's other members)
        """Return the run as it is now; `started` is its monotonic start time."""
        received, exact = self._source.received(self._probe.received(self._source.bridge))
        simulated = self._source.simulated()
        counted = self._watcher.numbers()
        n = replace(counted, received=received, received_exact=exact, simulated=simulated, uncounted=self._uncounted)
        if self._receiver is not None:
            delivered, delivery_ms = self._receiver.delivered()
            n = replace(n, delivered=delivered, delivery_ms=delivery_ms)
        behind = {"router": max(n.raw - n.all_typed - n.all_quarantined - n.duplicates, 0)}
        if simulated is not None:
            behind = {"bridge": max(simulated.events - n.distinct, 0), **behind}
        now, typed_at = time.monotonic(), self._watcher.first_typed_at
        pushed = n.received if simulated is None else simulated.events
        per_s = self._rates.add(now, {"pushed": pushed, "raw": n.raw, "alerts": sum(n.alerts.values()), **n.typed})
        self._history.add(now, per_s["raw"], n.recent)
        return RunSnapshot(
            elapsed_s=now - started,
            parts=tuple(map(self._view, self._parts)),
            numbers=n,
            topics=self._topics,
            per_s=per_s,
            behind=behind,
            projector_lag_s=self._probe.reading(self._projector).lag_s,
            shows_latency=self._source.shows_latency,
            rate_history=tuple(self._history.rates),
            latency_history=tuple(self._history.latencies_ms),
            first_typed_s=None if typed_at is None else typed_at - started,
            **known,
        )

    def is_ready(self, part: Part) -> bool:
        """Return whether a process with an HTTP port runs and reports that it is ready."""
        return part.state is State.RUNNING and self._probe.reading(part).problem is None

    def problem(self) -> str | None:
        """Return why the run cannot continue: the watcher failed, or Kafka or the registry ended."""
        if self._watcher.failure is not None:
            return str(self._watcher.failure)
        return None if self._stack is None else self._stack.problem()

    def stop(self) -> None:
        self._probe.stop()
        self._watcher.stop()

    def _view(self, part: Part) -> PartView:
        doing, health = part.state.value, Health.BAD if part.state is State.RESTARTING else Health.BUSY
        if part.state is State.RUNNING:
            problem = None if part.http_port is None else self._probe.reading(part).problem
            doing, health = problem or doing, Health.GOOD if problem is None else Health.BUSY
        return PartView(part.name, doing, health, part.restarts)


class Rates:
    """Turns counts into events per second over the last seconds."""

    def __init__(self) -> None:
        self._history: deque[tuple[float, Mapping[str, int]]] = deque()

    def add(self, at: float, counts: Mapping[str, int]) -> dict[str, float]:
        """Take the counts at a time (s) and return the rate of each."""
        self._history.append((at, counts))
        while len(self._history) > 2 and at - self._history[1][0] >= RATE_WINDOW_S:  # noqa: PLR2004 (first and last)
            self._history.popleft()
        since, before = self._history[0]
        passed = at - since
        return {name: (count - before.get(name, 0)) / passed if passed else 0.0 for name, count in counts.items()}


class History:
    """The rate of raw events and the latency of the newest alerts, sampled once per second."""

    def __init__(self) -> None:
        self.rates: deque[float] = deque(maxlen=HISTORY_S)
        self.latencies_ms: deque[float] = deque(maxlen=HISTORY_S)
        self._sampled_at = 0.0

    def add(self, at: float, rate: float, newest: Sequence[AlertSeen]) -> None:
        """Take a sample unless the last one is less than a second old. `at`: seconds; `newest`: newest alert first."""
        if at - self._sampled_at < 1:
            return
        self._sampled_at = at
        self.rates.append(rate)
        if newest:
            recent = [alert.latency_ms for alert in newest if newest[0].at - alert.at < 1]
            self.latencies_ms.append(median(recent))
