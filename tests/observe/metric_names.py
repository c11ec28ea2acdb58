"""What a PromQL expression may name: the series that a worker exposes, and their labels."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from prometheus_client.metrics import MetricWrapperBase

from broker_events.runtime.process.metrics import Metrics

_SELECTOR: Final = re.compile(r"\b((?:broker_events|process|python)_\w+)(?:\{([^}]*)\})?")
_LABEL: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
# Added by Prometheus to everything that it scrapes.
_TARGET: Final = {"namespace", "job", "instance"}
_WORKER_INFO: Final = {"role", "instance_id", "version"}
_SUFFIXES: Final = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
}


@cache
def exposed() -> dict[str, set[str]]:
    """Labels of every series that a worker may expose, by name."""
    metrics = Metrics()
    labels: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            for suffix in _SUFFIXES[metric._type or ""]:
                names = {*metric._labelnames} | ({"le"} if suffix == "_bucket" else set())
                labels[metric._name + suffix] = names | (_WORKER_INFO if suffix == "_info" else set())
    for family in metrics.registry.collect():
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                labels.setdefault(sample.name, {*sample.labels})  # the process's own, and latencies
    return labels


def missing(expression: str) -> list[str]:
    """Return every name and label in the expression that nothing exposes."""
    found = []
    for name, matchers in _SELECTOR.findall(expression):
        if name not in exposed():
            found.append(name)
            continue
        unknown = {*_LABEL.findall(matchers)} - exposed()[name] - _TARGET
        found.extend(f"{name}{{{label}}}" for label in sorted(unknown))
    return found
