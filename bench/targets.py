"""What the numbers have to reach, and what they are."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

Document = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """`value(document)` is to be at least `floor` (with `at_most`: at most); `aim` is the wish."""

    title: str
    value: Callable[[Document], float]
    floor: float
    aim: float
    at_most: bool = False

    def of(self, document: Document) -> float | None:
        """Return the value, None where the run did not measure it."""
        try:
            return self.value(document)
        except (KeyError, ValueError, TypeError, ZeroDivisionError):
            return None

    def verdict(self, value: float | None) -> str:
        if value is None:
            return "not measured"
        sign = -1 if self.at_most else 1
        if value * sign >= self.aim * sign:
            return "aim reached"
        return "reached" if value * sign >= self.floor * sign else "missed"


def ratio(section: dict[str, Any], other: str) -> float:
    """Ours to another's, round by round; the median. What slows a machine down for a while slows both."""
    runs = {
        name: {run["round"]: run["records_per_second"] for run in section["details"][name]["runs"]}
        for name in ("ours", other)
    }
    ratios = [runs["ours"][number] / rate for number, rate in runs[other].items() if number in runs["ours"]]
    return float(statistics.median(ratios))


def _to_streams(section: dict[str, Any]) -> float:
    """Ours to Kafka Streams with the thread count that does better against us."""
    return min(ratio(section, name) for name in section["details"] if name.startswith("kafka_streams"))


TARGETS: Final = (
    Target(
        "router / Kafka Streams exactly_once_v2 (its better thread count)",
        lambda d: _to_streams(d["router"]),
        1.0,
        1.5,
    ),
    Target("router / Quix Streams exactly-once, its own serializers", lambda d: ratio(d["router"], "quix"), 6, 10),
    Target(
        "router / Quix Streams exactly-once, the plain loop's encoder",
        lambda d: ratio(d["router"], "quix_plain"),
        6,
        10,
    ),
    Target("router / stock Faust with send", lambda d: ratio(d["router"], "faust"), 20, 40),
    Target("router / limit", lambda d: ratio(d["router"], "limit"), 0.5, 0.8),
    Target(
        "projector / Kafka Streams exactly_once_v2 (its better thread count)",
        lambda d: _to_streams(d["projector"]),
        1.0,
        1.5,
    ),
    Target(
        "projector / the same with three alert rules",
        lambda d: ratio(d["projector"], "ours_rules"),
        1.33,
        1.1,
        at_most=True,
    ),
    Target("bridge, gRPC to committed raw, events/s", lambda d: d["bridge"]["ours"], 20_000, 50_000),
    Target("push to alert at 1,000 events/s, p50, ms", lambda d: d["latency_ms"]["p50"], 60, 25, at_most=True),
    Target("push to alert at 1,000 events/s, p99, ms", lambda d: d["latency_ms"]["p99"], 250, 100, at_most=True),
    Target("state restored, records/s", lambda d: d["state"]["many"]["restored_per_second"], 200_000, 200_000),
    Target("memory per account, bytes", lambda d: d["memory_bytes_per_account"], 1000, 500, at_most=True),
    Target("projector with 1 M accounts / with 1,000", lambda d: d["state"]["throughput_many_to_few"], 0.8, 1.0),
    Target(
        "router on 48 partitions / on 8",
        lambda d: d["partitions"]["router"]["48"] / d["partitions"]["router"]["8"],
        0.9,
        1.0,
    ),
    Target(
        "projector on 48 partitions / on 8",
        lambda d: d["partitions"]["projector"]["48"] / d["partitions"]["projector"]["8"],
        0.9,
        1.0,
    ),
    Target("ledger, raw events/s", lambda d: d["ledger"]["events_per_second"], 100_000, 150_000),
    Target(
        "router's memory after 10 M events / after 2 M",
        lambda d: d["memory"]["bytes_at_the_end"] / d["memory"]["bytes_at_a_fifth"],
        1.05,
        1.02,
        at_most=True,
    ),
)
