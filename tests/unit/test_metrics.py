"""Many observations at a time count as each of them would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from runtime.metrics import Metrics


@given(st.lists(st.floats(0, 100) | st.sampled_from([0.005, 0.05, 1.0, 60.0])))
def test_many_at_a_time(seconds: list[float]) -> None:
    together, each = Metrics(), Metrics()
    together.push_to_raw.observe_all(seconds)
    for value in seconds:
        each.push_to_raw.observe(value)
    assert buckets(together) == buckets(each)
    assert len(buckets(each)) == 17  # the last of them counts all
    assert sums(together) == pytest.approx(sums(each))


def buckets(metrics: Metrics) -> list[str]:
    return [line for line in lines(metrics) if "_bucket{" in line]


def sums(metrics: Metrics) -> list[float]:
    return [float(line.split()[1]) for line in lines(metrics) if "_sum " in line]


def lines(metrics: Metrics) -> list[str]:
    return generate_latest(metrics.push_to_raw).decode().splitlines()
