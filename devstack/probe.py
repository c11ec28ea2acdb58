"""Read /ready and /metrics of the pipeline's processes twice per second, in a thread."""

from __future__ import annotations

import json
import threading
import urllib.error
from collections.abc import Sequence
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from broker_events.devstack.local_http import open_local
from broker_events.devstack.pipeline import Part

_EVERY_S: Final = 0.5
_TIMEOUT_S: Final = 2.0


class Reading(NamedTuple):
    """The last answers of a process. `problem`: why it is not ready, or None."""

    problem: str | None = "starting"
    received: int = 0  # events, since it started
    lag_s: float = 0.0


class Probe:
    """Readings of the parts that have an HTTP port; those of ended processes are kept for their counters."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = [part for part in parts if part.http_port is not None]
        self._readings: dict[tuple[str, int], Reading] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)
        self._thread.start()

    def reading(self, part: Part) -> Reading:
        """Return the latest reading of its current process."""
        return self._readings.get((part.name, part.pid or 0), Reading())

    def received(self, part: Part) -> int:
        """Return the events that all its processes received, by the last scrape of each."""
        return sum(reading.received for (name, _), reading in tuple(self._readings.items()) if name == part.name)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            for part in self._parts:
                pid = part.pid
                if pid is None:
                    continue
                try:
                    self._readings[part.name, pid] = _read(f"http://127.0.0.1:{part.http_port}")
                except (OSError, ValueError):
                    continue  # it is starting or ending; its state says so


def _read(url: str) -> Reading:
    received = lag_s = 0.0
    for family in text_string_to_metric_families(_get(f"{url}/metrics")):
        for sample in family.samples:
            if sample.name == "broker_events_received_total":
                received += sample.value
            elif sample.name == "broker_events_lag_seconds":
                lag_s = max(lag_s, sample.value)
    return Reading(json.loads(_get(f"{url}/ready"))["problem"], int(received), lag_s)


def _get(url: str) -> str:
    try:
        with open_local(url, timeout=_TIMEOUT_S) as answer:
            text: bytes = answer.read()
    except urllib.error.HTTPError as error:  # 503: not ready, and the body says why
        text = error.read()
    return text.decode()
