"""Many observations at a time count as each of them would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Histogram, generate_latest
from prometheus_client.registry import Collector

from broker_events.runtime.process.metrics import Metrics

BOUNDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@given(st.lists(st.floats(0, 100) | st.sampled_from([0.005, 0.05, 1.0, 60.0])))
def test_many_at_a_time(seconds: list[float]) -> None:
    together = Metrics().push_to_raw
    each = Histogram("push_to_raw_seconds", "", namespace="broker_events", buckets=BOUNDS, registry=None)
    together.observe_all(seconds[::2])
    together.observe_all(seconds[1::2])
    for value in seconds:
        each.observe(value)
    assert buckets(together) == buckets(each)
    assert len(buckets(each)) == 17  # the last of them counts all
    assert sums(together) == pytest.approx(sums(each))


ROLES = ("bridge", "import", "router", "projector", "deliver", "lake", "console")


def served(role: str) -> set[str]:
    metrics = Metrics()
    metrics.identify(role, "one")
    return {family.name for family in metrics.registry.collect()}


def test_a_worker_serves_the_metrics_of_its_role_alone() -> None:
    everyone = set.intersection(*map(served, ROLES))
    assert {"broker_events_worker", "broker_events_ready", "broker_events_transactions"} <= everyone
    own = {role: served(role) - everyone for role in ROLES}
    assert own["bridge"] == own["import"]
    assert {"broker_events_connected", "broker_events_push_to_raw_seconds"} <= own["bridge"]
    assert "broker_events_raw_to_typed_seconds" in own["router"]
    assert "broker_events_active_alerts" in own["projector"]
    assert own["bridge"].isdisjoint(own["router"] | own["projector"])
    assert own["router"].isdisjoint(own["projector"] | own["deliver"])
    assert everyone.union(*own.values()) == {family.name for family in Metrics().registry.collect()}


def buckets(metrics: Collector) -> list[str]:
    return [line for line in lines(metrics) if "_bucket{" in line]


def sums(metrics: Collector) -> list[float]:
    return [float(line.split()[1]) for line in lines(metrics) if "_sum " in line]


def lines(metrics: Collector) -> list[str]:
    return generate_latest(metrics).decode().splitlines()
