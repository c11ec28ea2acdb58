"""`make mutants`: a flood of changed events through a real router; every one is accounted for, and it stays fast."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple
from uuid import uuid4

import click

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from kafka_cluster import KafkaCluster, embedded  # noqa: E402
from mutator import Mutator  # noqa: E402
from outcomes import Fates, find_fates  # noqa: E402 (found by the line above)
from pipeline_processes import Pipeline, Worker  # noqa: E402

from broker_events.processors.routing import Routing  # noqa: E402
from broker_events.runtime.events.duplicate_window import duplicate_window  # noqa: E402
from broker_events.runtime.kafka.clients import Headers  # noqa: E402
from broker_events.schemas.catalog import load_catalog  # noqa: E402
from broker_events.schemas.invalid_event import InvalidEvent  # noqa: E402

LEAST_SPEED = 1 / 3
SPEED_EVENTS = 200_000
ROUNDS = 5  # odd, as the median counts: what else the machine does takes time from some of them
STALL_S = 60.0
SAMPLE_S = 0.2  # each look costs the router milliseconds
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PARTITIONS = 4
# As the bridge writes them.
HEADERS: Headers = [
    ("event_id", b"mutant"),
    ("event_type", b"FUNDING"),
    ("biz_type", b"TRANSFER"),
    ("position", b"0198f7a1-0000-7000-8000-000000000000"),
    ("source", b"grpc"),
    ("received_at", b"2026-01-31T09:30:00.123456Z"),
]

Event = tuple[bytes | None, bytes]


class Speed(NamedTuple):
    """Records a second, and microseconds of CPU for each."""

    per_s: float
    cpu_us: float


class Look(NamedTuple):
    """When (monotonic seconds) a router had done how many records, and its CPU seconds so far."""

    at: float
    done: float
    cpu_s: float


@dataclass
class Flood:
    """What went through a router: what became of it, and at which speed."""

    fates: Fates
    speed: Speed


def flood(cluster: KafkaCluster, folder: Path, events: Iterable[Event]) -> Flood:
    """Write events into a raw topic of their own, let one router work it off and account for every one.

    Raises AssertionError when the router ends or stands still.
    """
    pipeline = Pipeline(cluster, f"mutants-{uuid4().hex[:8]}", folder, partitions=PARTITIONS).made()
    count = pipeline.produce_all("raw", events, HEADERS)
    with pipeline.worker("router") as router:
        speed = _speed(router, pipeline.settings.topic("raw"), count)
        assert router.stop() == 0, router.log
        assert "defect" not in router.log, router.log
    return Flood(find_fates(pipeline), speed)


def _speed(router: Worker, topic: str, count: int) -> Speed:
    """Between the first look at which a tenth was done and the last one at which something was left."""
    router.wait_ready()
    moved = time.monotonic()
    looks = [Look(moved, 0.0, _cpu_s(router))]
    while looks[-1].done < count:
        time.sleep(SAMPLE_S)
        assert router.is_running, router.log
        look = Look(time.monotonic(), router.metric("consumed_total", topic=topic), _cpu_s(router))
        if look.done > looks[-1].done:
            moved = look.at
        looks.append(look)
        assert look.at - moved < STALL_S, (
            f"no progress for {STALL_S:g} s after {look.done:.0f} of {count} records:\n{router.log}"
        )
    within = [look for look in looks if count / 10 <= look.done < count]
    first, *_, last = within if len(within) > 1 else looks
    records = max(last.done - first.done, 1)
    return Speed(records / (last.at - first.at), max(last.cpu_s - first.cpu_s, TICK_S) / records * 1e6)


def _cpu_s(router: Worker) -> float:
    """CPU seconds that a process has taken so far."""
    user, system = Path(f"/proc/{router.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) * TICK_S


def refused(mutator: Mutator) -> Iterator[Event]:
    """Mutants of which nothing can be typed."""
    catalog = load_catalog()
    routing = Routing(catalog.events, dict.fromkeys(catalog.topics, 1), str, 33_000_000)
    window = duplicate_window(0)
    for key, value in mutator.mutants(sys.maxsize):
        try:
            routing.type(value, key, window)
        except InvalidEvent:
            yield key, value


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--events", envvar="MUTANTS", type=click.IntRange(min=1), default=1_000_000, help="How many mutants.")
@click.option("--seed", envvar="MUTANTS_SEED", type=int, show_default="a new one", help="Repeats a run's events.")
def main(events: int, seed: int | None) -> None:
    """Change the sample events at random, send them through a router and account for every single one.

    Bytes flipped, cut off and inserted, members dropped, renamed and repeated, types changed, huge numbers, deep
    nesting, odd Unicode, repeated ids. Then rounds of good and of bad events alone, for the speed. Exit code 0: each
    raw record is typed, whole in quarantine or a known duplicate, and bad events go at a third of the good ones' speed
    or faster, by the clock and by the router's CPU time (each the median of the rounds' ratios).

    \b
    Examples:
      make mutants
      make mutants MUTANTS=50000 MUTANTS_SEED=7
    """
    seed = secrets.randbelow(10**6) if seed is None else seed
    click.echo(f"seed {seed}: {events:,} mutants")
    with embedded() as cluster, tempfile.TemporaryDirectory(prefix="broker-events-mutants-") as folder:
        mutants = flood(cluster, Path(folder), Mutator(seed).mutants(events))
        _show("mutants", mutants)
        for reason, number in mutants.fates.refused.most_common():
            click.echo(f"  {number:>9,} {reason}")
        wrong = mutants.fates.wrong
        rounds = list(_rounds(cluster, Path(folder), min(events, SPEED_EVENTS), seed, wrong))
    for what, ratios in zip(("speed", "CPU"), zip(*rounds, strict=True), strict=True):
        ratio = median(ratios)
        of_all = " ".join(f"{each:.2f}" for each in sorted(ratios))
        click.echo(f"{what}: bad events at {ratio:.2f} of good ones, the median of {of_all}")
        if ratio < LEAST_SPEED:
            wrong.append(f"bad events are at less than {LEAST_SPEED:.2f} of the good ones by {what}")
    if wrong:
        click.echo("\n".join(wrong), err=True)
        click.echo(f"FAILED. Again: make mutants MUTANTS={events} MUTANTS_SEED={seed}", err=True)
        sys.exit(1)


def _rounds(
    cluster: KafkaCluster, folder: Path, many: int, seed: int, wrong: list[str]
) -> Iterator[tuple[float, float]]:
    """Good and bad events in turns: by what part of the good ones' speed, and of events a second of CPU, the bad go.

    Whatever slows the machine for a while slows both of a round. What went wrong is added to `wrong`.
    """
    good, bad = [*Mutator(seed).good(many)], [*islice(refused(Mutator(seed + 1)), many)]
    for _ in range(ROUNDS):
        usual, flooded = flood(cluster, folder, good), flood(cluster, folder, bad)
        _show("good", usual)
        _show("bad", flooded)
        wrong += usual.fates.wrong + flooded.fates.wrong
        if (usual.fates.typed, flooded.fates.quarantined) != (many, many):
            wrong.append("not all good events were typed, or not all bad ones refused")
        yield flooded.speed.per_s / usual.speed.per_s, usual.speed.cpu_us / flooded.speed.cpu_us


def _show(name: str, done: Flood) -> None:
    fates = done.fates
    click.echo(
        f"{name}: {fates.raw:,} raw = {fates.typed:,} typed + {fates.quarantined:,} in quarantine"
        f" + {fates.duplicates:,} duplicates; {done.speed.per_s:,.0f} a second"
        f", {done.speed.cpu_us:.1f} us of CPU each, {len(fates.wrong) or 'nothing'} wrong"
    )


if __name__ == "__main__":
    main()
